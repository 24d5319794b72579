"""Measures base and head in interleaved blocks, and decides after each whether another one could change the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bench.checkouts import notes_on, worktrees
from bench.decision import Margin
from bench.family import Finding, decide_all, more_needed
from bench.gate_run import block_values
from bench.margins import Margins
from bench.meter import Measured
from bench.outcome import Outcome
from bench.plan import Case
from bench.reading import Run as ReadRun
from bench.reading import read_run
from bench.records import Results
from bench.runner import Run, Settings
from bench.service import Side
from bench.stats import Summary, write_summary
from bench.verdict import MIN_BLOCKS
from bench.zero_tolerance import Fired, fired

METRICS = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "wasted_tokens", "ttft_ms")
"""What is judged everywhere. What a strategy costs is judged where nobody stops anything: elsewhere a block holds too
few tokens for a share of CPU time to mean something."""
COSTS = ("server_cpu_us_per_token", "store_ops_per_token")


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

    def run(self, base: str, *, minutes: float) -> Outcome:
        """Raises GitError, StoreError, ChildError, KeyboardInterrupt."""
        with worktrees(base) as folders:
            notes = notes_on(folders)
            sides = [
                Measured(Side(name, folder), kept)
                for name, folder, kept in zip(("base", "head"), folders, self._kept, strict=True)
            ]

            def more(blocks: int, took_s: float, _medians_ms: Mapping[str, Sequence[float]]) -> bool:
                if self._fired():
                    return False  # one lost abort is one too many, and no further block takes it back
                left = took_s * (blocks + 1) / blocks < minutes * 60
                return left and (blocks < MIN_BLOCKS or more_needed(each.decision for each in self._findings()))

            Run(self._cases, self._settings, sides, self._console, more=more).execute()
        return self._outcome(notes)

    def _outcome(self, notes: Sequence[str]) -> Outcome:
        (base, base_summary), (head, head_summary) = self._summaries()
        # Chats that failed on head are head's fault, and judged as such; on base they spoil the comparison.
        return Outcome(
            findings=self._findings(),
            fired=self._fired(),
            base={"name": base.folder.name, "commit": base.manifest["commit"]},
            head={"name": head.folder.name, "commit": head.manifest["commit"]},
            margins_say=self._margins.says,
            base_problems=base_summary["problems"],
            head_problems=head_summary["problems"],
            notes=notes,
        )

    def _read(self) -> list[ReadRun]:
        return [read_run(kept.folder) for kept in self._kept]

    def _summaries(self) -> list[tuple[ReadRun, Summary]]:
        return [(run, write_summary(run)) for run in self._read()]

    def _fired(self) -> list[Fired]:
        (_, base), (_, head) = self._summaries()
        return fired(base["cases"], head["cases"])

    def _findings(self) -> list[Finding]:
        base, head = (block_values(run) for run in self._read())
        unstopped = {case.scenario.name for case in self._cases if case.scenario.abort_share == 0}
        found: list[Finding] = []
        for metrics, of_costs in ((METRICS, False), (COSTS, True)):
            margins: dict[str, Margin] = {name: self._margins.of[name] for name in metrics}
            old, new = (
                {key: blocks for key, blocks in side.items() if not of_costs or key[0].scenario in unstopped}
                for side in (base, head)
            )
            found += decide_all(old, new, margins)
        return found
