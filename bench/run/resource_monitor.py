"""The vital signs of everything that takes part in a case, while its load goes on: the `health` of a case row."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from time import monotonic_ns
from types import TracebackType
from typing import Any, Self

import psutil

from bench.record.join import load_phases, load_window
from bench.run.lag_seconds import SIGNS, Span, mostly_within, signs_of, touching
from bench.system.http import request_json

SAMPLE_S = 0.2
"""A sample costs a few microseconds per process, and cuts at most this much off both ends of the window."""
Row = dict[str, Any]


@dataclass
class _Watched:
    """One process and its CPU time so far: (CLOCK_MONOTONIC ns, seconds of user and system time)."""

    name: str
    process: psutil.Process
    samples: list[tuple[int, float]] = field(default_factory=list)

    def sample(self) -> None:
        with contextlib.suppress(psutil.Error):  # it may have ended; what was seen of it stays
            times = self.process.cpu_times()
            self.samples.append((monotonic_ns(), times.user + times.system))


class Vitals:
    """Samples from entering to leaving the block, in a thread; `health` then judges the load's window within it.

        with Vitals(mock_url) as vitals:
            vitals.watch("service", service.process.pid)
            ...  # the load; vitals.watch("load", pid) for each of its processes
        case["health"] = vitals.health(rows, traces=traces, load=load_health)

    Clear the mock's journal before: that begins its own period. Leaving reads what the mock saw, before anybody
    reads the journal, which keeps the mock busy for a while. Both raise OSError or AnswerError without a mock.
    """

    def __init__(self, mock_url: str) -> None:
        self._mock_url = mock_url
        self._mock: Row = {}
        self._watched: list[_Watched] = []
        self._machine: list[tuple[int, float, float]] = []  # ns, seconds stolen, seconds in all, over all cores
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)

    def __enter__(self) -> Self:
        self.watch("mock", request_json(self._mock_url, "/__mock/health")["pid"])
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._sample()
        if kind is None:
            self._mock = request_json(self._mock_url, "/__mock/health")

    def watch(self, name: str, pid: int) -> None:
        """Sample this process, and those it has started by now, from now on; `name` is load, mock or service."""
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            found = [_Watched(name, process) for process in (root, *root.children(recursive=True))]
            for each in found:
                each.sample()
            with self._lock:
                self._watched += found

    def health(self, rows: Sequence[Row], *, traces: Iterable[Row] = (), load: Sequence[Row] = ()) -> Row:
        """The `health` of a case row.

        `{"steal", "processes": [{"name", "pid", "cpu", **SIGNS, "phases": {<phase>: {"cpu", **SIGNS}}}],
        "phases": {<phase>: {"from_ns", "to_ns", "steal"}}, "chat_lag_p99_ms", "abort_lag_p99_ms", "chunks_per_s"}`;
        phases are `arriving` and `ending`, where they last long enough (see `load_phases`).

        `rows` are the case's chats (as the clients saw them), `traces` the service's lines (those of kind `health`
        count), `load` what each load process says of itself, its `seconds` too. The window is from the first chat sent
        to the last stream ended. CPU is a share of one core, None where fewer than two samples fell into the window
        or the phase; lags and pauses are None where a process has no probe. `steal` is a share of all cores' time,
        0 where unknown.
        """
        window = load_window(rows)
        phases = load_phases(rows)
        lines = _by_pid(traces)
        workers = {pid: signs_of(inside) for pid in lines if (inside := touching(lines[pid], window))}
        of_itself = [*load, self._mock]
        said: dict[Any, Row] = {**workers, **{line.get("pid"): line for line in of_itself}}
        seconds = lines | {line.get("pid"): line.get("seconds", []) for line in of_itself}
        samples: dict[Any, list[tuple[int, float]]] = {each.process.pid: each.samples for each in self._watched}
        processes = [
            {"name": each.name, "pid": each.process.pid, "cpu": _share(each.samples, window)}
            for each in self._watched
            # Only workers write traces: the supervisor beside them serves nobody.
            if each.name != "service" or not workers or each.process.pid in workers
        ]
        seen = {each["pid"] for each in processes}
        unseen = [("load", line["pid"]) for line in load] + [("service", pid) for pid in workers]
        processes += [{"name": name, "pid": pid, "cpu": None} for name, pid in unseen if pid not in seen]
        chunks = sum(len(row["client"]["token_ns"]) for row in rows)
        took_s = (window[1] - window[0]) / 1e9
        return {
            "steal": _steal(self._machine, window),
            "processes": [
                each
                | {sign: said.get(each["pid"], {}).get(sign) for sign in SIGNS}
                | {"phases": _in_phases(phases, samples.get(each["pid"], []), seconds.get(each["pid"], []))}
                for each in sorted(processes, key=lambda each: (each["name"], each["pid"]))
            ],
            "phases": {
                name: {"from_ns": span[0], "to_ns": span[1], "steal": _steal(self._machine, span)}
                for name, span in phases.items()
            },
            "chat_lag_p99_ms": _lag_p99_ms(row["client"] for row in rows),
            "abort_lag_p99_ms": _lag_p99_ms(row["abort"] for row in rows if row["abort"]),
            "chunks_per_s": round(chunks / took_s, 1) if took_s > 0 else 0.0,
        }

    def _run(self) -> None:
        self._sample()
        while not self._over.wait(SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            watched = list(self._watched)
        for each in watched:
            each.sample()
        times = psutil.cpu_times()
        # Linux counts guests within user and nice already.
        total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        self._machine.append((monotonic_ns(), getattr(times, "steal", 0.0), total_s))


def _share(samples: Sequence[tuple[int, float]], window: Span) -> float | None:
    """CPU share of one core between the first and the last sample within the window."""
    inside = [sample for sample in samples if window[0] <= sample[0] <= window[1]]
    if len(inside) < 2:
        return None
    (from_ns, before_s), (to_ns, after_s) = inside[0], inside[-1]
    return round((after_s - before_s) / ((to_ns - from_ns) / 1e9), 3)


def _steal(samples: Sequence[tuple[int, float, float]], window: Span) -> float:
    inside = [sample for sample in samples if window[0] <= sample[0] <= window[1]]
    if len(inside) < 2 or inside[-1][2] <= inside[0][2]:
        return 0.0
    return round((inside[-1][1] - inside[0][1]) / (inside[-1][2] - inside[0][2]), 4)


def _in_phases(phases: Mapping[str, Span], samples: Sequence[tuple[int, float]], seconds: Sequence[Row]) -> Row:
    return {
        name: {"cpu": _share(samples, span), **signs_of(mostly_within(seconds, span))} for name, span in phases.items()
    }


def _by_pid(traces: Iterable[Row]) -> dict[Any, list[Row]]:
    """The workers' own lines, one per second."""
    of: dict[Any, list[Row]] = {}
    for line in traces:
        if line["kind"] == "health":
            of.setdefault(line["pid"], []).append(line)
    return of


def _lag_p99_ms(sides: Iterable[Row]) -> float | None:
    """How late things were sent at p99; None where nothing was planned, as in a closed loop."""
    late_ms: list[float] = [
        (side["sent_ns"] - side["intended_ns"]) / 1e6
        for side in sides
        if side.get("intended_ns") is not None and side["sent_ns"] is not None
    ]
    if len(late_ms) < 2:
        return round(late_ms[0], 4) if late_ms else None
    # Interpolated: of fewer than a hundred the nearest rank would be the maximum, and a single hiccup the verdict.
    return round(quantiles(late_ms, n=100, method="inclusive")[-1], 4)
