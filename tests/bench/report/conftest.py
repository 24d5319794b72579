"""A rendered run of the larger record, made once: blocks, workers, paces, an outage, floor and knee."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.render import render
from tests.bench import fake_blocks


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; tests read it and change nothing."""
    folder = fake_blocks.write(tmp_path_factory.mktemp("rich") / "many", workers={"flowing": (1, 2)}, chats=30)
    fake_blocks.write_knee(folder)
    render(folder)
    return folder
