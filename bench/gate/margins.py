"""The margin of each metric: the smallest change that counts, from the noise measured on this machine or a default.

noise.json is written by `.venv/bin/python -m bench aa`. A `spread` is the root mean square of `log((a + c) / (b + c))`
over pairs (a, b) of values of the same code, `c` the slack of the metric's default margin. Where the sides share loads
the logarithm is that of pairs.py; such noise is smaller, and is not used for sides that take turns. There nothing but
the blocks differs between two sides of the same code, so their margin is that of a mean over MIN_BLOCKS; a machine that
changes between turns may change for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.gate import GateError
from bench.gate.verdict import Margin
from bench.record.base import RecordError, read_file
from bench.record.host import describe_host, other_machine
from bench.record.manifest import Host
from bench.record.verdict import Noise, NoiseMetric
from bench.stats.paired import MIN_BLOCKS

AA = "`.venv/bin/python -m bench aa`"
SIGMAS = 3.0
"""Control limits of three standard deviations (Shewhart 1931): with two, one of 20 metrics would exceed its margin."""
MIN_SHARE = 0.05
MIN_PAIRS = 10
"""With fewer pairs the standard error of the spread is over a quarter of it."""

DEFAULTS = {
    "upstream_stop_ms": Margin(0.15, slack=0.5),
    "client_stop_ms": Margin(0.15, slack=0.5),
    "abort_ack_ms": Margin(0.15, slack=0.5),
    "ttft_ms": Margin(0.05, slack=1.0),
    "itl_ms": Margin(0.05, slack=0.5),
    "wasted_tokens": Margin(0.15, slack=0.25),
    "server_cpu_us_per_token": Margin(0.15, slack=2.0),
    "store_ops_per_token": Margin(0.10, slack=0.02),
    "store_ops_per_chat": Margin(0.05, slack=0.25),
    "chats_per_s": Margin(0.10, slack=0.1, higher_is_better=True),
    "tokens_per_s": Margin(0.10, slack=1.0, higher_is_better=True),
}
"""Wide enough for a shared machine. A slack is a change too small to matter: half a millisecond of a stop, a token in
four aborts. One more store operation per chat is beyond the margin up to ten: a push needs two to six."""
SHARED = DEFAULTS | {
    "upstream_stop_ms": Margin(0.15, slack=0.02),
    "client_stop_ms": Margin(0.15, slack=0.02),
    "abort_ack_ms": Margin(0.15, slack=0.02),
    "server_cpu_us_per_token": Margin(0.03, slack=1.0),
    "store_ops_per_token": Margin(0.01, slack=0.0005),
    "store_ops_per_chat": Margin(0.01, slack=0.02),
}
"""For sides that share loads. The operations of a push are the same in each block."""


def defaults_of(duet: bool) -> Mapping[str, Margin]:
    """The default margins of sides that share loads, or take turns."""
    return SHARED if duet else DEFAULTS


class Margins(NamedTuple):
    """A margin per metric, whether they were measured, and a sentence on where they come from."""

    of: Mapping[str, Margin]
    measured: bool
    source: str


def noise_of(changes: Mapping[str, Sequence[float]]) -> dict[str, NoiseMetric]:
    """The `metrics` of noise.json from changes between two sides of the same code, at least MIN_PAIRS of each."""
    found = {}
    for metric, values in changes.items():
        spread = math.sqrt(math.fsum(each**2 for each in values) / len(values))
        found[metric] = NoiseMetric(pairs=len(values), spread=round(spread, 5))
    return found


def change_of(margin: Margin, one: float, other: float) -> float:
    """The change between two values of a metric with this default margin."""
    slack = margin.slack
    return math.log((one + slack) / (other + slack))


def read_margins(path: Path, host: Host | None = None, *, duet: bool = False) -> Margins:
    """The margins of this machine from noise.json; the defaults if it is absent or from another machine.

    `duet`: the sides share loads; otherwise noise that was measured so is not used. `host` is this machine's
    description, for tests. Raises GateError for a file that cannot be read.
    """
    usual = defaults_of(duet)
    if not path.exists():
        return Margins(usual, False, f"default margins: {path} does not exist; {AA} measures this machine's noise")
    try:
        noise = read_file(path, Noise)
    except (OSError, RecordError) as error:
        raise GateError(f"{error}; run {AA} again") from error
    recorded, here = noise.host or Host(), host or describe_host()
    if elsewhere := other_machine(recorded, here) if recorded != Host() else "its host is not recorded":
        source = f"default margins: {path} is not used, it was measured on another machine ({elsewhere})"
        return Margins(usual, False, f"{source}; {AA} measures this one's noise")
    if noise.duet and not duet:
        source = f"default margins: {path} was measured with sides that share loads"
        return Margins(usual, False, f"{source}; {AA} --turns measures the noise of sides that take turns")
    return margins(noise, duet=duet)


def margins(noise: Noise, *, duet: bool = False) -> Margins:
    """SIGMAS spreads with the slack of the default; the default for a metric without noise.

    At least MIN_SHARE, or the default's share where that is smaller.

    `duet`: for sides that share loads. Noise of sides that took turns is theirs, too, but not that of a mean.
    """
    usual, several = defaults_of(duet), math.sqrt(MIN_BLOCKS) if duet and noise.duet else 1.0
    measured = {}
    for metric, default in usual.items():
        if found := noise.metrics.get(metric):
            share = math.expm1(SIGMAS * found.spread / several)
            measured[metric] = replace(default, share=max(min(MIN_SHARE, default.share), share))
    missing = [metric for metric in usual if metric not in measured]
    defaults = f" (defaults for {', '.join(missing)})" if missing else ""
    return Margins({**usual, **measured}, True, f"margins measured on {noise.made_utc}{defaults}")
