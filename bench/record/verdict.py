"""What the regression gate writes and reads: verdict.json, noise.json and baseline.json."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from bench.record.base import SCHEMA, Record
from bench.record.manifest import Host, ScenarioSettings

Ends = tuple[float | None, float | None]


class Effect(Record, kw_only=True):
    """How head differs from base: ratio and shift, or two counts for a zero-tolerance rule."""

    ratio: float | UnsetType | None = UNSET  #: head / base
    shift: float | UnsetType | None = UNSET  #: head - base, in the metric's unit
    base: int | UnsetType | None = UNSET  #: count in base
    head: int | UnsetType | None = UNSET  #: count in head


class EffectInterval(Record, kw_only=True):
    """Confidence interval of an effect."""

    level: float = 0.9  #: confidence level
    ratio: Ends | None = None  #: of the ratio
    shift: Ends | None = None  #: of the shift


class Limit(Record, kw_only=True):
    """What does not count as a change: a margin, or the limit of a zero-tolerance rule."""

    share: float | UnsetType = UNSET  #: relative margin
    slack: float | UnsetType = UNSET  #: absolute margin, in the metric's unit
    higher_is_better: bool | UnsetType = UNSET  #: direction of the metric
    allowed: int | UnsetType = UNSET  #: count that is allowed
    p: float | UnsetType = UNSET  #: probability of such a difference by chance


class PValues(Record, kw_only=True):
    """P values of the one-sided tests."""

    worse: float | None = None  #: of "head is not worse"
    better: float | None = None  #: of "head is not better"


class JudgedRow(Record, kw_only=True):
    """A metric of a case as it was judged, or a rule that head broke."""

    rule: str | UnsetType = UNSET  #: name of the zero-tolerance rule, or worse
    metric: str  #: metric, or the name of the rule
    scenario: str  #: scenario
    strategy: str  #: strategy
    workers: int  #: worker processes
    streams: int  #: most chats open at a time
    case: str  #: the case as a phrase
    verdict: str | UnsetType = UNSET  #: worse, better, equivalent or inconclusive
    unit: str | UnsetType = UNSET  #: unit of the values
    blocks: int | UnsetType = UNSET  #: blocks of both sides
    base: float | UnsetType | None = UNSET  #: value of base
    head: float | UnsetType | None = UNSET  #: value of head
    effect: Effect  #: difference
    interval: EffectInterval | None = None  #: its interval; null for a zero-tolerance rule
    margin: Limit  #: what does not count
    p: PValues | UnsetType = UNSET  #: p values
    changes: list[float] | UnsetType = UNSET  #: of each block: head less base of log(value + slack), positive is worse
    power: float | UnsetType | None = UNSET  #: probability of finding a change of the size of the margin
    sentence: str  #: the finding with its figures


class LossCount(Record, kw_only=True):
    """Lost aborts of one strategy."""

    lost: int = 0  #: aborts that never stopped their upstream
    aborts: int = 0  #: aborts that count
    at_most: float | None = None  #: upper confidence bound of the share


class LossSummary(LossCount, kw_only=True):
    """Lost aborts of head."""

    level: float = 0.95  #: confidence level of the bounds
    sentence: str = ""  #: the losses as a phrase
    strategies: dict[str, LossCount] = {}  #: by strategy


class VerdictProblems(Record, kw_only=True):
    """What made a measurement invalid."""

    base: list[str] = []  #: that of base
    head: list[str] = []  #: that of head
    instrument: list[str] = []  #: both


class SideInfo(Record, kw_only=True):
    """One side of a comparison."""

    name: str | UnsetType = UNSET  #: name
    commit: str | UnsetType | None = UNSET  #: commit
    module: str | UnsetType = UNSET  #: file of the `server` package that its service ran; of a target its folder
    reported: bool | UnsetType = UNSET  #: whether the service reported that file and its commit
    ref: str | UnsetType = UNSET  #: base: the name that the user gave
    ref_commit: str | UnsetType = UNSET  #: base: the commit of that name
    ahead: int | UnsetType = UNSET  #: base: commits that only head has
    behind: int | UnsetType = UNSET  #: base: commits that only `ref` has


class VerdictRecord(Record, kw_only=True):
    """The contents of verdict.json."""

    schema: int = SCHEMA  #: version of the record
    verdict: str  #: worse, better, equivalent, inconclusive or invalid
    exit_code: int  #: exit code of the command
    sentence: str  #: the verdict with its figures
    mode: str = "turns"  #: duet (both sides shared the loads) or turns
    blocks: int  #: most blocks of any metric
    rules: list[JudgedRow] = []  #: zero-tolerance rules that head broke, and metrics that are worse
    findings: list[JudgedRow] = []  #: every metric of every case
    unproven: list[JudgedRow] = []  #: broken rules that do not count
    doubts: list[str] = []  #: reasons not to claim that head is no worse
    losses: LossSummary  #: lost aborts
    problems: VerdictProblems  #: what made the measurement invalid
    notes: list[str] = []  #: remarks that change nothing
    margins: str = ""  #: where the margins come from
    base: SideInfo  #: base
    head: SideInfo  #: head


class NoiseMetric(Record, kw_only=True):
    """The noise of one metric on a machine."""

    pairs: int  #: pairs of values of the same code
    spread: float  #: root mean square of the logarithm of their ratio


class FalseAlarmPair(Record, kw_only=True):
    """One strategy compared with itself."""

    a: str  #: label
    b: str  #: other label
    blocks: int  #: blocks that both have
    ratio: float | None = None  #: a / b
    p: float | None = None  #: p value
    p_holm: float | None = None  #: after Holm's correction
    verdict: str  #: as in a run


class FalseAlarms(Record, kw_only=True):
    """How often the comparison finds a difference that is not there."""

    comparisons: int  #: comparisons
    alarms: int  #: faster or slower
    rate: float | None = None  #: share of alarms
    uncorrected: float | None = None  #: share of p values below 0.05 before Holm's correction
    pairs: list[FalseAlarmPair] = []  #: every comparison


class Noise(Record, kw_only=True):
    """The contents of noise.json: what two measurements of the same code differ by on one machine."""

    schema: int = SCHEMA  #: version of the record
    made_utc: str  #: when it was measured
    host: Host | None = None  #: machine
    duet: bool = False  #: the sides shared the loads of scenarios with aborts, and did not take turns
    metrics: dict[str, NoiseMetric] = {}  #: noise by metric
    false_alarms: dict[str, FalseAlarms] | UnsetType = UNSET  #: false alarms by case


class MarginRecord(Record, kw_only=True):
    """The margin of one metric."""

    share: float  #: relative margin
    slack: float  #: absolute margin, in the metric's unit


class BaselineMargins(Record, kw_only=True):
    """The margins that a baseline was made with."""

    measured: bool  #: measured on the machine, not defaults
    says: str  #: where they come from
    of: dict[str, MarginRecord]  #: by metric


class BaselineCase(Record, kw_only=True):
    """One case of a baseline."""

    strategy: str  #: strategy
    scenario: str  #: scenario
    workers: int  #: worker processes
    streams: int  #: most chats open at a time
    ratios: dict[str, list[float]]  #: by metric: a multiple of the floor, or a count, per block


class Baseline(Record, kw_only=True):
    """The contents of baseline.json: a run as multiples of its own floor."""

    schema: int = SCHEMA  #: version of the record
    made_utc: str | None = None  #: when it was made
    run: str  #: folder of the run
    commit: str | None  #: commit of the run
    host: Host | None  #: machine of the run
    record_schema: int | None  #: schema of the run
    workers: int | None  #: worker processes of the run
    strategies: list[str]  #: strategies of the run
    scenarios: dict[str, ScenarioSettings]  #: scenarios of the run
    environment: dict[str, str] | None = None  #: variables given to the service; null in an older baseline
    floor_p50_ms: float  #: floor of the run
    margins: BaselineMargins  #: margins at that time
    cases: list[BaselineCase]  #: values
