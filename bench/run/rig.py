"""The instrument without a run around it: mock, load processes and a meter, for what is measured beside the runs."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.metrics import ChatMetrics
from bench.load.driver import Load
from bench.record.writer import Results, describe_commit, describe_host, describe_versions, utc_now
from bench.run.meter import Meter
from bench.run.progress import View
from bench.system.embedded import temporary_folder
from bench.system.procs import Child
from bench.workload.plan import Case

Row = dict[str, Any]
Say = Callable[[str], None]


class Kept(Results):
    """A results folder that also remembers the case it was given last."""

    rows: Sequence[Row] = ()
    case: Row

    def append(self, chats: Iterable[Row], case: Row) -> None:
        """Write a finished case down, and keep it at hand."""
        self.rows, self.case = list(chats), case
        super().append(self.rows, case)


class _Told(View):
    """What the meter reports, as words for a status line; a finished case is told by whoever asked for it."""

    def __init__(self, say: Say) -> None:
        self._words = say

    def say(self, what: str) -> None:
        self._words(what)

    def advance(self, case: Case, share: float) -> None:
        self._words(f"{case.strategy} {case.scenario.name}: {share:.0%}")

    def finished(self, case: Case, measured: Sequence[ChatMetrics], side: str = "") -> None:  # noqa: ARG002 - one side
        self._words(f"{case.strategy} {case.scenario.name}: {len(measured)} chats")


@dataclass(frozen=True)
class Rig:
    """Everything that measures."""

    mock: Child
    meter: Meter
    scratch: Path


@contextlib.contextmanager
def rig(results: Results, say: Say, *, processes: int, seed: int) -> Iterator[Rig]:
    """A mock and so many load processes, until the block is left. Raises ChildError when one does not come up."""
    token = secrets.token_hex(3)  # a store of yours may remember the ids of an earlier measurement
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(temporary_folder("rig"))
        say("starting the mock upstream and the load")
        mock = stack.enter_context(Child("mock_llm", ["mock_llm", "serve", "--port", "0"], results.logs / "mock.log"))
        load = stack.enter_context(Load(processes, scratch, results.logs))
        meter = Meter(mock, load, _Told(say), seed=seed, token=token, schedules={})
        yield Rig(mock, meter, scratch)


def describe(label: str, settings: Row, *, seed: int, quick: bool) -> Row:
    """The manifest of such a measurement at its beginning; `cases`, `scenarios` and `stores` are filled as it goes."""
    commit, dirty = describe_commit()
    return {
        "label": label,
        "side": None,
        "started_utc": utc_now(),
        "ended_utc": None,
        "complete": False,
        "blocks": 1,
        "quick": quick,
        "seed": seed,
        "settings": settings | {"seed": seed, "quick": quick, "label": label},
        "environment": {},
        "cases": [],
        "commit": commit,
        "dirty": dirty,
        "host": describe_host(),
        "versions": describe_versions(),
        "stores": {},
        "scenarios": {},
        "instrument": {},
        "asgi": None,
    }


def note_case(manifest: Row, case: Case) -> None:
    """A case is about to be measured: the manifest must name its scenario before a reader meets its rows."""
    entry = [case.strategy, case.scenario.name, case.workers]
    if entry not in manifest["cases"]:
        manifest["cases"].append(entry)
    manifest["scenarios"][case.scenario.name] = case.scenario.settings()
