"""Which tests are pure: they compute, parse and draw, and measure no time, so they may run in parallel."""

from pathlib import Path

TESTS = Path(__file__).parent
PURE = tuple(TESTS / "bench" / room for room in ("analysis", "gate", "record", "report", "stats", "workload"))
NOT_PURE = (TESTS / "bench" / "gate" / "test_regress.py",)
"""Files in these folders that measure."""


def is_pure(file: Path) -> bool:
    """Whether all tests of this file are."""
    return file not in NOT_PURE and any(file.is_relative_to(folder) for folder in PURE)


def may_hold_pure(path: Path) -> bool:
    """Whether this file or folder lies in a pure folder, or above one."""
    return any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in PURE)
