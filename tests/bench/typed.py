"""The analysis of rows that a test writes, or reads back, as JSON objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bench.analysis import health, metrics
from bench.analysis.metrics import ChatMetrics
from bench.record.manifest import ScenarioSettings
from bench.record.schema import CaseRow, ChatRow

NO_CASE = {"strategy": "", "scenario": "", "workers": 0, "streams": 0, "block": 0}


def measure(row: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> ChatMetrics:
    return metrics.measure(msgspec.convert(row, ChatRow), msgspec.convert(settings or {}, ScenarioSettings))


def problems(case: Mapping[str, Any]) -> list[str]:
    return health.problems(_case(case))


def warnings(case: Mapping[str, Any]) -> list[str]:
    return health.warnings(_case(case))


def stolen(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    return health.stolen([_case(case) for case in cases])


def _case(case: Mapping[str, Any]) -> CaseRow:
    return msgspec.convert(NO_CASE | dict(case), CaseRow)
