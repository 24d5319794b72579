"""Which tests may run in parallel, by file or folder; the nearest one of a file's path counts.

`pure`: computes and draws only. `waiting`: waits for events of real processes, and measures no time. None: measures
times or looks at the whole machine, so it runs alone. A drawing test beside one that waits would make its time-outs
too short, so each part runs apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

TESTS = Path(__file__).parent
MARKERS = ("pure", "waiting")
EXPRESSIONS: dict[str | None, str] = {name: name for name in MARKERS} | {None: "not pure and not waiting"}
"""Marker -> pytest's `-m` that selects its tests."""

PURE = (
    "test_arrows.py",
    "test_parallel.py",
    "bench/test_action.py",
    "bench/test_make.py",
    *(f"bench/{room}" for room in ("analysis", "cli", "gate", "load", "record", "report", "stats", "workload")),
    *(f"bench/experiments/test_{name}.py" for name in ("calibrate_again", "goals", "knee", "prove")),
    *(f"bench/run/test_{name}.py" for name in ("card", "enough", "lag_phases", "meter", "progress", "repeat")),
    *(f"bench/targets/test_{name}.py" for name in ("files", "requests")),
)
WAITING = (
    "backends",
    "browser",
    "clients",
    "deploy",
    "mock_llm",
    "server",
    "bench/test_make_serve.py",
    "bench/cli/test_rerun.py",
    *(f"bench/{room}" for room in ("experiments", "run", "system", "targets")),
)
SERIAL = (
    "backends/test_cluster_time.py",
    "browser/test_stop.py",
    "bench/gate/test_regress.py",
    *(f"bench/experiments/test_{name}.py" for name in ("calibrated", "doctor", "relay", "stop_path")),
    *(f"bench/load/test_{name}.py" for name in ("loop_lag", "volley")),
    *(f"bench/run/test_{name}.py" for name in ("catalogue_runs", "end_to_end", "fleet", "idle", "resource_monitor")),
    "bench/system/test_burner.py",
    "bench/targets/test_measured.py",
)


def _marked(paths: Iterable[str], marker: str | None) -> dict[Path, str | None]:
    return {TESTS / path: marker for path in paths}


MARKER_OF = _marked(PURE, "pure") | _marked(WAITING, "waiting") | _marked(SERIAL, None)


def marker_of(file: Path) -> str | None:
    """The marker of all tests of this file; None where they run one at a time."""
    return next((MARKER_OF[path] for path in (file, *file.parents) if path in MARKER_OF), None)


def parts_of(path: Path) -> set[str | None]:
    """The markers of the tests in this file or folder, None among them where some run one at a time."""
    files = path.rglob("test_*.py") if path.is_dir() else [path]
    return {marker_of(file) for file in files if "slow" not in file.relative_to(path).parts}
