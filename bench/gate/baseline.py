"""The committed baseline: what a run measured as multiples of its own floor, for people who cannot run the base.

Milliseconds of two machines cannot be compared; how much longer than the floor (the same machine, the same run, no
service) a stop took can be, roughly. results/baseline.json:

`{"schema": 1, "made_utc", "run", "commit", "host", "record_schema", "workers", "floor_p50_ms", "scenarios": {name:
settings}, "strategies": [...], "margins": {"measured", "says", "of": {metric: {"share", "slack"}}}, "cases":
[{"strategy", "scenario", "workers", "streams", "ratios": {metric: [one per block]}}]}`, margins in the metric's unit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.analysis.metrics import UNITS
from bench.analysis.reading import CaseKey, of_run
from bench.gate.decision import Margin
from bench.gate.family import BlockValues
from bench.gate.gate_run import GateError, GateRun, judged
from bench.gate.margins import DEFAULTS, Margins
from bench.record.base import encode_file
from bench.record.files import replace_file
from bench.record.writer import utc_now
from bench.workload.strategies import is_special

SCHEMA = 1
KEYS = (
    "run",
    "commit",
    "host",
    "record_schema",
    "workers",
    "strategies",
    "scenarios",
    "floor_p50_ms",
    "margins",
    "cases",
)
AGAIN = "make a new one with `make baseline`"
TIMES = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms", "server_cpu_us_per_token")
"""Divided by the floor. `ttft_ms` first loses the time that the scenario's upstream waits on purpose."""
COUNTS = ("wasted_tokens", "store_ops_per_token", "store_ops_per_chat")
"""Left as they are: no machine is faster at them. Rates and `itl_ms` are set by the scenario, and are left out."""
RATIO_UNITS = UNITS | dict.fromkeys(TIMES, "x floor")


def ratios(run: GateRun) -> dict[tuple[CaseKey, str], dict[int, float]]:
    """The run's block values without a unit: multiples of its floor, and counts. Raises GateError without a floor."""
    floor_ms, scenarios = run.floor_ms, run.manifest.get("scenarios") or {}
    found = {}
    for (case, metric), blocks in run.values.items():
        if is_special(case.scenario) or metric not in (*TIMES, *COUNTS):
            continue
        planned = float(scenarios.get(case.scenario, {}).get("ttft_ms", 0.0)) if metric == "ttft_ms" else 0.0
        unit = _floor_in(metric, floor_ms)
        found[case, metric] = {block: max(value - planned, 0.0) / unit for block, value in blocks.items()}
    return found


def relative_margins(of: Mapping[str, Margin], floor_ms: float) -> dict[str, Margin]:
    """The margins on the scale of `ratios`, for the metrics that it has."""
    return {
        metric: Margin(of[metric].share, of[metric].slack / _floor_in(metric, floor_ms), of[metric].higher_is_better)
        for metric in (*TIMES, *COUNTS)
        if metric in of
    }


def make(run: GateRun, margins: Margins) -> dict[str, Any]:
    """The contents of baseline.json for a full, valid run (`bench.gate.gate_run.load` refuses others)."""
    by_case: dict[CaseKey, dict[str, list[float]]] = {}
    for (case, metric), blocks in ratios(run).items():
        by_case.setdefault(case, {})[metric] = [round(blocks[block], 6) for block in sorted(blocks)]
    return {
        "schema": SCHEMA,
        "made_utc": utc_now(),
        "run": run.folder.resolve().name,
        "commit": run.manifest.get("commit"),
        "host": run.manifest.get("host"),
        **conditions(run),
        "floor_p50_ms": run.floor_ms,
        "margins": {
            "measured": margins.measured,
            "says": margins.says,
            "of": {name: {"share": margin.share, "slack": margin.slack} for name, margin in margins.of.items()},
        },
        "cases": [{**case._asdict(), "ratios": metrics} for case, metrics in sorted(by_case.items())],
    }


def conditions(run: GateRun) -> dict[str, Any]:
    """What two runs must have in common: record schema, workers, strategies, scenarios with their settings, --env."""
    return {
        "record_schema": run.manifest.get("schema"),
        "workers": (run.manifest.get("settings") or {}).get("workers"),
        "strategies": sorted({case["strategy"] for case in run.summary["cases"]}),
        "scenarios": run.manifest.get("scenarios") or {},
        "environment": of_run(run.manifest) or {},
    }


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write baseline.json, whole or not at all; raises GateError where it cannot be written."""
    try:
        replace_file(path, encode_file(record))
    except OSError as error:
        raise GateError(
            f"{path} cannot be written ({error.strerror or error}): choose another with --baseline"
        ) from error


def read(path: Path) -> dict[str, Any]:
    """Read baseline.json; raises GateError where it is absent, damaged or of another schema."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GateError(f"{path} is not there: {AGAIN}") from None
    except (OSError, ValueError) as error:
        raise GateError(f"{path} cannot be read ({error}): {AGAIN}") from error
    found = record.get("schema") if isinstance(record, dict) else None
    if found != SCHEMA:
        raise GateError(f"{path} has schema {found!r}, this program reads {SCHEMA}: {AGAIN}")
    lacking = [key for key in KEYS if key not in record]
    if lacking:
        raise GateError(f"{path} is damaged, it has no {', '.join(lacking)}: {AGAIN}")
    return dict(record)


def values_of(record: Mapping[str, Any]) -> BlockValues:
    """The baseline's ratios as `(case, metric) -> block -> ratio`, those that may be judged."""
    kept = {
        (CaseKey(case["strategy"], case["scenario"], case["workers"], case["streams"]), metric): dict(enumerate(blocks))
        for case in record["cases"]
        for metric, blocks in case["ratios"].items()
    }
    return judged(kept, record["scenarios"])


def margins_of(record: Mapping[str, Any]) -> Margins:
    """The margins that the baseline was made with."""
    kept = record["margins"]
    of = {
        name: Margin(each["share"], each["slack"], DEFAULTS[name].higher_is_better)
        for name, each in kept["of"].items()
        if name in DEFAULTS
    }
    return Margins(of, kept["measured"], kept["says"])


def _floor_in(metric: str, floor_ms: float) -> float:
    """The floor in the metric's unit; 1 for a count."""
    if metric in COUNTS:
        return 1.0
    return floor_ms * 1000 if metric == "server_cpu_us_per_token" else floor_ms
