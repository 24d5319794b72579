"""What does not count as a change, for each metric: from the noise measured on this machine, or careful defaults.

noise.json, written by `.venv/bin/python -m bench aa` from comparisons of a strategy with itself:
`{"schema": 1, "made_utc", "host": {...}, "metrics": {<metric>: {"pairs": n, "spread": s}}}`, where `spread` is the root
mean square of `log((a + c) / (b + c))` over the pairs (a, b) of run-level values, `c` the slack of the metric's default
margin. It is a standard deviation around 0, which is what the truth is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.gate.decision import Margin
from bench.record.base import encode_file
from bench.record.files import replace_file
from bench.record.writer import describe_host, other_machine

SCHEMA = 1
AGAIN = "run `.venv/bin/python -m bench aa` again"
SIGMAS = 3.0
"""Control limits as Shewhart set them (1931). A gate asks dozens of questions: at two one in twenty would be luck."""
LEAST_SHARE = 0.05
LEAST_PAIRS = 10
"""Fewer leave the spread itself uncertain by more than a quarter."""

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
"""Used where no noise was measured: wide enough for a shared machine, so small changes stay `inconclusive`. The slack
is what nobody would notice: half a millisecond of a stop, a token in four aborts, two microseconds of CPU. One more
operation per chat is beyond the margin of up to ten: a push needs two to six, and the count hardly varies."""


class NoiseError(ValueError):
    """noise.json cannot be used; the message is one line: cause and next step."""


class Margins(NamedTuple):
    """A margin per metric, and in words where they come from."""

    of: Mapping[str, Margin]
    measured: bool
    says: str


def noise(pairs: Mapping[str, Sequence[tuple[float, float]]], host: Mapping[str, Any], made_utc: str) -> dict[str, Any]:
    """The contents of noise.json from pairs of run-level values of the same thing; unknown metrics are left out.

    Raises NoiseError where a metric has fewer than LEAST_PAIRS pairs.
    """
    metrics = {}
    for metric, values in pairs.items():
        if metric not in DEFAULTS:
            continue
        if len(values) < LEAST_PAIRS:
            raise NoiseError(f"{metric}: {len(values)} A/A pairs, {LEAST_PAIRS} are needed: let `bench aa` run longer")
        slack = DEFAULTS[metric].slack
        apart = [math.log((one + slack) / (other + slack)) for one, other in values]
        spread = math.sqrt(sum(each**2 for each in apart) / len(apart))
        metrics[metric] = {"pairs": len(values), "spread": round(spread, 5)}
    return {"schema": SCHEMA, "made_utc": made_utc, "host": dict(host), "metrics": metrics}


def write_noise(path: Path, record: Mapping[str, Any]) -> None:
    """Write noise.json, whole or not at all."""
    replace_file(path, encode_file(record))


def read_margins(path: Path, host: Mapping[str, Any] | None = None) -> Margins:
    """The margins of this machine (or of `host`, for tests), from noise.json.

    The defaults, and why, where there is no noise.json or it was measured on another machine. Raises NoiseError.
    """
    if not path.exists():
        says = f"default margins: {path} is not there; `.venv/bin/python -m bench aa` measures this machine's own"
        return Margins(DEFAULTS, measured=False, says=says)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise NoiseError(f"{path} has schema {record['schema']!r}, not {SCHEMA}: {AGAIN}")
        here = describe_host() if host is None else host
        if elsewhere := other_machine(record["host"], here) if record["host"] else "its host is not recorded":
            says = f"default margins: {path} is not used, it was measured on another machine ({elsewhere})"
            return Margins(DEFAULTS, measured=False, says=f"{says}; `.venv/bin/python -m bench aa` measures this one's")
        return margins(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, NoiseError):
            raise
        raise NoiseError(f"{path} cannot be read ({error!r}): {AGAIN}") from error


def margins(record: Mapping[str, Any]) -> Margins:
    """The margins that a noise record gives: SIGMAS spreads, no less than LEAST_SHARE; the default for what it lacks.

    The slack stays: it is what nobody would notice, on any machine.
    """
    chosen = dict(DEFAULTS)
    for metric, measured in record["metrics"].items():
        default = chosen.get(metric)
        if default is None:
            continue
        share = max(LEAST_SHARE, math.expm1(SIGMAS * measured["spread"]))
        chosen[metric] = Margin(share, default.slack, default.higher_is_better)
    lacking = [metric for metric in DEFAULTS if metric not in record["metrics"]]
    says = f"margins measured on {record['made_utc']}"
    says += f" (defaults for {', '.join(lacking)})" if lacking else ""
    return Margins(chosen, measured=True, says=says)
