"""What would change the advice, and what it stands on."""

from __future__ import annotations

import msgspec
import pytest

from bench.record.manifest import Manifest
from bench.report.advice import advise
from tests.bench.report.advice_cases import case, summary


def test_what_would_change_the_answer_is_only_what_the_run_has_seen() -> None:
    bare = advise(summary(case("redis-push")), Manifest())
    assert bare.changes == []
    cases = [
        case("redis-push"), case("redis-timer", p50=45.0), case("redis-poll", p50=10.0), case("disconnect", p50=0.6),
        case("memory-push", missed=150), case("redis-poll", "steady"), case("none", "steady"),
        case("redis-poll", "stalled", 1500.0), case("redis-push", "stalled"), case("redis-timer", "stalled", 50.0),
    ]  # fmt: skip
    changes = advise(summary(*cases), Manifest()).changes
    assert [text.split(":")[0] for text in changes] == [
        "You cannot keep a listener",
        "Your upstream never pauses",
        "Your clients can disconnect, and no proxy between them and the service hides it",
        "Every abort reaches the worker that runs its chat (sticky sessions)",
    ]
    assert "within the 100 ms" in changes[0]
    assert "1,500 ms [1,420 to 1,580] in its slowest scenario (stalled), at 60.0 µs" in changes[1]
    for p50, words in (
        (60.0, "above"),
        (49.0, "not significantly different from"),
    ):  # p95 of 120 and of 98 ms, each 5 % about
        slow = [msgspec.structs.replace(each, metrics=case("x", p50=p50).metrics) if each.strategy == "redis-timer"
                else each for each in cases]  # fmt: skip
        assert f"{words} the 100 ms" in advise(summary(*slow), Manifest()).changes[0]


def test_what_it_stands_on_names_floor_calibration_blocks_and_haste() -> None:
    floor = {"n": 400, "p50": 0.25, "ci95": {"p50": [0.24, 0.26]}}
    calibration = {"delay_ms": {"injected": 10.0, "recovered_p50": 10.04},
                   "drop_rate": {"injected": 0.01, "recovered": 0.0113, "ci95": [0.0045, 0.0231]}}  # fmt: skip
    cases = [case("redis-push", blocks=1)]
    manifest = msgspec.convert({"quick": True, "host": {"cpus": 4}}, Manifest)
    footing = " ".join(advise(summary(*cases, floor=floor, calibration=calibration), manifest).footing)
    for words in ("QUICK", "0.250 ms [0.240 to 0.260]", "10.0 ms measured", "1.1 % [0.45 to 2.3 %]",
                  "Only 1 block measured", "4 cores"):  # fmt: skip
        assert words in footing
    assert "block" not in " ".join(advise(summary(case("redis-push")), Manifest()).footing)


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (("blocks", "blocks"), "Those of the stops treat blocks as independent"),
        (("chats", "chats"), "Those of the stops treat all chats as independent"),
        (("blocks", "chats"), "Some of the stops treat all chats as independent"),
    ],
)
def test_the_evidence_names_what_the_intervals_count(units: tuple[str, str], words: str) -> None:
    cases = [case("redis-push"), case("postgres-push")]
    for each, unit in zip(cases, units, strict=True):
        each.metrics["upstream_stop_ms"].ci95_of = unit
    assert words in " ".join(advise(summary(*cases), Manifest()).footing)
