"""The instrument: mock, load processes and a meter; and the manifest of what is measured with it."""

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.metrics import ChatMetrics
from bench.load.driver import Load
from bench.load.fleet.protocol import Fleet
from bench.record.host import describe_commit, describe_host, describe_versions, utc_now
from bench.record.manifest import Manifest
from bench.record.schema import CaseRow, ChatRow
from bench.record.writer import Results
from bench.run.meter import Measured, Meter, Schedules, View, settings_of
from bench.run.settings import Settings
from bench.system.embedded import temporary_folder
from bench.system.procs import Child
from bench.system.stores import Store
from bench.workload.plan import Case

Say = Callable[[str], None]
NO_SCHEDULES: Schedules = {}
LOOPBACK = "127.0.0.1"


class Kept(Results):
    """A results folder that also remembers the case it was given last."""

    rows: Sequence[ChatRow] = ()
    case: CaseRow

    def append(self, chats: Iterable[ChatRow], case: CaseRow) -> None:
        """Write a finished case, and keep it."""
        self.rows, self.case = list(chats), case
        super().append(self.rows, case)


class StatusView:
    """Progress as phrases for a status line."""

    def __init__(self, say: Say) -> None:
        self.say = say

    def advance(self, case: Case, share: float) -> None:
        """`share` of the case's chats are done."""
        self.say(f"{case.strategy} {case.scenario.name}: {share:.0%}")

    def finished(
        self,
        case: Case,
        measured: Sequence[ChatMetrics],
        side: str = "",  # noqa: ARG002 - one side
        unhealthy: Sequence[str] = (),  # noqa: ARG002 - each experiment judges its own
    ) -> None:
        """A case has ended."""
        self.say(f"{case.strategy} {case.scenario.name}: {len(measured)} chats")


@dataclass(frozen=True)
class Rig:
    """The running instrument. `token` makes ids unique: a store may remember those of an earlier measurement."""

    mock: Child
    load: Load
    meter: Meter
    scratch: Path
    token: str


@dataclass(frozen=True)
class RunContext:
    """What a run measures with: its instrument and stores, and its sides, each with a manifest."""

    rig: Rig
    settings: Settings
    sides: Sequence[Measured]
    manifests: Sequence[Manifest]
    stores: Mapping[str, Store]
    say: Say

    def namespace_of(self, measured: Measured) -> str:
        """One for each side: a service must not receive the aborts of the other one."""
        return "_".join(part for part in ("stopwatch_bench", self.rig.token, measured.side.name) if part)


@contextlib.contextmanager
def instrument(
    logs: Path,
    view: View,
    *,
    processes: int,
    seed: int,
    starve: bool = False,
    schedules: Schedules = NO_SCHEDULES,
    mock_port: int = 0,
    host: str = LOOPBACK,
    fleet: Fleet | None = None,
) -> Iterator[Rig]:
    """Run a mock (on `host`) and load processes within the block. Raises ChildError when one cannot start."""
    token = secrets.token_hex(3)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(temporary_folder("run"))
        view.say("starting the mock upstream and the load")
        arguments = ["mock_llm", "serve", "--host", host, "--port", str(mock_port)]
        mock = stack.enter_context(Child("mock_llm", arguments, logs / "mock_llm.log"))
        load = stack.enter_context(
            Load(processes, scratch, logs, starve=starve, fleet=fleet, witness=mock.url, say=view.say)
        )
        meter = Meter(mock, load, view, seed=seed, token=token, schedules=schedules)
        yield Rig(mock, load, meter, scratch, token)


@contextlib.contextmanager
def instrument_for_checks(scratch: Path, logs: Path, mock_port: int = 0) -> Iterator[tuple[Child, Load]]:
    """A mock and one load process within the block, to send single chats. Raises ChildError when one cannot start."""
    arguments = ["mock_llm", "serve", "--port", str(mock_port)]
    with Child("mock_llm", arguments, logs / "mock_llm.log") as mock, Load(1, scratch, logs) as load:
        yield mock, load


def describe(
    label: str, settings: Mapping[str, Any], *, seed: int, quick: bool, checkout: Path | None = None
) -> Manifest:
    """The manifest of a measurement at its beginning; `cases`, `scenarios` and `stores` are filled as it goes on."""
    commit, dirty = describe_commit(checkout) if checkout else describe_commit()
    return Manifest(
        label=label,
        started_utc=utc_now(),
        blocks=1,
        quick=quick,
        seed=seed,
        settings={**settings, "seed": seed, "quick": quick, "label": label},
        environment={},
        commit=commit,
        dirty=dirty,
        host=describe_host(),
        versions=describe_versions(),
    )


def note_case(manifest: Manifest, case: Case) -> None:
    """Add a case to the manifest, which must contain its scenario before a reader finds its rows."""
    entry = (case.strategy, case.scenario.name, case.workers)
    if entry not in manifest.cases:
        manifest.cases.append(entry)
    manifest.scenarios[case.scenario.name] = settings_of(case)
