"""Which tests may run in parallel: those that compute or draw, and those that wait for events of real servers.

All others measure times, or look at the whole machine.
"""

from pathlib import Path

TESTS = Path(__file__).parent
PURE = tuple(TESTS / "bench" / room for room in ("analysis", "gate", "record", "report", "stats", "workload"))
WAITING = (TESTS / "backends", TESTS / "mock_llm", TESTS / "server")
SERIAL = (TESTS / "bench" / "gate" / "test_regress.py",)
"""Files in these folders that measure."""
MARKERS = {"pure": PURE, "waiting": WAITING}
"""Marker -> folders; a drawing test beside one that waits would make its time-outs too short, so each runs apart."""


def marker_of(file: Path) -> str | None:
    """The marker of all tests of this file; None where they run one at a time."""
    if file in SERIAL:
        return None
    return next((name for name, folders in MARKERS.items() if any(map(file.is_relative_to, folders))), None)


def parts_of(path: Path) -> set[str]:
    """The markers that tests in this file or folder may have."""
    return {
        name
        for name, folders in MARKERS.items()
        if any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in folders)
    }
