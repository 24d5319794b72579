"""Measure base and head in interleaved blocks; decide after each block whether another one could change the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.analysis.reading import Run as ReadRun
from bench.analysis.reading import unlike_environments
from bench.analysis.summary import write_summary
from bench.gate.block_filter import (
    calibration_problems,
    side_problems,
    stalled_workers,
    too_few_usable,
    unhealthy_blocks,
    usable_count,
)
from bench.gate.chance import chance_notes
from bench.gate.commits import ROOT, SERVICE, Comparison, lock_doubts, uncommitted_notes, worktrees
from bench.gate.family import CHAT_METRICS, COSTS, Finding, decide_all, gate_values, more_needed, single_block_notes
from bench.gate.margins import Margins
from bench.gate.outcome import Outcome
from bench.gate.pairing import TURNS, GatePairing, MeasuredSide, longer
from bench.gate.pairs import pairs_of
from bench.gate.rules import apply_rules, overloads
from bench.gate.target_sides import set_up
from bench.gate.verdict import Margin
from bench.record.verdict import SideInfo
from bench.run.campaign import Run
from bench.run.meter import Measured
from bench.run.progress import Expected
from bench.run.settings import Settings
from bench.run.subject import Side
from bench.stats.paired import MIN_BLOCKS
from bench.workload.plan import Case
from bench.workload.strategies import is_special

METRICS = (*CHAT_METRICS, *COSTS)
"""The metrics that are judged; the costs among them only in scenarios without aborts."""


MIN_UNHEALTHY = 3
"""Blocks that must all be unhealthy on head and healthy on base: fewer happen by chance on a busy machine."""


class Evidence:
    """What the blocks measured so far show: excluded blocks, broken rules, and the values of the usable blocks."""

    def __init__(
        self, base: ReadRun, head: ReadRun, margins: Mapping[str, Margin], set_aside: ReadRun | None = None
    ) -> None:
        self.base, self.head = base, head
        self.margins = {name: margins[name] for name in METRICS}
        self.excluded_on = {"base": unhealthy_blocks(base) | stalled_workers(base), "head": unhealthy_blocks(head)}
        self.excluded = self.excluded_on["base"] | self.excluded_on["head"]
        self.rules = apply_rules(base, head, self.excluded | stalled_workers(head), set_aside)
        self.overloads = overloads(base, head)
        self.usable = usable_count(head, self.excluded)
        self.values = gate_values(base, self.excluded), gate_values(head, self.excluded)
        self.pairs = pairs_of(base, head, self.excluded)

    @property
    def findings(self) -> list[Finding]:
        """The decisions on all metrics."""
        return decide_all(*self.values, self.margins, pairs=self.pairs)

    def could_change(self, blocks: int, fit: int) -> bool:
        """Whether the verdict after `blocks` blocks could differ from that after the `fit` blocks there is time for."""
        if self.rules.broken or self.overloads or calibration_problems(self.base):
            return False  # further blocks cannot change these
        usable = min(self.usable.values(), default=0)
        if blocks < MIN_BLOCKS or (blocks < fit and overloads(self.base, self.head, scale=fit / blocks)):
            return True
        if usable * fit < MIN_BLOCKS * blocks:
            return False  # at this rate the time ends before there are enough usable blocks
        if usable < MIN_BLOCKS or self.rules.unproven:
            return True
        return more_needed(each.decision for each in self.findings)

    def _only_head_unhealthy(self) -> bool:
        """Whether every block is unhealthy on head and none on base, in three blocks or more of each case."""
        every = {(row.key, row.block) for row in self.head.cases if not is_special(row.scenario)}
        many = min(usable_count(self.head).values(), default=0) >= MIN_UNHEALTHY
        return many and not self.excluded_on["base"] and every <= self.excluded_on["head"].keys()

    def outcome(
        self, compared: Comparison | None, margin_source: str, notes: Iterable[str], doubts: Iterable[str]
    ) -> Outcome:
        """The verdict; writes the summaries of both sides."""
        # A chat that failed on head is a broken rule of head's; on base it makes the comparison invalid.
        unlike = [
            f"base (A) and head (B) were not measured with the same settings: {each}"
            for each in unlike_environments(self.base.manifest, self.head.manifest)
        ]
        of_base, of_head = (side_problems(run, write_summary(run), self.excluded) for run in (self.base, self.head))
        few = list(too_few_usable(self.head, self.excluded, MIN_BLOCKS).values())
        none_left = len(few) == len(self.usable)
        by_head = none_left and self._only_head_unhealthy()
        counts = " and ".join(f"{len(blocks)} of {name}'s" for name, blocks in self.excluded_on.items())
        excluded = [f"unhealthy blocks that were excluded: {counts}"] if self.excluded else []
        single = single_block_notes(*self.values, self.margins)
        findings = self.findings
        return Outcome(
            findings=findings,
            broken=[*self.rules.broken, *self.overloads],
            base=_side(self.base, compared),
            head=_side(self.head),
            margin_source=margin_source,
            base_problems=[*unlike, *of_base],
            head_problems=[*of_head, *(few if by_head else ())],
            instrument_problems=few if none_left and not by_head else (),
            doubts=[*doubts, *([] if none_left else few)],
            unproven_rules=self.rules.unproven,
            losses=self.rules.losses,
            notes=[*notes, *_code_notes(self.base, self.head), *excluded, *single, *chance_notes(findings)],
        )


class Gate:
    """One comparison of two commits; head's results are in `folder`."""

    def __init__(
        self,
        cases: Sequence[Case],
        settings: Settings,
        margins: Margins,
        results: Path,
        console: Console,
        *,
        turns: bool = False,
    ) -> None:
        self._cases = list(cases) if turns else longer(cases)
        self._settings, self._margins, self._console = settings, margins, console
        self.sides = [MeasuredSide(results, f"{settings.label}-{name}") for name in ("base", "head")]
        self.folder = self.sides[1].folder
        self._pairing = None if turns else GatePairing(*self.sides)

    def run(self, compared: Comparison, *, minutes: float, repository: Path = ROOT) -> Outcome:
        """Compare two commits of the repository. Raises GateError, GitError, StoreError, ChildError."""

        def more(blocks: int, took_s: float, _medians_ms: object) -> bool:
            fit = int(minutes * 60 * blocks / took_s)
            return blocks < fit and self.evidence().could_change(blocks, fit)

        foreign = self._cases[0].foreign
        needed = "" if foreign else SERVICE
        with worktrees(compared.base, compared.head, repository=repository, service=needed) as folders:
            notes = [compared.note, *uncommitted_notes(repository)]
            doubts = set_up(foreign, folders, self.sides[1].logs) if foreign else lock_doubts(folders)
            both = zip(("base", "head"), folders, self.sides, strict=True)
            sides = [Measured(Side(name, folder), kept) for name, folder, kept in both]
            expects = Expected(None, minutes)
            Run(
                self._cases, self._settings, sides, self._console, more=more, expects=expects, pairing=self._pairing
            ).execute()
            notes += self._pairing.notes if self._pairing else [TURNS]
        outcome = self.evidence().outcome(compared, self._margins.source, notes, doubts)
        return replace(outcome, mode="duet" if self._pairing else "turns")

    def evidence(self) -> Evidence:
        """What both sides have measured so far."""
        set_aside = self._pairing.set_aside if self._pairing else None
        return Evidence(self.sides[0].run, self.sides[1].run, self._margins.of, set_aside)


def _side(run: ReadRun, compared: Comparison | None = None) -> SideInfo:
    """The description of a side in verdict.json: its folder, its commit, and the code that its service ran."""
    code = run.manifest.code
    side = SideInfo(name=run.folder.name, commit=run.manifest.commit)
    if code:
        side.module, side.commit, side.reported = code.module, code.commit, code.reported
    if compared:
        side.ref, side.ref_commit = compared.ref, compared.ref_commit
        side.ahead, side.behind = compared.ahead, compared.behind
    return side


def _code_notes(base: ReadRun, head: ReadRun) -> list[str]:
    """A sentence per side: the code that its service ran."""
    return [
        f"{name} ran {code.module} of {str(code.commit)[:7]}{'' if code.reported else f' ({_source(run)})'}"
        for name, run in (("base", base), ("head", head))
        if (code := run.manifest.code)
    ]


def _source(run: ReadRun) -> str:
    """Where the code of a side is known from, if its service does not report it."""
    if run.manifest.targets:
        return "the place that it was started from"
    return "not reported by its /healthz: the path that its Python imports"
