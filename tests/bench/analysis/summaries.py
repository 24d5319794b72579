"""Made-up runs, summarised: with all their rows as they are, or changed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.analysis import summary as written
from tests.bench import fake_results as fake

Rows = list[dict[str, Any]]


def summarise(folder: Path) -> dict[str, Any]:
    """The summary as the file has it."""
    written.summarise(folder)
    return dict(json.loads((folder / "summary.json").read_text()))


def rewritten(folder: Path, spoil: Callable[[Rows, Rows], None]) -> dict[str, Any]:
    """Write a run of redis-push, change its rows, summarise it."""
    rng = random.Random(1)
    rows = [fake.chat("redis-push", "flowing", index, rng) for index in range(100)]
    cases = [fake.case("redis-push", "flowing", rows, rng)]
    spoil(rows, cases)
    fake.write_raw(folder, fake.manifest(scenarios=["flowing"]), rows, cases)
    return summarise(folder)
