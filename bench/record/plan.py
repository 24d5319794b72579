"""The measured costs that a plan of capacity is computed from: plan.json."""

from __future__ import annotations

from bench.record.base import SCHEMA, Record
from bench.record.manifest import Host, ScenarioSettings, StoreInfo

FIT, VALIDATIONS = "fit", ("60", "80", "100")
"""Names of the load at 30 % of the knee, and of those that the model is checked against, in per cent of the knee."""


class PlanLoad(Record, kw_only=True):
    """One measured load: what it consisted of, and what it cost."""

    name: str  #: fit, long, short (from which the costs are computed); 60, 80, 100: per cent of the knee
    chats_per_s: float  #: planned rate of chats
    chats: int  #: chats sent
    chunks: int  #: chunks that the clients received
    stops: int  #: aborts that stopped a chat
    missed: int = 0  #: aborts of chats that ran to their end
    seconds: float  #: first chat sent to last stream ended
    service_cpu_s: float  #: CPU time of all service processes
    others_cpu_s: float  #: CPU time of load and mock, which share the cores
    store_cpu_s: float | None = None  #: CPU time of the store's server; null: not ours
    store_ops: int | None = None  #: store operations; null: not counted in this load
    stop_mean_ms: float | None = None  #: mean latency to stop
    path_mean_ms: float | None = None  #: the same without a timer's or poll's wait: flag recorded to owner signalled
    path_p95_ms: float | None = None  #: 95th percentile of the same
    stop_p50_ms: float | None = None  #: median
    stop_p95_ms: float | None = None  #: 95th percentile; null: fewer than 72 stops
    stop_p99_ms: float | None = None  #: 99th percentile; null: fewer than 368 stops
    problems: list[str] = []  #: why the instrument was unhealthy


class PlanHeld(Record, kw_only=True):
    """What silent streams cost: memory, and work by the clock."""

    streams: int  #: streams held open for the memory
    kb_per_stream: float  #: resident memory per stream, KiB
    worker_mb: float  #: resident memory of one worker without streams, MiB
    connections: int | None = None  #: connections of all workers to the store
    cpu_ms_per_s: float | None = None  #: CPU time of all workers
    ops_per_s: float | None = None  #: store operations of all workers
    store_cpu_ms_per_s: float | None = None  #: CPU time of the store's server


class PlanKnee(Record, kw_only=True):
    """The rate at which stops get slow or lost; bench/experiments/knee.py describes the search."""

    chats_per_s: float  #: the knee, or the highest rate that held
    limit_ms: float  #: limit of the p99 of stops
    ended_by: str  #: slow, missed, failed; load or time: the knee was not reached


class PlanStrategy(Record, kw_only=True):
    """All that was measured of one strategy."""

    strategy: str  #: strategy
    workers: int  #: worker processes
    knee: PlanKnee  #: its knee
    held: PlanHeld | None = None  #: cost of silent streams; null: it could not be loaded
    loads: list[PlanLoad] = []  #: measured loads


class PlanFanout(Record, kw_only=True):
    """Cost of one message for the store's server by the number of listening connections."""

    store: str  #: redis: all listen on one channel; postgres: each on its own, and all are woken
    listeners: list[int]  #: numbers of listening connections
    cpu_us: list[float]  #: CPU time of the server per message; empty: the server is not ours
    per_s: list[float]  #: messages per second that `senders` connections reached
    senders: int  #: connections that send at the same time


class PlanRecord(Record, kw_only=True):
    """The contents of plan.json."""

    schema: int = SCHEMA  #: version of the record
    started_utc: str = ""  #: when the measurement began
    commit: str | None = None  #: commit of the code; null: unknown
    dirty: bool | None = None  #: whether there were uncommitted changes
    quick: bool = False  #: a short measurement that supports no claim
    seed: int | None = None  #: seed of the schedules
    host: Host  #: machine
    versions: dict[str, str] = {}  #: packages that take part
    stores: dict[str, StoreInfo] = {}  #: stores that were measured, by kind
    scenario: ScenarioSettings  #: the load at 30 % of a knee, but for its rate
    strategies: list[PlanStrategy] = []  #: strategies
    fanout: list[PlanFanout] = []  #: cost of a message by number of listeners
