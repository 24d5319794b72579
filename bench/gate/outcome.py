"""What a gate's findings come to: one verdict, one exit code, one sentence; every output is made from this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench.analysis.metrics import UNITS
from bench.gate.family import Finding
from bench.gate.zero_tolerance import Fired
from bench.stats.proportions import Losses

Overall = Literal["worse", "better", "equivalent", "inconclusive", "invalid"]
EXIT_CODES: dict[Overall, int] = {"equivalent": 0, "better": 0, "worse": 1, "invalid": 2, "inconclusive": 3}


@dataclass(frozen=True)
class Outcome:
    """Everything a gate found. `base` and `head` describe the two sides (`{"name": ..., "commit": ...}`).

    `base_problems` and `head_problems` are what made a side's measurement invalid, in words, `instrument_problems` what
    made both. `doubts` are reasons not to believe that head is no worse; `doubtful` are rules that head broke only in
    blocks that are no evidence. `losses` are head's, by strategy. `notes` are told beside the verdict and change
    nothing. `units` where the values are not in the metrics' own.
    """

    findings: Sequence[Finding]
    fired: Sequence[Fired]
    base: Mapping[str, Any]
    head: Mapping[str, Any]
    margins_say: str
    base_problems: Sequence[str] = ()
    head_problems: Sequence[str] = ()
    instrument_problems: Sequence[str] = ()
    doubts: Sequence[str] = ()
    doubtful: Sequence[Fired] = ()
    losses: Mapping[str, Losses] = field(default_factory=dict)
    notes: Sequence[str] = ()
    units: Mapping[str, str] = field(default_factory=lambda: UNITS)

    @property
    def verdict(self) -> Overall:
        """An invalid base invalidates everything. A head that broke a rule is worse even where that made its own
        measurement invalid, since a leak does just that; a statistical claim needs two valid sides. Otherwise worse
        outranks inconclusive, and that better; in doubt nothing is better or equivalent."""
        verdicts = {finding.decision.verdict for finding in self.findings}
        if self.base_problems:
            return "invalid"
        if self.fired:
            return "worse"
        if self.head_problems or self.instrument_problems or not verdicts:
            return "invalid"
        if self.doubts or self.doubtful:
            verdicts.add("inconclusive")
        order: tuple[Overall, ...] = ("worse", "inconclusive", "better", "equivalent")
        return next(each for each in order if each in verdicts)

    @property
    def exit_code(self) -> int:
        """DESIGN section 8: 0 fine, 1 regression, 2 invalid, 3 inconclusive."""
        return EXIT_CODES[self.verdict]

    @property
    def blocks(self) -> int:
        """The most blocks any metric was decided over."""
        return max((finding.decision.blocks for finding in self.findings), default=0)

    @property
    def problems(self) -> list[str]:
        """Everything that made the measurement invalid, each once: both sides share an instrument."""
        return list(dict.fromkeys((*self.base_problems, *self.head_problems, *self.instrument_problems)))

    @property
    def reasons(self) -> list[str]:
        """Everything a reader must know to understand the verdict: problems, broken rules, doubts."""
        return [
            *self.problems,
            *(each.sentence for each in self.rules),
            *self.doubts,
            *(f"no evidence: {each.sentence}" for each in self.unproven),
        ]

    @property
    def sentence(self) -> str:
        """The verdict in one line, with how many losses could have gone unseen."""
        if self.verdict == "invalid":
            return f"the measurement is invalid: {[*self.problems, 'nothing could be compared'][0]}"
        counts = {each: len(self.having(each)) for each in ("worse", "better", "equivalent", "inconclusive")}
        told = ", ".join(f"{count} {each}" for each, count in counts.items() if count)
        strict = [each for each in self.fired if each.p is None]
        rules = f"{len(strict)} zero-tolerance rule{'s' * (len(strict) > 1)} broken; " if strict else ""
        if overloads := len(self.fired) - len(strict):
            rules += f"{overloads} case{'s' * (overloads > 1)} in which head disturbs the measurement; "
        lost = f"; {self.lost.sentence}" if self.lost.aborts else ""
        doubt = f"; in doubt: {self.reasons[0]}" if self.verdict == "inconclusive" and self.reasons else ""
        told = told or "no metric compared"
        return f"head is {_WORDS[self.verdict]} ({rules}{told}; {self.blocks} blocks{lost}{doubt})"

    @property
    def lost(self) -> Losses:
        """Head's losses over all strategies that promise to deliver."""
        return sum(self.losses.values(), Losses())

    @property
    def rules(self) -> Sequence[Fired]:
        """The broken rules that count: none where the measurement is invalid."""
        return () if self.verdict == "invalid" else self.fired

    @property
    def unproven(self) -> list[Fired]:
        """The broken rules that do not count."""
        return [*(self.fired if self.verdict == "invalid" else ()), *self.doubtful]

    @property
    def judged(self) -> Sequence[Finding]:
        """The findings as far as they are claimed: an invalid measurement shows nothing to be worse or better."""
        if self.verdict != "invalid":
            return self.findings
        return [each._replace(decision=replace(each.decision, verdict="inconclusive")) for each in self.findings]

    def having(self, verdict: str) -> list[Finding]:
        """The findings of one verdict, as far as they are claimed."""
        return [finding for finding in self.judged if finding.decision.verdict == verdict]

    def unit(self, metric: str) -> str:
        """The unit in which a metric's values are."""
        return self.units.get(metric, "ms" if metric.endswith("_ms") else "")


_WORDS = {
    "worse": "worse than base",
    "better": "better than base",
    "equivalent": "equivalent to base",
    "inconclusive": "neither shown to be worse nor to be equivalent",
}
