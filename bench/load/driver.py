"""Run Locust in processes that stay for a whole run, and read back what their clients saw."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from bench.load.order import Order, OrderedChat
from bench.record.base import decode, encode_line
from bench.record.files import replace_file
from bench.record.schema import LoadRow
from bench.record.traces import LoadAnswer, ProcessHealth
from bench.system.burner import starved
from bench.system.procs import Child, ChildError
from bench.workload.plan import Case, contender_of
from bench.workload.schedule import Planned

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
ROOT = Path(__file__).parents[2]
MOST_PROCESSES = 8
MAX_CHUNKS_PER_S = 6_000
"""Of one load process. Up to 10,000 the stamps of a bare gevent socket were 0.2 ms late, p99 0.7 ms; the rest is room
for the work of a chat and for a shared core."""
LEAD_NS = 100_000_000
"""Within this time an order is read, a target file compiled (10 ms of CPU, once) and the greenlets are made."""
SILENCE_DEADLINE_S = 20.0
READY_DEADLINE_S = 60.0
POLL_S = 0.05
NO_VALUES: Mapping[str, Any] = {}


class Service(Protocol):
    """A process that must run during the load."""

    def check(self) -> None:
        """Raise ChildError when it has ended."""


@dataclass(frozen=True)
class Loaded:
    """The result of a load: its rows, the ids of dropped chats, the event loop of each load process."""

    rows: list[LoadRow]
    dropped: list[str]
    health: list[ProcessHealth]


def expected_s(case: Case) -> float:
    """How long the load takes when no abort succeeds, in seconds: for the progress bar and the deadline."""
    return case.scenario.load_ms / 1000 + 0.3


def processes_for(cases: Iterable[Case]) -> int:
    """How many load processes these cases need so that none is offered more than MAX_CHUNKS_PER_S."""
    most = max((case.scenario.chunks_per_s for case in cases), default=0.0)
    return min(MOST_PROCESSES, max(1, -(-int(most) // MAX_CHUNKS_PER_S)))


class Load:
    """The load processes of a run; `send` is one case. Raises ChildError when one of them fails.

    `starve`: they get too little CPU, to test that the run becomes invalid.
    """

    def __init__(self, processes: int, scratch: Path, logs: Path, *, starve: bool = False) -> None:
        self._scratch = scratch
        self._starve = starve
        self._orders = [0] * processes
        """Orders that each process has had: it waits for its own next one, also after a case without it."""
        arguments = ["locust", "-f", str(LOCUSTFILE), "--headless", "-u", "1", "-r", "1", "--only-summary"]
        self._children = [
            Child(
                "locust", arguments, logs / f"locust-{number}.log", env=_env(scratch, number), ready=False,
                folder=scratch,
            )
            for number in range(processes)
        ]  # fmt: skip

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for child in self._children:
                stack.enter_context(child)
            self._wait_ready()
            if self._starve:
                stack.enter_context(starved(self.pids()))
            self._life = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._life.close()

    def _wait_ready(self) -> None:
        """Return when every process accepts orders: one that still imports Locust would send its first chats late."""
        missing = [(self._scratch / f"awake-{number}", child) for number, child in enumerate(self._children)]
        deadline = time.monotonic() + READY_DEADLINE_S
        while missing := [each for each in missing if not each[0].exists()]:
            for _, child in missing:
                child.check()
            if time.monotonic() > deadline:
                raise ChildError(f"Locust was not ready after {READY_DEADLINE_S:g} s; its log is {missing[0][1].log}")
            time.sleep(POLL_S)

    def pids(self) -> list[int]:
        """The load processes."""
        return [child.process.pid for child in self._children]

    def send(
        self,
        case: Case,
        planned: Sequence[Planned],
        request_ids: Sequence[str],
        *,
        url: str,
        values: Mapping[str, Any] = NO_VALUES,
        witness: str = "",
        beside: Sequence[Service],
        began: Callable[[int], None],
        progress: Callable[[float], None],
    ) -> Loaded:
        """Send the planned chats to `url`, and return a row per chat that could be sent.

        `values` are for the target's templates, `witness` is the mock's URL. `began` gets the beginning of the load
        (ns, shortly ahead), `progress` the share of chats that are done. Raises ChildError when a process of the load
        or `beside` it ends, or the deadline passes.
        """
        chats = [OrderedChat(**asdict(chat), request_id=id_) for chat, id_ in zip(planned, request_ids, strict=True)]
        order = order_of(case, url, values, witness)
        order.streams = min(case.scenario.streams, len(planned))
        deadline_s = 30 + 3 * expected_s(case)
        return self.execute(
            order, chats, processes_for([case]), deadline_s=deadline_s, beside=beside, began=began, progress=progress
        )

    def execute(
        self,
        order: Order,
        chats: Sequence[OrderedChat],
        processes: int = 1,
        *,
        deadline_s: float,
        beside: Sequence[Service],
        began: Callable[[int], None] = lambda _start_ns: None,
        progress: Callable[[float], None] = lambda _share: None,
    ) -> Loaded:
        """Execute an order, its `chats` and `streams` divided among the `processes`; see `send`."""
        order.start_ns = time.monotonic_ns() + LEAD_NS
        order.streams = -(-order.streams // processes)
        paths = [self._give(number, order, list(chats[number::processes])) for number in range(processes)]
        began(order.start_ns)
        deadline = time.monotonic() + deadline_s
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(rows.open("rb")) for rows, _ in paths]
            sent = 0
            while not all(done.exists() for _, done in paths):
                time.sleep(POLL_S)
                for child in (*beside, *self._children):
                    child.check()
                sent += sum(file.read().count(b"\n") for file in files)  # what was added since the last look
                progress(sent / len(chats))
                if time.monotonic() > deadline:
                    log = self._children[0].log
                    raise ChildError(f"the load has not ended after {deadline_s:.0f} s; its log is {log}")
        decoder = msgspec.json.Decoder(LoadRow)
        seen = [decoder.decode(line) for rows, _ in paths for line in rows.read_bytes().splitlines()]
        answers = [decode(done.read_bytes(), LoadAnswer, done.name) for _, done in paths]
        return Loaded(seen, [id_ for each in answers for id_ in each.dropped], [each.health for each in answers])

    def _give(self, number: int, order: Order, chats: list[OrderedChat]) -> tuple[Path, Path]:
        """Order one process to send its chats. Returns the files of its rows and of its answer."""
        name = f"{number}-{self._orders[number]}"
        self._orders[number] += 1
        rows = self._scratch / f"rows-{name}.jsonl"
        rows.touch()
        replaced = msgspec.structs.replace(order, rows=str(rows), chats=chats)
        replace_file(self._scratch / f"order-{name}.json", encode_line(replaced))
        return rows, self._scratch / f"done-{name}.json"


def order_of(case: Case, url: str, values: Mapping[str, Any], witness: str) -> Order:
    """What all chats of a case have in common.

    Stops of a foreign target are timed from the witness's receipt, and its clients go on after the stop: an answer
    that is not stopped would hold them for its whole length.
    """
    scenario, contender = case.scenario, contender_of(case)
    foreign = case.foreign is not None
    return Order(
        url=url,
        target=contender.target.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        way=contender.way,
        values={
            **contender.service_vars,
            "here": str(contender.file.parent.resolve()),
            **values,
            **contender.stop.vars,
        },
        marker=scenario.marker,
        stream=not scenario.whole,
        witness=witness if foreign else None,
        frees_early=foreign,
        again_ms=scenario.again_ms,
        read_pause_ms=scenario.read_pause_ms,
        read_bytes=scenario.read_bytes if scenario.read_pause_ms else None,
        silence_deadline_s=SILENCE_DEADLINE_S,
        at_once=scenario.at_once,
        open_loop=scenario.rate_per_s is not None,
    )


def _env(scratch: Path, number: int) -> dict[str, str]:
    # Locust also reads ~/.locust.conf, and locust.conf and pyproject.toml of the folder it is started in.
    return {"CHAT_LOAD": f"{scratch}:{number}", "HOME": str(scratch), "PYTHONPATH": str(ROOT)}
