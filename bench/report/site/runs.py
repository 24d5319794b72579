"""The runs in results/ as the site lists them: their cases, and a badge per contender."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.analysis.ranking import ranked, value_of
from bench.record.base import RecordError, read_file
from bench.record.host import machine_kind
from bench.record.manifest import Manifest
from bench.record.reader import UnreadableResults, read_manifest
from bench.record.summary import Summary, SummaryCase
from bench.report.formatting import number
from bench.workload.strategies import is_special

DEPTH = ("*", "*/*")
"""Run folders are in results/, or one folder deeper, as in results/reference/."""


@dataclass(frozen=True)
class Badge:
    """What a badge says of a contender: `stops in 1.1 ms p50, 0 of 888 missed`, and whether that is good."""

    contender: str
    says: str
    kind: str  # good, bad (aborts were missed) or invalid


@dataclass(frozen=True)
class ListedRun:
    """A run of the site; `name` is its folder below results/, with dashes."""

    folder: Path
    name: str
    label: str
    started: str
    machine: str
    valid: bool
    quick: bool
    cases: Sequence[SummaryCase]
    badges: Sequence[Badge]


def find_runs(results: Path, left_out: Counter[str]) -> list[ListedRun]:
    """All runs with a manifest and a summary, newest first; `left_out` counts the other folders by reason."""
    found = []
    for folder in _folders(results):
        try:
            run = _listed(results, folder)
        except (UnreadableResults, RecordError, OSError) as error:
            left_out[f"{folder.relative_to(results)}: {error}"] += 1
            continue
        if run.cases:
            found.append(run)
        else:
            left_out[f"{folder.relative_to(results)}: no case was measured"] += 1
    return sorted(found, key=lambda run: (run.started, run.name), reverse=True)


def newest_badges(runs: Sequence[ListedRun]) -> Mapping[str, Badge]:
    """The badge of each contender in its newest run that is valid and not QUICK; else in its newest run."""
    found: dict[str, Badge] = {}
    for run in sorted(runs, key=lambda run: run.valid and not run.quick, reverse=True):  # stable: newest first
        for badge in run.badges:
            found.setdefault(badge.contender, badge)
    return found


def badge_of(contender: str, cases: Sequence[SummaryCase], *, valid: bool) -> Badge | None:
    """The median of the slowest scenario, and the missed aborts of all; None without a counted abort."""
    aborts, missed = sum(case.aborts for case in cases), sum(case.missed for case in cases)
    if not aborts:
        return None
    slowest = ranked(cases)[-1:]
    says = f"stops in {number(value_of(slowest[0]))} ms p50, " if slowest else ""
    says += f"{missed:,} of {aborts:,} missed"
    return Badge(
        contender, says if valid else f"{says} (not valid)", "invalid" if not valid else "bad" * bool(missed) or "good"
    )


def _folders(results: Path) -> Iterator[Path]:
    for pattern in DEPTH:
        for manifest in sorted(results.glob(f"{pattern}/manifest.json")):
            folder = manifest.parent
            if not any(part.is_symlink() for part in (folder, folder.parent) if part != results):
                yield folder


def _listed(results: Path, folder: Path) -> ListedRun:
    manifest: Manifest = read_manifest(folder)
    summary = read_file(folder / "summary.json", Summary)
    cases = [case for case in summary.cases if not is_special(case.scenario)]
    contenders = dict.fromkeys(case.strategy for case in cases)
    badges = [
        badge_of(name, [case for case in cases if case.strategy == name], valid=summary.valid) for name in contenders
    ]
    return ListedRun(
        folder=folder,
        name="-".join(folder.relative_to(results).parts),
        label=manifest.label or folder.name,
        started=(manifest.started_utc or "")[:16].replace("T", " "),
        machine=machine_kind(manifest.host) if manifest.host else "unknown machine",
        valid=summary.valid,
        quick=manifest.is_quick,
        cases=cases,
        badges=[badge for badge in badges if badge],
    )
