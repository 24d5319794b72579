"""Runs Locust, in processes of their own that stay for the whole run, and reads back what their users saw."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.system.burner import starved
from bench.system.procs import Child, ChildError
from bench.workload.plan import FLOOR, Case
from bench.workload.schedule import Planned

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
ROOT = Path(__file__).parents[2]
MOST_PROCESSES = 8
MAX_CHUNKS_PER_S = 6_000
"""Per load process, the most that one is given. Up to 10,000 a bare gevent socket's stamps were 0.2 ms
late, p99 0.7 ms; what a chat costs besides, and a core that is shared, is the rest."""
LEAD_NS = 60_000_000
"""An order is read and its greenlets are made within this time."""
SILENCE_DEADLINE_S = 20.0
AWAKE_DEADLINE_S = 60.0
POLL_S = 0.05
Row = dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """What a load gave: its chats, the ids of those it had to drop, what each load process says of itself."""

    rows: list[Row]
    dropped: list[str]
    health: list[Row]


def expected_s(case: Case) -> float:
    """About how long the load takes when no abort is obeyed, in seconds: for the progress bar and the deadline."""
    return case.scenario.load_ms / 1000 + 0.3


def processes_for(cases: Iterable[Case]) -> int:
    """How many load processes these cases need, so that none is offered more chunks than it is known to be exact with.

    The health gate sees whether they kept up.
    """
    most = max((case.scenario.chunks_per_s for case in cases), default=0.0)
    return min(MOST_PROCESSES, max(1, -(-int(most) // MAX_CHUNKS_PER_S)))


class Load:
    """The load processes of a run; `send` is one case. Raises ChildError when one of them fails.

    `starve`: they get far too little CPU, to see that the run is called invalid.
    """

    def __init__(self, processes: int, scratch: Path, logs: Path, *, starve: bool = False) -> None:
        self._scratch = scratch
        self._starve = starve
        self._given = [0] * processes
        """How many orders each process has had: it waits for its own next one, also when it sat out a case."""
        self._children = [
            Child(
                "locust",
                _arguments(),
                logs / f"locust-{number}.log",
                env=_env(scratch, number),
                ready=False,
                folder=scratch,
            )
            for number in range(processes)
        ]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for child in self._children:
                stack.enter_context(child)
            self._wait_awake()
            if self._starve:
                stack.enter_context(starved(self.pids()))
            self._life = stack.pop_all()
        return self

    def _wait_awake(self) -> None:
        """Return when every process takes orders: one that still imports Locust would send its first chats late."""
        missing = [(self._scratch / f"awake-{number}", child) for number, child in enumerate(self._children)]
        deadline = time.monotonic() + AWAKE_DEADLINE_S
        while missing := [each for each in missing if not each[0].exists()]:
            for _, child in missing:
                child.check()
            if time.monotonic() > deadline:
                raise ChildError(f"Locust was not ready after {AWAKE_DEADLINE_S:g} s; its log is {missing[0][1].log}")
            time.sleep(POLL_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._life.close()

    def pids(self) -> list[int]:
        """The processes, for whoever watches their CPU."""
        return [child.process.pid for child in self._children]

    def send(
        self,
        case: Case,
        planned: Sequence[Planned],
        request_ids: Sequence[str],
        *,
        url: str,
        beside: Sequence[Child],
        began: Callable[[int], None],
        progress: Callable[[float], None],
    ) -> Loaded:
        """Send the planned chats to `url`; a row per chat that could be sent (`index`, `request_id`, `client`,
        `abort`).

        `began` is told the moment of the load's beginning (ns, shortly ahead), `progress` the share of chats done;
        a child `beside` that dies ends it with ChildError.
        """
        count = processes_for([case])
        start_ns = time.monotonic_ns() + LEAD_NS
        told = _told(case, url) | {
            "start_ns": start_ns,
            "streams": -(-min(case.scenario.streams, len(planned)) // count),
        }
        chats = [
            {**asdict(chat), "request_id": request_id} for chat, request_id in zip(planned, request_ids, strict=True)
        ]
        paths = [self._order(number, told | {"chats": chats[number::count]}) for number in range(count)]
        began(start_ns)
        patience_s = 30 + 3 * expected_s(case)
        deadline = time.monotonic() + patience_s
        while not all(done.exists() for _, done in paths):
            time.sleep(POLL_S)
            for child in (*beside, *self._children):
                child.check()
            sent = sum(rows.read_bytes().count(b"\n") for rows, _ in paths if rows.exists())
            progress(sent / len(planned))
            if time.monotonic() > deadline:
                raise ChildError(f"the load has not ended after {patience_s:.0f} s; its log is {self._children[0].log}")
        seen = [json.loads(line) for rows, _ in paths for line in rows.read_text().splitlines()]
        done = [json.loads(answer.read_text()) for _, answer in paths]
        return Loaded(seen, [name for each in done for name in each["dropped"]], [each["health"] for each in done])

    def _order(self, number: int, told: Row) -> tuple[Path, Path]:
        """Tell one process what to do. Gives the files of its rows and of its answer."""
        name = f"{number}-{self._given[number]}"
        self._given[number] += 1
        rows = self._scratch / f"rows-{name}.jsonl"
        scratch = self._scratch / f".order-{name}.part"
        scratch.write_text(json.dumps({**told, "rows": str(rows)}))
        scratch.replace(self._scratch / f"order-{name}.json")
        return rows, self._scratch / f"done-{name}.json"


def _told(case: Case, url: str) -> Row:
    """What all load processes are told about a case; bench/load/chat.py says what it means."""
    scenario = case.scenario
    direct = case.strategy == FLOOR
    return {
        "order": {
            "url": url,
            "path": "/v1/chat/completions" if direct else "/chat/",
            "marker": scenario.marker,
            "hangup": direct or case.strategy == "disconnect" or scenario.abort_by == "hangup",
            "again_ms": scenario.again_ms,
            "read_pause_ms": scenario.read_pause_ms,
            "read_bytes": scenario.read_bytes if scenario.read_pause_ms else None,
            "silence_deadline_s": SILENCE_DEADLINE_S,
            "at_once": scenario.at_once,
        },
        "loop": "closed" if scenario.rate_per_s is None else "open",
    }


def _arguments() -> list[str]:
    arguments = ["locust", "-f", str(LOCUSTFILE), "--headless", "-u", "1", "-r", "1", "--only-summary"]
    return [*arguments, "--exit-code-on-error", "0"]  # failed chats are data; they are counted from the rows


def _env(scratch: Path, number: int) -> dict[str, str]:
    # Locust also reads ~/.locust.conf, and locust.conf and pyproject.toml of the folder it is started in.
    return {"CHAT_LOAD": f"{scratch}:{number}", "HOME": str(scratch), "PYTHONPATH": str(ROOT)}
