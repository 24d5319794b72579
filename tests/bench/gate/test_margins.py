"""Margins from a machine's measured noise: three spreads, never less than what nobody would notice."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench.gate import GateError
from bench.gate.margins import DEFAULTS, MIN_SHARE, change_of, margins, noise_of, read_margins
from bench.gate.verdict import Margin
from bench.record.base import encode_file, read_file
from bench.record.host import describe_host
from bench.record.manifest import Host
from bench.record.verdict import Noise
from tests.bench.fake_gate import HOST

UTC = "2026-11-24T10:00:00Z"


def measured(spread: float, metric: str = "ttft_ms", level: float = 1000.0, pairs: int = 400) -> Noise:
    values = level * np.random.default_rng(1).lognormal(0.0, spread / math.sqrt(2), (pairs, 2))
    metrics = noise_of({metric: [change_of(DEFAULTS[metric], float(one), float(other)) for one, other in values]})
    return Noise(made_utc=UTC, host=here(), metrics=metrics)


def here(**more: object) -> Host:
    return msgspec.convert(HOST | more, Host)


def write(path: Path, noise: Noise, **host: object) -> None:
    """noise.json; `host` replaces what is recorded of the machine."""
    noise.host = here(**host)
    path.write_bytes(encode_file(noise))


def test_three_spreads_of_a_against_a() -> None:
    found = margins(measured(0.04)).of["ttft_ms"]
    assert found.share == pytest.approx(math.expm1(3 * 0.04), rel=0.1)
    assert (found.slack, found.higher_is_better) == (DEFAULTS["ttft_ms"].slack, False)


def test_a_mean_of_blocks_that_share_loads_has_less_noise_than_a_block() -> None:
    noise = measured(0.06, "upstream_stop_ms")
    turns = margins(noise).of["upstream_stop_ms"]
    noise.duet = True
    shared = margins(noise, duet=True).of["upstream_stop_ms"]
    assert math.log1p(turns.share) == pytest.approx(math.sqrt(5) * math.log1p(shared.share))
    assert shared.slack < turns.slack == DEFAULTS["upstream_stop_ms"].slack
    assert read_margins(Path("nowhere"), duet=True).of["upstream_stop_ms"].limit_at(1.5) < 0.2


def test_a_noisy_machine_gets_a_wider_margin_and_a_quiet_one_a_narrower() -> None:
    loud, quiet = (margins(measured(spread, "server_cpu_us_per_token")).of for spread in (0.3, 0.001))
    assert quiet["server_cpu_us_per_token"].share == MIN_SHARE
    assert loud["server_cpu_us_per_token"].share > DEFAULTS["server_cpu_us_per_token"].share


def test_what_was_not_measured_keeps_its_default_and_is_named() -> None:
    found = margins(measured(0.04))
    assert found.of["upstream_stop_ms"] == DEFAULTS["upstream_stop_ms"]
    assert found.measured
    assert UTC in found.source
    assert "upstream_stop_ms" in found.source


def test_throughput_stays_the_other_way_round() -> None:
    assert margins(measured(0.04, "chats_per_s")).of["chats_per_s"].higher_is_better


def test_the_file_says_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "noise.json"
    write(path, measured(0.04))
    assert read_margins(path, here()) == margins(read_file(path, Noise))


def test_without_a_file_the_defaults_say_that_they_are(tmp_path: Path) -> None:
    found = read_margins(tmp_path / "noise.json")
    assert (found.of, found.measured) == (DEFAULTS, False)
    assert "python -m bench aa" in found.source


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"cpus": 64}, "cpus is 64 there, 4 here"),
        ({"system": "Linux 5.4"}, "system is Linux 5.4 there, Linux 6.1 here"),
        ({"cpu": "Other 2 GHz"}, "cpu is Other 2 GHz there, This 1 GHz here"),
        (dict.fromkeys(HOST), "its host is not recorded"),
    ],
)
def test_the_noise_of_another_machine_is_not_used(tmp_path: Path, host: dict[str, object], words: str) -> None:
    path = tmp_path / "noise.json"
    write(path, measured(0.04), **host)
    found = read_margins(path, here(cpu="This 1 GHz"))
    assert (found.of, found.measured) == (DEFAULTS, False)
    assert f"is not used, it was measured on another machine ({words})" in found.source
    assert "\n" not in found.source


def test_a_record_from_before_the_cpus_model_is_used_where_all_else_is_alike(tmp_path: Path) -> None:
    path = tmp_path / "noise.json"
    write(path, measured(0.04))
    assert read_margins(path, here(cpu="This 1 GHz")).measured


def test_this_machine_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "noise.json"
    write(path, measured(0.04), **msgspec.to_builtins(describe_host()))
    assert read_margins(path).measured


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "metrics": {"itl_ms": {}}}'],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "noise.json"
    path.write_text(text)
    with pytest.raises(GateError, match=r"noise\.json .*run `.venv/bin/python -m bench aa` again"):
        read_margins(path)


def test_every_default_can_take_a_zero() -> None:
    """A rate is 0 when nothing got through, and the gate must say so instead of failing."""
    assert all(margin.slack > 0 for margin in DEFAULTS.values())
    assert DEFAULTS["chats_per_s"] == Margin(0.10, 0.1, higher_is_better=True)
