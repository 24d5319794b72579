"""Run Locust in processes that stay for a whole run, and read back what their clients saw."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import msgspec

from bench.load.fleet.protocol import FAILED, FOLDER, SIZE, WITNESS, Fleet, Hello, place
from bench.load.loaded import Loaded, read_loaded
from bench.load.order import Order, OrderedChat, Other, locust_environment, order_of
from bench.record.base import decode, encode_line
from bench.record.files import replace_file
from bench.record.manifest import LoadWorker
from bench.system.burner import starved
from bench.system.procs import Child, ChildError
from bench.workload.plan import Case
from bench.workload.schedule import Planned

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
MOST_PROCESSES = 8
MAX_CHUNKS_PER_S = 6_000
"""Of one load process. Up to 10,000 the stamps of a bare gevent socket were 0.2 ms late, p99 0.7 ms; the rest is room
for the work of a chat and for a shared core."""
LEAD_NS = 100_000_000
"""Within this time an order is read, a target file compiled (10 ms of CPU, once) and the greenlets are made."""
FLEET_LEAD_NS = 300_000_000
"""Orders of a fleet have been read already: within this time the start reaches every worker."""
READY_DEADLINE_S = 60.0
CONNECT_DEADLINE_S = 600.0
"""Workers on other machines are started by hand."""
POLL_S = 0.05
NO_VALUES: Mapping[str, Any] = {}


class Service(Protocol):
    """A process that must run during the load."""

    def check(self) -> None:
        """Raise ChildError when it has ended."""


def expected_s(case: Case) -> float:
    """How long the load takes when no abort succeeds, in seconds: for the progress bar and the deadline."""
    return case.scenario.load_ms / 1000 + 0.3


def processes_for(cases: Iterable[Case]) -> int:
    """How many load processes these cases need so that none is offered more than MAX_CHUNKS_PER_S."""
    most = max((case.scenario.chunks_per_s for case in cases), default=0.0)
    return min(MOST_PROCESSES, max(1, -(-int(most) // MAX_CHUNKS_PER_S)))


class Load:
    """The load processes of a run; `send` is one case. Raises ChildError when one of them fails.

    With a `fleet` they report to a Locust master, and exchange stamps with the `witness` (URL). `starve`: they get too
    little CPU, to test that the run becomes invalid.
    """

    def __init__(
        self,
        processes: int,
        scratch: Path,
        logs: Path,
        *,
        starve: bool = False,
        fleet: Fleet | None = None,
        witness: str = "",
        say: Callable[[str], None] = lambda _what: None,
    ) -> None:
        self._scratch, self._starve, self._fleet, self._say = scratch, starve, fleet, say
        self._witness_host = urlsplit(witness).hostname or ""
        self._orders = [0] * (fleet.size if fleet else processes)
        """Orders that each process has had: it waits for its own next one, also after a case without it."""
        self._hellos: list[Hello] = []
        if fleet:
            env = {**locust_environment(scratch), FOLDER: str(scratch), WITNESS: witness, SIZE: str(fleet.size)}
            commands = [("locust-master.log", fleet.arguments(self._witness_host), env)]
        else:
            own = ["locust", "-f", str(LOCUSTFILE), "--headless", "-u", "1", "-r", "1", "--only-summary"]
            commands = [
                (f"locust-{number}.log", own, {**locust_environment(scratch), "CHAT_LOAD": f"{scratch}:{number}"})
                for number in range(processes)
            ]
        self._children = [
            Child("locust", arguments, logs / log, env=env, ready=False, folder=scratch)
            for log, arguments, env in commands
        ]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for child in self._children:
                stack.enter_context(child)
            self._wait_ready()
            if self._starve:
                stack.enter_context(starved(self.pids()))
            self._life = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()

    def _wait_ready(self) -> None:
        """Return when every process accepts orders: one that still imports Locust would send its first chats late."""
        awake = [self._scratch / f"awake-{number}" for number in range(len(self._orders))]
        deadline_s = READY_DEADLINE_S
        if self._fleet and self._fleet.workers:
            deadline_s = CONNECT_DEADLINE_S
            command = f"bench load --worker --master-host {self._witness_host} --master-port {self._fleet.port}"
            self._say(f"waiting for {self._fleet.workers} load workers: python -m {command}")
        self._wait(awake, deadline_s, "Locust was not ready")
        if self._fleet:
            self._hellos = [decode(path.read_bytes(), Hello, path.name) for path in awake]

    def _wait(self, paths: Sequence[Path], deadline_s: float, what: str) -> None:
        """Return when the files exist. Raises ChildError."""
        deadline = time.monotonic() + deadline_s
        while missing := sum(not path.exists() for path in paths):
            self._check()
            if time.monotonic() > deadline:
                count = f" ({missing} of {len(paths)} processes are missing)" if self._fleet else ""
                raise ChildError(f"{what} after {deadline_s:g} s{count}; its log is {self._children[0].log}")
            time.sleep(POLL_S)

    def _check(self, beside: Sequence[Service] = ()) -> None:
        failed = self._scratch / FAILED
        if self._fleet and failed.exists():
            raise ChildError(failed.read_text(encoding="utf-8"))
        for child in (*beside, *self._children):
            child.check()

    @property
    def workers(self) -> list[LoadWorker]:
        """The workers of a fleet."""
        return [each.describe(number) for number, each in enumerate(self._hellos)]

    def processes_for(self, case: Case) -> int:
        """How many processes send this case: as many as it needs, or the whole fleet."""
        return len(self._orders) if self._fleet else min(len(self._orders), processes_for([case]))

    def pids(self) -> list[int]:
        """The load processes on this machine."""
        if self._fleet:
            return [each.pid for each in self._hellos if each.place == place()]
        return [child.process.pid for child in self._children]

    def send(
        self,
        case: Case,
        planned: Sequence[Planned],
        request_ids: Sequence[str],
        *,
        url: str,
        values: Mapping[str, Any] = NO_VALUES,
        other: Other | None = None,
        witness: str = "",
        beside: Sequence[Service],
        began: Callable[[int], None],
        progress: Callable[[float], None],
    ) -> Loaded:
        """Send the planned chats to `url`, and return a row per chat that could be sent.

        `values` are for the target's templates, `other` is a second target, `witness` is the mock's URL. `began` gets
        the beginning of the load (ns, shortly ahead), `progress` the share of chats that are done. Raises ChildError
        when a process of the load or `beside` it ends, or the deadline passes.
        """
        others = other.chats if other else ()
        both = zip(planned, request_ids, strict=True)
        chats = [OrderedChat(**asdict(chat), request_id=id_, to_other=id_ in others) for chat, id_ in both]
        order = order_of(case, url, values, witness)
        if other:
            order.other_url, order.other_values = other.url, dict(other.values)
        order.streams = min(case.scenario.streams, len(planned))
        deadline_s = 30 + 3 * expected_s(case)
        processes = self.processes_for(case)
        return self.execute(
            order, chats, processes, deadline_s=deadline_s, beside=beside, began=began, progress=progress
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
        if self._fleet:
            order.start_ns = self._start([done for _, done in paths])
        began(order.start_ns)
        deadline = time.monotonic() + deadline_s
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(rows.open("rb")) for rows, _ in paths]
            sent = 0
            while not all(done.exists() for _, done in paths):
                time.sleep(POLL_S)
                self._check(beside)
                sent += sum(file.read().count(b"\n") for file in files)  # what was added since the last look
                progress(sent / len(chats))
                if time.monotonic() > deadline:
                    log = self._children[0].log
                    raise ChildError(f"the load has not ended after {deadline_s:.0f} s; its log is {log}")
        return read_loaded(paths, self._hellos)

    def _start(self, answers: Sequence[Path]) -> int:
        """Let the fleet begin when every worker has read its order. Returns the moment."""
        ready, start = (
            [path.with_name(path.stem.replace("done", word)) for path in answers] for word in ("ready", "start")
        )
        self._wait(ready, READY_DEADLINE_S, "the load workers have not read their orders")
        start_ns = time.monotonic_ns() + FLEET_LEAD_NS
        for path in start:
            replace_file(path, str(start_ns).encode())
        return start_ns

    def _give(self, number: int, order: Order, chats: list[OrderedChat]) -> tuple[Path, Path]:
        """Order one process to send its chats. Returns the files of its rows and of its answer."""
        name = f"{number}-{self._orders[number]}"
        self._orders[number] += 1
        rows = self._scratch / f"rows-{name}.jsonl"
        rows.touch()
        replaced = msgspec.structs.replace(order, rows=str(rows), chats=chats)
        replace_file(self._scratch / f"order-{name}.json", encode_line(replaced))
        return rows, self._scratch / f"done-{name}.json"
