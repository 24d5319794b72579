"""A run that is repeated elsewhere or later says what is not as it was; and what the service was told is kept."""

from typing import Any

import msgspec
import pytest

from bench.record.manifest import Manifest
from bench.run import repeat

BEFORE: dict[str, Any] = {
    "commit": "a" * 40,
    "dirty": False,
    "versions": {"redis": "8.1.0", "uvloop": "0.22"},
    "host": {"cpus": 2},
    "stores": {"redis": {"name": "valkey", "version": "9.1.2"}},
    "environment": {"ABORT_INTERVAL_MS": "50"},
}


def changed_since(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return repeat.changed_since(msgspec.convert(before, Manifest), msgspec.convert(now, Manifest))


def test_the_same_again_says_nothing() -> None:
    assert changed_since(BEFORE, dict(BEFORE)) == []
    assert changed_since({}, BEFORE) == [], "an old record does not say"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"commit": "b" * 40}, "the code was aaaaaaaaaaaa, and is bbbbbbbbbbbb"),
        ({"dirty": True}, "the code was aaaaaaaaaaaa, and is aaaaaaaaaaaa with uncommitted changes"),
        ({"versions": {"redis": "8.2.0", "uvloop": "0.22"}}, "version redis was 8.1.0, and is 8.2.0"),
        ({"host": {"cpus": 4}}, "host cpus was 2, and is 4"),
        ({"stores": {"redis": {"name": "redis", "version": "9.1.2"}}}, "store redis name was valkey, and is redis"),
        ({"environment": {}}, "environment variable ABORT_INTERVAL_MS was 50, and is absent"),
    ],
)
def test_what_is_not_as_it_was_is_told(change: dict[str, Any], says: str) -> None:
    assert changed_since(BEFORE, BEFORE | change) == [says]


def test_a_record_from_before_the_environment_was_kept_is_compared_by_its_settings() -> None:
    old = {name: value for name, value in BEFORE.items() if name != "environment"}
    assert changed_since(old | {"settings": {"service": {"ABORT_INTERVAL_MS": "50"}}}, BEFORE) == []
    assert changed_since(old, BEFORE) == [], "an older one does not say"
