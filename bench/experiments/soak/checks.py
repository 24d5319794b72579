"""The leak checks after a soak: memory that grew, and resources that are still held."""

import contextlib
from collections.abc import Sequence

import psutil

from bench.system.http import request_json
from bench.system.procs import Child

WARM_UP_SHARE, WARM_UP_MOST_S = 0.3, 180.0
JUDGED_LEAST_S = 120.0
LEAST_GROWTH_KB = 1024.0
TOLERANCE_BYTES = 150
"""Growth per chat that is not a leak: a chat's id alone, kept by mistake, takes more."""
Sample = tuple[float, float]


def memory_verdict(worker: str, samples: Sequence[Sample], chats_per_s: float) -> tuple[str, bool]:
    """A sentence, and whether the memory of a worker grows. `samples`: seconds since the start, resident KB.

    The slope after the warm-up is Theil and Sen's median of slopes with its 95 % interval (Sen 1968); memory grows when
    even the interval's lower end is more than the tolerance per chat, and 1 MB in the judged time.
    """
    ended_s = samples[-1][0] if samples else 0.0
    from_s = min(ended_s * WARM_UP_SHARE, WARM_UP_MOST_S)
    span_s = ended_s - from_s
    if span_s < JUDGED_LEAST_S:
        text = f"too short to judge memory ({span_s:.0f} s after the warm-up, needs {JUDGED_LEAST_S:.0f})"
        return f"{worker}: {text}", False
    judged = [(at_s, kb) for at_s, kb in samples if at_s >= from_s]
    from scipy.stats import theilslopes  # noqa: PLC0415 - it takes a second to import

    slope, _, low, high = theilslopes([kb for _, kb in judged], [at_s for at_s, _ in judged])
    bytes_each = [value * 1024 / chats_per_s for value in (slope, low, high)]
    grows = bool(bytes_each[1] > TOLERANCE_BYTES and low * span_s > LEAST_GROWTH_KB)
    text = (
        f"{worker}: {judged[0][1] / 1024:.1f} -> {judged[-1][1] / 1024:.1f} MB in {span_s / 60:.1f} min after the "
        f"warm-up; {bytes_each[0]:+.0f} bytes per chat (95 % interval {bytes_each[1]:+.0f} to {bytes_each[2]:+.0f}, "
        f"limit {TOLERANCE_BYTES}): {'GROWS' if grows else 'flat'}"
    )
    return text, grows


def memory_over_time(worker: str, samples: Sequence[Sample], points: int = 7) -> str:
    """A worker's memory at up to `points` moments, evenly spaced from the first sample to the last."""
    if not samples:
        return f"{worker}: memory unknown"
    places = sorted({round(step * (len(samples) - 1) / (points - 1)) for step in range(points)})
    at = [(int(samples[place][0]), samples[place][1] / 1024) for place in places]
    return f"{worker}: MB over time: {', '.join(f'{s // 60}:{s % 60:02d} {mb:.1f}' for s, mb in at)}"


def rss_kb(pid: int) -> float | None:
    """Resident memory; None when the process is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1024
    except psutil.NoSuchProcess:
        return None


def worker_chats(service: Child, workers: int) -> dict[int, int]:
    """Live chats by worker pid; a connection lands on any worker, so /healthz is polled until all have answered."""
    live: dict[int, int] = {}
    for _ in range(200 * workers):
        answer = request_json(service.url, "/healthz")
        live[answer["pid"]] = answer["live"]
        if len(live) >= workers:
            break
    return live


def upstream_sockets(service: Child, mock: Child) -> int:
    """Connections to the mock that the service's processes hold, in use or half-closed."""
    port = int(mock.url.rpartition(":")[2])
    root = psutil.Process(service.process.pid)
    held = 0
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            held += sum(
                bool(each.raddr) and each.raddr.port == port and each.status in ("ESTABLISHED", "CLOSE_WAIT")
                for each in process.net_connections("tcp")
            )
    return held


def open_at_witness(mock: Child) -> int:
    """Answers that the mock is still sending on an open connection."""
    return sum(row["outcome"] == "open" for row in request_json(mock.url, "/__mock/journal")["rows"])
