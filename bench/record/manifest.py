"""What a run was and where it was measured: manifest.json, and schedule.jsonl.gz (ScheduleRow)."""

from __future__ import annotations

from bench.record.base import SCHEMA, Record

Setting = bool | int | float | str | list[str | float] | dict[str, str] | None
Number = int | float  # whole numbers stay whole


class Host(Record, kw_only=True):
    """The machine; a field that an older run did not record is null."""

    cpus: int | None = None  #: CPUs that the run may use
    cpu: str | None = None  #: model name
    machine: str | None = None  #: architecture
    system: str | None = None  #: operating system and release
    python: str | None = None  #: Python version
    memory_gb: float | None = None  #: main memory, GiB


class ScenarioSettings(Record, kw_only=True):
    """The load of a scenario; bench/workload/scenario.py describes each setting."""

    name: str = ""  #: name of the scenario
    sentence: str = ""  #: description
    ttft_ms: Number = 0  #: upstream: time to the first token
    itl_ms: Number = 0  #: upstream: time between tokens
    output_tokens: int = 0  #: upstream: tokens of an answer
    headers_ms: Number = 0  #: upstream: time to the response headers
    whole: bool = False  #: one JSON body, not a stream
    streams: int = 0  #: most chats open at a time
    chats: int = 0  #: chats of a block
    rate_per_s: Number | None = None  #: chats started per second; null: closed loop
    arrivals: str = "poisson"  #: poisson or constant (open loop)
    abort_share: Number = 0  #: share of the chats that are aborted
    abort_over: dict[str, float] = {}  #: when aborts are sent: weight of each window
    abort_margin_ms: Number = 0  #: distance of an abort from the ends of its window
    abort_from_ms: Number = 0  #: earliest abort after the start of its chat
    abort_until_ms: Number | None = None  #: latest abort after the start of its chat; null: the end of its window
    abort_by: str = "request"  #: request, or hangup (the client disconnects)
    again_ms: Number | None = None  #: a second abort follows the first after this time
    stall_at: int | None = None  #: the upstream pauses after this token
    stall_ms: Number = 0  #: length of the pause
    workers: int | None = None  #: worker processes; null: those of the run
    count_only: str | None = None  #: other-worker: only aborts that reach another worker than the chat's count
    fault: str | None = None  #: store-crash
    fault_at_ms: Number = 0  #: the store is stopped this long after the load began
    fault_for_ms: Number = 0  #: the store is unavailable for this time
    read_pause_ms: Number = 0  #: the client pauses after each read
    read_bytes: int = 65536  #: most bytes of a read


class StoreInfo(Record, kw_only=True):
    """A store that was measured."""

    name: str | None = None  #: product, as the store reports it
    version: str | None = None  #: its version
    how: str | None = None  #: embedded, docker or url
    counter: str | None = None  #: what its operations are counted by


class TargetInfo(Record, kw_only=True):
    """A foreign service that was measured."""

    title: str = ""  #: its product name
    version: str | None = None  #: as its version command prints it
    variables: dict[str, bool | int | float | str] = {}  #: settings of the variant
    note: str = ""  #: what a reader of its figures must consider
    stops: dict[str, dict[str, bool | int | float | str]] = {}  #: settings of the ways to stop that have any
    docs: str = ""  #: the product's own documentation of its stop
    file: str = ""  #: name of the target file
    sha256: str = ""  #: of the target file
    streams: bool = True  #: whether its client reads a stream: without one there is no TTFT and no token at the client
    attached: bool = False  #: it was running already (--url)
    never: list[str] = []  #: ways to stop that are documented not to stop the upstream


class IdleCost(Record, kw_only=True):
    """What a strategy costs while its streams are silent and no abort is sent."""

    strategy: str = ""  #: strategy
    workers: int = 0  #: worker processes
    streams: int  #: silent streams
    window_s: float  #: length of the measurement
    idle_ops_per_s: float | None = None  #: store operations; null without a store
    idle_cpu_ms_per_s: float | None = None  #: CPU time of the service
    idle_store_cpu_ms_per_s: float | None = None  #: CPU time of the store's server


