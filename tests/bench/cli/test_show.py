"""The table that a run prints."""

from typing import Any

import msgspec
import pytest
from rich.console import Console

from bench.cli.show import case_table
from bench.record.summary import SummaryCase
from tests.bench.fake_gate import summary_case


@pytest.mark.parametrize(("aborts", "shown"), [(0, "152.0"), (20, "-")])
def test_the_cpu_per_token_is_that_of_scenarios_without_aborts(aborts: int, shown: str) -> None:
    """With aborts the start of a chat is spread over fewer tokens: another figure than the report's."""
    metric: dict[str, Any] = {"n": 5, "p50": 152.0, "p95": None, "p99": None, "mean": 152.0, "ci95": {}}
    made = summary_case(aborts=aborts, metrics={"server_cpu_us_per_token": metric})
    console = Console(width=80)
    with console.capture() as capture:
        console.print(case_table([msgspec.convert(made, SummaryCase)]))
    assert capture.get().split()[-2] == shown
