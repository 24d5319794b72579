"""Measures base and head in interleaved blocks, and decides after each whether another one could change the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.analysis.reading import Run as ReadRun
from bench.analysis.reading import read_run, unlike_environments
from bench.analysis.summary import Summary, write_summary
from bench.gate.base_commit import ROOT, Comparison
from bench.gate.block_filter import left_of, miscalibrated, problems_of, starved, too_few, unwell
from bench.gate.checkouts import doubts_on, notes_on, worktrees
from bench.gate.family import decide_all, more_needed, told_once
from bench.gate.gate_run import block_values
from bench.gate.margins import Margins
from bench.gate.outcome import Outcome
from bench.gate.overload import overloads
from bench.gate.zero_tolerance import judge
from bench.record.writer import Results
from bench.run.campaign import Run, Settings
from bench.run.meter import Measured
from bench.run.progress import Expected
from bench.run.subject import Side
from bench.stats.paired import MIN_BLOCKS
from bench.workload.plan import Case

METRICS = (
    "upstream_stop_ms",
    "client_stop_ms",
    "abort_ack_ms",
    "wasted_tokens",
    "ttft_ms",
    "server_cpu_us_per_token",
    "store_ops_per_token",
    "store_ops_per_chat",
)
"""What is judged; of these the costs only where nobody stops anything (bench/gate/gate_run.py)."""


class Gate:
    """One comparison of two states of the code; `run` gives its outcome, and where head's results are."""

    def __init__(
        self, cases: Sequence[Case], settings: Settings, margins: Margins, results: Path, console: Console
    ) -> None:
        self._cases = cases
        self._settings = settings
        self._margins = margins
        self._console = console
        self._kept = [Results(results, f"{settings.label}-{name}") for name in ("base", "head")]
        self.folder = self._kept[1].folder
        self._compared: Comparison | None = None

    def run(self, compared: Comparison, *, minutes: float, repository: Path = ROOT) -> Outcome:
        """Compare two commits of the repository.

        Raises GitError, StoreError, ChildError, KeyboardInterrupt.
        """
        self._compared = compared
        with worktrees(compared.base, compared.head, repository=repository) as folders:
            notes, doubts = [*compared.notes, *notes_on(repository)], doubts_on(folders)
            sides = [
                Measured(Side(name, folder), kept)
                for name, folder, kept in zip(("base", "head"), folders, self._kept, strict=True)
            ]

            def more(blocks: int, took_s: float, _medians_ms: Mapping[str, Sequence[float]]) -> bool:
                fit = int(minutes * 60 * blocks / took_s)
                return blocks < fit and self._could_change(blocks, fit)

            expects = Expected(None, minutes)
            Run(self._cases, self._settings, sides, self._console, more=more, expects=expects).execute()
        return self._outcome(notes, doubts)

    def _could_change(self, blocks: int, fit: int) -> bool:
        """Whether the verdict after so many blocks could become another one after as many as fit into the time."""
        (base, base_summary), (head, _) = self._summaries()
        left_out = unwell(base) | starved(base) | unwell(head)
        broken = judge(base, head, left_out | starved(head))
        if broken.fired or miscalibrated(base_summary) or overloads(base, head):
            return False  # one lost abort is one too many; and no block takes back what the calibration showed
        well = min(left_of(head, left_out).values(), default=0)
        if blocks < MIN_BLOCKS or (blocks < fit and overloads(base, head, as_many=fit / blocks)):
            return True
        if well * fit < MIN_BLOCKS * blocks:
            return False  # on so busy a machine the time would end before there is enough evidence
        old, new = block_values(base, left_out), block_values(head, left_out)
        findings = decide_all(old, new, {name: self._margins.of[name] for name in METRICS})
        return well < MIN_BLOCKS or bool(broken.doubtful) or more_needed(each.decision for each in findings)

    def _outcome(self, notes: Sequence[str], doubts: Sequence[str]) -> Outcome:
        # Chats that failed on head are head's fault, and judged as such; on base they spoil the comparison.
        (base, base_summary), (head, head_summary) = self._summaries()
        unwell_on = [unwell(base) | starved(base), unwell(head)]
        left_out = unwell_on[0] | unwell_on[1]
        old, new = block_values(base, left_out), block_values(head, left_out)
        margins = {name: self._margins.of[name] for name in METRICS}
        broken, few = judge(base, head, left_out | starved(head)), too_few(head, left_out, MIN_BLOCKS)
        unlike = [
            f"base (A) and head (B) were not measured with the same settings: {each}"
            for each in unlike_environments(base.manifest, head.manifest)
        ]
        nothing_left = len(few) == len(left_of(head, left_out))
        counted = [f"{len(sick)} of {name}'s" for name, sick in zip(("base", "head"), unwell_on, strict=True)]
        told = [f"blocks left out, the machine not being well: {' and '.join(counted)}"] if left_out else []
        return Outcome(
            findings=decide_all(old, new, margins),
            fired=[*broken.fired, *overloads(base, head)],
            base=_side(base) | (self._compared.as_row() if self._compared else {}),
            head=_side(head),
            margins_say=self._margins.says,
            base_problems=[*unlike, *problems_of(base, base_summary, left_out)],
            head_problems=problems_of(head, head_summary, left_out),
            instrument_problems=list(few.values()) if nothing_left else (),
            doubts=[*doubts, *([] if nothing_left else few.values())],
            doubtful=broken.doubtful,
            losses=broken.losses,
            notes=[*notes, *_ran(base, head), *told, *told_once(old, new, margins)],
        )

    def _summaries(self) -> list[tuple[ReadRun, Summary]]:
        return [(run, write_summary(run)) for run in (read_run(kept.folder) for kept in self._kept)]


def _side(run: ReadRun) -> dict[str, Any]:
    """How the verdict names a side: its results folder, its commit, and the code that its service ran."""
    code = run.manifest.get("code") or {}
    return {"name": run.folder.name, "commit": run.manifest["commit"], **code}


def _ran(base: ReadRun, head: ReadRun) -> list[str]:
    """Which code each side's service ran, in words."""
    return [
        f"{name} ran {code['module']} of {str(code['commit'])[:7]}"
        + ("" if code["reported"] else " (not reported by its /healthz: the path that its Python imports)")
        for name, run in (("base", base), ("head", head))
        if (code := run.manifest.get("code"))
    ]
