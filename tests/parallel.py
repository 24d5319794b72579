"""Which tests may run in parallel, by file or folder; the nearest one of a file's path counts.

`pure`: computes and draws only. `waiting`: waits for events of real processes, and measures no time. None: measures
times or looks at the whole machine, so it runs alone. Pure tests run at the lowest priority while the waiting tests
run: at normal priority they would take the CPU time that the time-outs of the waiting tests allow for.
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
    *(f"bench/experiments/test_{name}.py" for name in ("calibrate_again", "goals", "knee", "prove", "prove_command")),
    *(f"bench/run/test_{name}.py" for name in ("enough", "lag_phases", "meter", "progress", "repeat", "stopping")),
    "bench/run/foreign/test_card.py",
    *(f"bench/targets/test_{name}.py" for name in ("files", "requests")),
)
WAITING = (
    "backends",
    "browser",
    "clients",
    "deploy",
    "mock_llm",
    "server",
    "bench/test_foreign_ends.py",
    "bench/test_make_serve.py",
    "bench/cli/test_rerun.py",
    *(f"bench/{room}" for room in ("experiments", "run", "system", "targets")),
)
SERIAL = (
    "backends/test_cluster_time.py",
    "bench/gate/test_regress.py",
    "bench/experiments/test_calibrated.py",
    *(f"bench/load/test_{name}.py" for name in ("loop_lag", "volley")),
    *(f"bench/run/test_{name}.py" for name in ("catalogue_runs", "duet", "resource_monitor")),
    "bench/system/test_burner.py",
)

LONGEST = (
    "backends/test_postgres_pair.py",
    "backends/test_faults.py",
    "server/test_contract.py",
    "bench/run/test_interrupted_run.py",
    "bench/run/test_blocks.py",
    "bench/experiments/test_relay.py",
    "bench/run/test_fleet.py",
    "bench/run/test_end_to_end.py",
    "bench/experiments/test_stop_path.py",
    "bench/run/test_idle.py",
    "mock_llm/test_pytest_plugin.py",
    "server/test_outage_deaths.py",
    "bench/experiments/test_storm.py",
    "server/test_readiness.py",
    "bench/experiments/test_soak.py",
    "bench/test_make_serve.py",
    "server/test_deaths.py",
    "server/test_supervisor.py",
    "bench/targets/test_stop_card.py",
    "browser",
    "server/test_starting.py",
    "bench/cli/test_rerun.py",
    "backends/test_cluster_faults.py",
    "bench/experiments/test_prove_faults.py",
    "bench/test_foreign_ends.py",
    "bench/run/test_duet_run.py",
    "server/test_outage.py",
    "bench/experiments/test_serve.py",
    "server/test_store_start.py",
    "bench/system/test_environment.py",
)
"""Files and folders of the waiting part that take more than 20 s; they run before the others, because a long one that
begins last runs alone."""


def _marked(paths: Iterable[str], marker: str | None) -> dict[Path, str | None]:
    return {TESTS / path: marker for path in paths}


MARKER_OF = _marked(PURE, "pure") | _marked(WAITING, "waiting") | _marked(SERIAL, None)
_POSITIONS = {TESTS / path: position for position, path in enumerate(LONGEST)}


def marker_of(file: Path) -> str | None:
    """The marker of all tests of this file; None where they run one at a time."""
    return next((MARKER_OF[path] for path in (file, *file.parents) if path in MARKER_OF), None)


def position_of(file: Path) -> int:
    """Where the tests of this file come: the longest files first, the others after them in their usual order."""
    return min(_POSITIONS.get(path, len(LONGEST)) for path in (file, file.parent))


def parts_of(path: Path) -> set[str | None]:
    """The markers of the tests in this file or folder, None among them where some run one at a time."""
    files = path.rglob("test_*.py") if path.is_dir() else [path]
    return {marker_of(file) for file in files if "slow" not in file.relative_to(path).parts}
