"""What a run found: summary.json, derived from the rows alone and made again from them at any time."""

from __future__ import annotations

from bench.record.base import SCHEMA, Record
from bench.record.manifest import IdleCost
from bench.record.schema import CaseKey

Interval = tuple[float, float]


class MetricIntervals(Record, kw_only=True):
    """95 % confidence intervals; null with too few samples."""

    p50: Interval | None = None  #: of the median
    p95: Interval | None = None  #: of the 95th percentile
    p99: Interval | None = None  #: of the 99th percentile


class Metric(Record, kw_only=True):
    """The distribution of a metric in the unit of its name; what has too few samples is null, not a guess."""

    n: int  #: samples: chats, gaps between tokens, or blocks
    p50: float | None = None  #: median
    p95: float | None = None  #: 95th percentile
    p99: float | None = None  #: 99th percentile
    mean: float | None = None  #: arithmetic mean
    ci95: MetricIntervals  #: 95 % confidence intervals
    ci95_of: str | None = None  #: what they count as independent: blocks, or chats where there are too few blocks
    clock_uncertainty: float | None = None  #: of each figure, from clocks of load workers (in `ci95`); null: one clock
    blank: list[str] = []  #: figures that are null because that uncertainty is more than 10 % of them


class Part(Record, kw_only=True):
    """One part of the stop latency, milliseconds; the means of all parts add up to the mean stop."""

    n: int  #: stops
    p50: float | None = None  #: median
    p95: float | None = None  #: 95th percentile
    mean: float | None = None  #: arithmetic mean
    clock_uncertainty: float | None = None  #: of each figure, from the clocks of load workers; null: one clock
    blank: list[str] = []  #: figures that are null because that uncertainty is more than 10 % of them


class CaseHealth(Record, kw_only=True):
    """The worst figures of the instrument over the blocks of a case; null where none was measured."""

    ok: bool = True  #: no block exceeded a limit
    unwell_blocks: int = 0  #: blocks that exceeded a limit
    problems: list[str] = []  #: those of the worst block
    load_cpu: float | None = None  #: load processes: share of one core
    load_lag_p99_ms: float | None = None  #: load processes: lag of the event loop, 99th percentile
    load_gc_max_ms: float | None = None  #: load processes: longest garbage collection
    load_cpu_worst_phase: float | None = None  #: load processes: share of one core in the worst phase
    mock_cpu: float | None = None  #: mock upstream: share of one core
    mock_lag_p99_ms: float | None = None  #: mock upstream: lag of the event loop, 99th percentile
    mock_gc_max_ms: float | None = None  #: mock upstream: longest garbage collection
    mock_cpu_worst_phase: float | None = None  #: mock upstream: share of one core in the worst phase
    pacing_p99_ms: float | None = None  #: tokens written after their planned moment
    chat_lag_p99_ms: float | None = None  #: chats sent after their planned moment
    abort_lag_p99_ms: float | None = None  #: aborts sent after their planned moment
    steal: float | None = None  #: share of all CPU time that the host took for others
    chunks_per_s: float | None = None  #: tokens received per second by one load process


class SummaryCase(Record, kw_only=True):
    """One case over all its blocks."""

    strategy: str  #: strategy, or `target:variant/stop`
    target: str = "ours"  #: the service that was measured: ours, or `target:variant`
    store: str | None = None  #: memory, postgres or redis
    delivery: str | None = None  #: poll, timer or push
    scenario: str  #: scenario
    workers: int  #: worker processes of the service
    streams: int  #: most chats open at a time
    loop: str = "closed"  #: open or closed
    blocks: int = 0  #: repetitions
    chats: int = 0  #: chats with a row
    aborts: int = 0  #: aborts that count: sent in time and not refused
    missed: int = 0  #: aborts that count, of chats that ran to their natural end
    errors: int = 0  #: chats with an error, of their own or of their abort
    late: int = 0  #: aborts sent when the stream had ended
    prevented: int = 0  #: stopped before the upstream was asked
    refused: int = 0  #: aborts that were never accepted (503)
    own: int = 0  #: aborts that reached the chat's own worker, where only others count
    turned_away: int = 0  #: chats answered with 503 because the store was unavailable
    dropped: int = 0  #: chats not sent because `streams` were open already
    dishonest: int = 0  #: stops that the service accepted, of chats whose upstream ran to its end
    wrong_stops: int = 0  #: chats stopped without an abort
    tokens_after_stop: int = 0  #: tokens received after the stop had been reported
    leaked: int = 0  #: upstream connections left open: when the case had settled; of other targets, 10 s after the stop
    metrics: dict[str, Metric] = {}  #: metrics by name
    health: CaseHealth | None = None  #: whether the instrument kept up
    waterfall: dict[str, Part | None] | None = None  #: parts of the stop latency by name; null: none is known

    @property
    def key(self) -> CaseKey:
        """What identifies the case."""
        return CaseKey(self.strategy, self.scenario, self.workers, self.streams)


