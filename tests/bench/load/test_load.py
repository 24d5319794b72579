"""The load processes: nothing is sent before all of them are awake, and connections are made ahead of their moment."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from bench.load import driver as load
from bench.load.chat import EARLY_NS
from bench.load.driver import LEAD_NS, Load
from bench.system.procs import ChildError


class Child:
    """A process that takes its time, or dies."""

    log = Path("locust.log")
    looked: threading.Event
    dies = False

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        pass

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def check(self) -> None:
        self.looked.set()
        if self.dies:
            raise ChildError("locust died")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "Child", Child)
    monkeypatch.setattr(load, "POLL_S", 0.001)
    monkeypatch.setattr(Child, "looked", threading.Event(), raising=False)


def test_a_load_is_entered_when_the_last_process_is_awake(tmp_path: Path) -> None:
    entered = threading.Event()

    def enter() -> None:
        with Load(2, tmp_path, tmp_path):
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    (tmp_path / "awake-0").touch()
    for _ in range(2):  # it has looked again since the first one was there
        Child.looked.clear()
        assert Child.looked.wait(10)
    assert not entered.is_set()
    (tmp_path / "awake-1").touch()
    assert entered.wait(10)
    thread.join(10)


def test_a_process_that_dies_before_it_is_awake_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Child, "dies", True)
    with pytest.raises(ChildError, match="locust died"), Load(1, tmp_path, tmp_path):
        pass


def test_the_first_chat_has_time_for_its_connection() -> None:
    assert LEAD_NS > 2 * EARLY_NS
