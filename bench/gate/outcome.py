"""The outcome of a gate: one verdict, one exit code and one sentence; every output is made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.analysis.metrics import UNITS
from bench.gate.family import Finding
from bench.gate.rules import BrokenRule
from bench.record.verdict import SideInfo
from bench.stats.proportions import Losses

Verdict = Literal["worse", "better", "equivalent", "inconclusive", "invalid"]
EXIT_CODES: dict[Verdict, int] = {"equivalent": 0, "better": 0, "worse": 1, "invalid": 2, "inconclusive": 3}
SUMMARY: dict[Verdict, str] = {
    "worse": "head is worse than base",
    "better": "head is better than base",
    "equivalent": "head is equivalent to base",
    "inconclusive": "not enough evidence either way",
}


@dataclass(frozen=True)
class Outcome:
    """Everything that a gate found.

    `*_problems` are the reasons why a side, or the measurement of both, is invalid; `doubts` the reasons why head may
    be worse unseen. `unproven_rules` were broken only in excluded blocks; `losses` are head's, by strategy; `mode` is
    duet or turns; `notes` change nothing; `units` are given where the values do not have the metrics' own.
    """

    findings: Sequence[Finding] = ()
    broken: Sequence[BrokenRule] = ()
    base: SideInfo = field(default_factory=SideInfo)
    head: SideInfo = field(default_factory=SideInfo)
    margin_source: str = ""
    mode: str = "turns"
    base_problems: Sequence[str] = ()
    head_problems: Sequence[str] = ()
    instrument_problems: Sequence[str] = ()
    doubts: Sequence[str] = ()
    unproven_rules: Sequence[BrokenRule] = ()
    losses: Mapping[str, Losses] = field(default_factory=dict)
    notes: Sequence[str] = ()
    units: Mapping[str, str] = field(default_factory=lambda: UNITS)

    @property
    def verdict(self) -> Verdict:
        """The worst that was shown.

        A broken rule outranks the problems of head, since a leak makes head's own measurement invalid; a comparison of
        metrics needs two valid sides. With a doubt nothing is better or equivalent.
        """
        verdicts = {finding.decision.verdict for finding in self.findings}
        if self.base_problems:
            return "invalid"
        if self.broken:
            return "worse"
        if self.head_problems or self.instrument_problems or not verdicts:
            return "invalid"
        if self.doubts or self.unproven_rules:
            verdicts.add("inconclusive")
        order: tuple[Verdict, ...] = ("worse", "inconclusive", "better", "equivalent")
        return next(each for each in order if each in verdicts)

    @property
    def exit_code(self) -> int:
        """DESIGN section 8: 0 fine, 1 regression, 2 invalid, 3 inconclusive."""
        return EXIT_CODES[self.verdict]

    @property
    def head_only(self) -> bool:
        """Whether the measurement is invalid because of head alone."""
        others = self.base_problems or self.instrument_problems
        return self.verdict == "invalid" and bool(self.head_problems) and not others

    @property
    def blocks(self) -> int:
        """The most blocks of any metric."""
        return max((finding.decision.blocks for finding in self.findings), default=0)

    @property
    def problems(self) -> list[str]:
        """All problems, each once: both sides share the instrument."""
        return list(dict.fromkeys((*self.base_problems, *self.head_problems, *self.instrument_problems)))

    @property
    def reasons(self) -> list[str]:
        """The sentences that explain the verdict: problems, broken rules, doubts, unproven rules."""
        unproven = [f"unproven: {each.sentence}" for each in self.unproven]
        return [*self.problems, *(each.sentence for each in self.rules), *self.doubts, *unproven]

    @property
    def sentence(self) -> str:
        """The verdict in one line, with the upper bound of head's losses."""
        if self.verdict == "invalid":
            return f"the measurement is invalid: {[*self.problems, 'nothing could be compared'][0]}"
        strict = sum(each.p is None for each in self.broken)
        overloads = len(self.broken) - strict
        rules = f"{strict} zero-tolerance rule{'s' * (strict > 1)} broken; " if strict else ""
        if overloads:
            rules += f"{overloads} case{'s' * (overloads > 1)} in which head disturbs the measurement; "
        counts = {each: len(self.having(each)) for each in ("worse", "better", "equivalent", "inconclusive")}
        metrics = ", ".join(f"{count} {each}" for each, count in counts.items() if count) or "no metric compared"
        lost = f"; {self.lost.sentence}" if self.lost.aborts else ""
        doubt = f"; {self.reasons[0]}" if self.verdict == "inconclusive" and self.reasons else ""
        return f"{SUMMARY[self.verdict]} ({rules}{metrics}; {self.blocks} blocks{lost}{doubt})"

    @property
    def lost(self) -> Losses:
        """Head's losses over all strategies that promise to deliver."""
        return sum(self.losses.values(), Losses())

    @property
    def rules(self) -> Sequence[BrokenRule]:
        """The broken rules that count: none if the measurement is invalid."""
        return () if self.verdict == "invalid" else self.broken

    @property
    def unproven(self) -> list[BrokenRule]:
        """The broken rules that do not count."""
        return [*(self.broken if self.verdict == "invalid" else ()), *self.unproven_rules]

    @property
    def claimed(self) -> Sequence[Finding]:
        """The findings; all inconclusive if the measurement is invalid."""
        if self.verdict != "invalid":
            return self.findings
        return [each._replace(decision=replace(each.decision, verdict="inconclusive")) for each in self.findings]

    def having(self, verdict: str) -> list[Finding]:
        """The claimed findings with this verdict."""
        return [finding for finding in self.claimed if finding.decision.verdict == verdict]

    def unit(self, metric: str) -> str:
        """The unit of a metric's values."""
        return self.units.get(metric, "ms" if metric.endswith("_ms") else "")
