"""Monitor all processes of a case during its load: CPU, event-loop lag, steal. The `health` of a case row."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import monotonic_ns
from typing import Any, Self

import msgspec
import psutil

from bench.record.join import Span, load_phases, load_window
from bench.record.schema import AbortSide, ClientSide, Health, LoadRow, LoopLag, Phase, PhaseUse, ProcessUse
from bench.record.traces import HealthTrace, ProcessHealth, Second, Trace
from bench.system.http import request_json

SAMPLE_S = 0.2
"""A sample takes microseconds per process, and removes at most this time from both ends of the window."""
LAG_FIELDS = LoopLag.__struct_fields__
Sample = tuple[int, float]
"""CLOCK_MONOTONIC ns, seconds of user and system time."""


@dataclass
class _Watched:
    """One process and its CPU time so far."""

    name: str
    process: psutil.Process
    samples: list[Sample] = field(default_factory=list)

    def sample(self) -> None:
        with contextlib.suppress(psutil.Error):  # the process may have ended; its samples stay
            times = self.process.cpu_times()
            self.samples.append((monotonic_ns(), times.user + times.system))


class ResourceMonitor:
    """Samples in a thread from entering to leaving the block; `health` then evaluates the load's window.

        with ResourceMonitor(mock_url) as monitor:
            monitor.watch("service", service.process.pid)
            ...  # the load
        case.health = monitor.health(rows, traces=traces, load=load_health)

    Clear the mock's journal before: that begins the period of its own probe. Entering and leaving ask the mock, and
    raise OSError or AnswerError without one.
    """

    def __init__(self, mock_url: str) -> None:
        self._mock_url = mock_url
        self._mock: ProcessHealth | None = None
        self._watched: list[_Watched] = []
        self._machine: list[tuple[int, float, float]] = []  # ns, seconds stolen, seconds in all, over all cores
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resource-monitor", daemon=True)

    def __enter__(self) -> Self:
        self.watch("mock", request_json(self._mock_url, "/__mock/health")["pid"])
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._sample()
        if kind is None:  # before the journal is read, which keeps the mock busy
            self._mock = msgspec.convert(request_json(self._mock_url, "/__mock/health"), ProcessHealth)

    def watch(self, name: str, pid: int) -> None:
        """Sample this process (`name`: load, mock or service) and those that it has started by now."""
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            found = [_Watched(name, process) for process in (root, *root.children(recursive=True))]
            for each in found:
                each.sample()
            with self._lock:
                self._watched += found

    def health(
        self, rows: Sequence[LoadRow], *, traces: Iterable[Trace] = (), load: Sequence[ProcessHealth] = ()
    ) -> Health:
        """The health of the case with these rows, from the first chat sent to the last stream ended.

        `traces` are the service's lines, `load` what each load process measured. `cpu` is None with fewer than two
        samples in the window, lags without a probe; `steal` is 0 where unknown.
        """
        window, phases = load_window(rows), load_phases(rows)
        seconds: dict[int, Sequence[Second]] = {**_by_pid(traces)}
        lags: dict[int, LoopLag] = {
            pid: typical(inside) for pid, lines in seconds.items() if (inside := touching(lines, window))
        }
        workers = set(lags)
        here = [own for own in load if not own.host]
        for own in (*here, *([self._mock] if self._mock else [])):
            lags[own.pid], seconds[own.pid] = own, own.seconds
        samples = {
            (each.name, each.process.pid): each.samples
            for each in self._watched
            # Only workers write traces: their supervisor serves no chat.
            if each.name != "service" or not workers or each.process.pid in workers
        }
        for name, pid in [*(("load", own.pid) for own in here), *(("service", pid) for pid in workers)]:
            samples.setdefault((name, pid), [])
        chunks = sum(len(row.client.token_ns) for row in rows)
        took_s = (window[1] - window[0]) / 1e9
        return Health(
            steal=_steal(self._machine, window),
            processes=[
                ProcessUse(
                    name=name,
                    pid=pid,
                    cpu=_share(samples[name, pid], window),
                    phases=_in_phases(phases, samples[name, pid], seconds.get(pid, ())),
                    **_fields(lags.get(pid, LoopLag())),
                )
                for name, pid in sorted(samples)
            ]
            + [_elsewhere(own, phases) for own in load if own.host],
            phases={
                name: Phase(from_ns=span[0], to_ns=span[1], steal=_steal(self._machine, span))
                for name, span in phases.items()
            },
            chat_lag_p99_ms=_late_p99_ms(row.client for row in rows),
            abort_lag_p99_ms=_late_p99_ms(row.abort for row in rows if row.abort),
            chunks_per_s=round(chunks / took_s, 1) if took_s > 0 else 0.0,
        )

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


def touching(lines: Iterable[Second], span: Span) -> list[Second]:
    """The lines that overlap the span (ns), or touch it."""
    return [line for line in lines if _common_ns(line, span) >= 0]


def mostly_within(lines: Iterable[Second], span: Span) -> list[Second]:
    """The lines of which half lies in the span (ns), or which fill half of it: one second belongs to one phase."""
    return [
        line for line in lines if 2 * _common_ns(line, span) >= min(line.to_ns - line.from_ns, span[1] - span[0]) > 0
    ]


def typical(lines: Iterable[LoopLag]) -> LoopLag:
    """One value for each of LAG_FIELDS; None where no line has one.

    Percentiles cannot be added up: p50 and p99 are the medians over the seconds, the others the maxima.
    """
    every = list(lines)
    reduce: Mapping[str, Callable[[list[float]], float]] = {"lag_p50_ms": median, "lag_p99_ms": median}
    found = LoopLag()
    for name in LAG_FIELDS:
        if known := [value for line in every if (value := getattr(line, name)) is not None]:
            setattr(found, name, reduce.get(name, max)(known))
    return found


def _fields(lag: LoopLag) -> dict[str, Any]:
    return {name: getattr(lag, name) for name in LAG_FIELDS}


def _common_ns(line: Second, span: Span) -> int:
    return min(line.to_ns, span[1]) - max(line.from_ns, span[0])


def _share(samples: Sequence[Sample], window: Span) -> float | None:
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


def _in_phases(phases: Mapping[str, Span], samples: Sequence[Sample], seconds: Sequence[Second]) -> dict[str, PhaseUse]:
    return {
        name: PhaseUse(cpu=_share(samples, span), **_fields(typical(mostly_within(seconds, span))))
        for name, span in phases.items()
    }


def _elsewhere(own: ProcessHealth, phases: Mapping[str, Span]) -> ProcessUse:
    """A load process of another machine, by its own measurement; its process id may be another's here."""
    use = ProcessUse(name="load", pid=own.pid, host=own.host, cpu=own.cpu, **_fields(own))
    use.phases = _in_phases(phases, (), own.seconds)
    return use


def _by_pid(traces: Iterable[Trace]) -> dict[int, list[HealthTrace]]:
    """The workers' own lines, one per second."""
    of: dict[int, list[HealthTrace]] = {}
    for line in traces:
        if isinstance(line, HealthTrace):
            of.setdefault(line.pid, []).append(line)
    return of


def _late_p99_ms(sides: Iterable[ClientSide | AbortSide]) -> float | None:
    """How late requests were sent at p99; None where nothing was planned, as in a closed loop."""
    late_ms = [
        (side.sent_ns - side.intended_ns) / 1e6
        for side in sides
        if side.intended_ns is not None and side.sent_ns is not None
    ]
    if len(late_ms) < 2:
        return round(late_ms[0], 4) if late_ms else None
    # Interpolated: of fewer than a hundred the nearest rank is the maximum, and a single hiccup would decide.
    return round(quantiles(late_ms, n=100, method="inclusive")[-1], 4)
