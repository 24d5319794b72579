"""Many live streams of one worker, all stopped at once, compared with as many clients that hang up at once."""

import random
import time
from collections.abc import Sequence
from statistics import median_high
from typing import Any
from urllib.parse import urlsplit

import psutil

from bench.experiments.relay.stream_load import Load
from bench.experiments.relay.turns import WINDOW_S, Stage, offer, warm
from bench.experiments.tables import Row
from bench.system.http import request_json
from bench.system.procs import Child

ENDINGS = {"stop": "abort", "hang-up": "hang-up"}
"""The turns of a round, and the `ending` of their load."""
MASS_STREAMS, MASS_WINDOW_S = 800, 1.0
HELD_STREAMS, ITL_MS = 1000, 200.0
STARTS_PER_S = 500.0
LOST_DEADLINE_S, POLL_S = 10.0, 0.5


def end_at_once(on: Stage, number: int, *, streams: int = MASS_STREAMS) -> list[Row]:
    """A round: every stream is stopped, and, in a turn of its own, every client hangs up; see `hold_and_end`."""
    turns = random.Random(f"mass stop {number}").sample(list(ENDINGS), len(ENDINGS))
    return [hold_and_end(on, name, streams=streams, window_s=MASS_WINDOW_S) for name in turns]


def hold_and_end(
    on: Stage,
    name: str = "stop",
    *,
    streams: int = HELD_STREAMS,
    itl_ms: float = ITL_MS,
    window_s: float = 2 * WINDOW_S,
    workers: int = 1,
) -> Row:
    """Our service with redis-push holds many slow streams, then all end at once: `*_stop_ms` (p50, max) last from the
    first abort or hang-up to the stream's end at the client, and to its connection lost at the witness.

    `uncut`: upstreams that were still open 10 s later.
    """
    request_json(on.mock.url, "/__mock/journal", "DELETE")
    with warm(on, "redis-push", workers) as child:
        empty_kb, port = _rss_kb(child), urlsplit(child.url).port or 0
        ramp_s = streams / STARTS_PER_S
        load = Load(port, streams, itl_ms, window_s, ramp_s=ramp_s, id_prefix="held", ending=ENDINGS[name])
        rss_kb, result = offer(load, lambda: _rss_kb(child))
        child.check()
        lost_ns = _lost_ns(on)
    sent_ns, client_ms = result.pop("end_sent_ns"), result.pop("stop_ms")
    upstream_ms = [(each - sent_ns) / 1e6 for each in lost_ns if each is not None]
    return {
        "contender": name,
        "streams": streams,
        "itl_ms": itl_ms,
        "rss_kb_per_stream": (rss_kb[1] - empty_kb) / streams,
        "client_stop_ms": _of(client_ms),
        "upstream_stop_ms": _of(upstream_ms),
        "upstreams_cut": len(upstream_ms),
        "uncut": len(lost_ns) - len(upstream_ms),
        **result,
    }


def _lost_ns(on: Stage) -> list[Any]:
    """When the witness lost each held connection: read when it has lost all, or at the deadline."""
    deadline = time.monotonic() + LOST_DEADLINE_S
    while True:
        time.sleep(POLL_S)  # before the first read, too: reading a long journal would delay what it measures
        rows = request_json(on.mock.url, "/__mock/journal")["rows"]
        lost_ns = [row["lost_ns"] for row in rows if row["id"].startswith("held-")]
        if None not in lost_ns or time.monotonic() > deadline:
            return lost_ns


def _of(stop_ms: Sequence[float]) -> Row:
    return {"p50": median_high(stop_ms) if stop_ms else None, "max": max(stop_ms, default=None)}


def _rss_kb(child: Child) -> float:
    """Resident memory of a worker: the largest process of the tree."""
    root = psutil.Process(child.process.pid)
    return float(max(process.memory_info().rss for process in [root, *root.children(recursive=True)])) / 1024