class Asgi(Record, kw_only=True):
    """The server that runs the application."""

    server: str | None = None  #: name and version
    spec: str | None = None  #: version of the ASGI specification


class CodeInfo(Record, kw_only=True):
    """The code that the measured service runs."""

    module: str  #: file of its `server` package; of a target its folder
    commit: str | None = None  #: commit it reports, or of its checkout
    reported: bool = False  #: whether the service reported both


class LoadWorker(Record, kw_only=True):
    """A load process that reports to a Locust master (LOAD)."""

    name: str  #: `worker <number> on <host>`
    host: str = ""  #: name of its machine
    pid: int | None = None  #: process id there
    python: str = ""  #: Python version
    shared_clock: bool = True  #: it reads the same CLOCK_MONOTONIC as the witness
    offset_ns: int = 0  #: witness's clock less the worker's when it connected
    uncertainty_ns: int = 0  #: of that offset


class Duet(Record, kw_only=True):
    """Two sides that were measured at the same time, and whether a delay of one of them was found again."""

    injected_ms: float  #: delay of one side in the calibration
    recovered_ms: float | None = None  #: delay that was measured; null: no pair was stopped
    pairs: int = 0  #: pairs of chats in it


class Manifest(Record, kw_only=True):
    """The contents of manifest.json, written at the beginning and after every block."""

    schema: int = SCHEMA  #: version of the record
    label: str = ""  #: name of the run
    side: str | None = None  #: base, head, a or b when two sides were measured together
    duet: Duet | None = None  #: the sides shared the loads of scenarios with aborts; null: they took turns
    started_utc: str | None = None  #: when it began
    ended_utc: str | None = None  #: when it ended; null: it was killed
    complete: bool = False  #: whether everything was measured
    blocks: int = 0  #: finished repetitions
    quick: bool = False  #: a short run that supports no claim
    seed: int | None = None  #: seed of schedules and orders
    settings: dict[str, Setting] = {}  #: what was asked for; the keys differ by command
    environment: dict[str, str] | None = None  #: variables given to the service with --env
    cases: list[tuple[str, str, int]] = []  #: strategy, scenario and workers of each case that was to be measured
    commit: str | None = None  #: commit of the code; null: unknown
    dirty: bool | None = None  #: whether there were uncommitted changes
    host: Host | None = None  #: machine
    versions: dict[str, str] = {}  #: packages that take part
    stores: dict[str, StoreInfo] = {}  #: stores that were measured, by kind
    idle: list[IdleCost] = []  #: cost of each strategy without aborts
    scenarios: dict[str, ScenarioSettings] = {}  #: scenarios that were measured
    instrument: dict[str, ScenarioSettings] = {}  #: scenarios of floor and calibration
    asgi: Asgi | None = None  #: server of the application
    code: CodeInfo | None = None  #: code of the service, when a checkout was measured
    load_workers: list[LoadWorker] = []  #: load processes, where they were asked for with LOAD
    left_out: list[str] = []  #: targets that could not be measured, and why
    targets: dict[str, TargetInfo] = {}  #: services of others that were measured, by `target` or `target:variant`

    @property
    def is_quick(self) -> bool:
        """Whether this is a short run; older ones recorded it in their settings."""
        return self.quick or bool(self.settings.get("quick"))

    @property
    def service_environment(self) -> dict[str, str] | None:
        """Variables given to the service; None in an older run that did not record them."""
        if self.environment is not None:
            return self.environment
        older = self.settings.get("service")  # runs before 2026-12 recorded the ABORT_* variables of the shell here
        return older if isinstance(older, dict) else None


class PlannedChat(Record, kw_only=True):
    """When one chat is sent and aborted."""

    index: int  #: place in the schedule
    at_ms: float | None = None  #: start after the load's beginning; null: when the reader before it is done
    abort_after_ms: float | None = None  #: abort after the chat's start; null: none


class ScheduleRow(Record, kw_only=True):
    """A line of schedule.jsonl.gz: the chats of a scenario in one block, the same for all strategies."""

    scenario: str  #: name of the scenario
    block: int  #: block
    chats: list[PlannedChat]  #: all chats