class CalibrationDelay(Record, kw_only=True):
    """A delay that was injected, and what was measured."""

    injected: float  #: milliseconds
    recovered_p50: float | None = None  #: difference of the medians with and without it


class CalibrationDrops(Record, kw_only=True):
    """Aborts that were dropped on purpose, and what was measured."""

    injected: float  #: share
    recovered: float | None = None  #: share of the counted aborts that were missed
    ci95: Interval | None = None  #: its exact interval (Clopper and Pearson)
    lost: int | None = None  #: aborts that were missed
    planned: tuple[int, int] | None = None  #: fewest and most aborts that were dropped


class Calibration(Record, kw_only=True):
    """Whether the instrument finds what was injected."""

    delay_ms: CalibrationDelay  #: injected delay
    drop_rate: CalibrationDrops  #: injected losses
    n: dict[str, int] = {}  #: counted aborts by arm: instant, delay, drop
    lost_by_obedient_arms: int = 0  #: aborts missed by the arms that drop none


class ComparisonIntervals(Record, kw_only=True):
    """95 % confidence intervals of a comparison; null with too few blocks."""

    shift_ms: Interval | None = None  #: of the shift
    ratio: Interval | None = None  #: of the ratio


class ComparisonRow(Record, kw_only=True):
    """Two strategies compared over the blocks of one scenario."""

    scenario: str  #: scenario
    workers: int  #: worker processes
    streams: int  #: most chats open at a time
    a: str  #: the strategy that ranks lower
    b: str  #: the other strategy
    metric: str  #: metric that is compared
    blocks: int  #: blocks that both have
    shift_ms: float  #: a - b
    ratio: float | None = None  #: a / b
    ci95: ComparisonIntervals  #: 95 % confidence intervals
    p: float | None = None  #: p value of a paired test
    p_holm: float | None = None  #: after Holm's correction over all comparisons
    verdict: str  #: faster, slower, not told apart, below the floor, or needs more blocks


class Control(Record, kw_only=True):
    """A result that is known in advance, for any strategy."""

    name: str  #: what is controlled
    holds: bool | None = None  #: null: the run cannot tell
    says: str  #: a sentence with the figures


class IntervalGoal(Record, kw_only=True):
    """How precise the stop's p95 is in the case with the widest interval, against what `--interval` asked for."""

    goal: float  #: largest half width of the p95's 95 % interval over blocks, as a share of the p95
    reached: bool  #: whether every case is within it
    case: str | None = None  #: the case with the widest interval; null: no case has a stop
    half_width: float | None = None  #: its half width, as a share of its p95; null: it has no interval over blocks
    more_blocks: int | None = None  #: blocks that are missing by the current spread
    more_minutes: float | None = None  #: how long they would take
    reasons: list[str] = []  #: why it is not reached: spread, outliers, unhealthy blocks


class Summary(Record, kw_only=True):
    """The contents of summary.json."""

    schema: int = SCHEMA  #: version of the record
    valid: bool  #: whether the measurement can be believed
    problems: list[str] = []  #: reasons why it cannot
    warnings: list[str] = []  #: what a reader must consider although it can
    floor: Metric | None = None  #: stop latency without a service, ms: smaller differences are not claimed
    calibration: Calibration | None = None  #: whether injected delays and losses were found
    cases: list[SummaryCase] = []  #: cases, ordered by scenario and rank of the strategy
    idle: list[IdleCost] | None = None  #: cost of each strategy without aborts
    comparisons: list[ComparisonRow] = []  #: which strategy stops faster
    controls: list[Control] = []  #: results that must come out
    interval: IntervalGoal | None = None  #: whether the goal of --interval was reached; null: there was none
