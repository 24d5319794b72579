"""Which blocks of a gate run share their loads: those that disturb neither side.

A head that needs far more CPU disturbs base too when both run at the same time, and nothing would show that it is head.
So an unusable block is measured again in turns, and only that counts; then the rules of rules.py and block_filter.py
apply as they are. A case stays with turns if head alone disturbed its turn, or if half of its shared loads (at least
MIN_AGAIN) were unusable: changes in turns are of another size, and a mixture of both scatters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.analysis.metrics import measure
from bench.analysis.reading import CaseKey, Chat
from bench.analysis.reading import Run as ReadRun
from bench.gate.block_filter import disturbed_blocks
from bench.record.manifest import Manifest
from bench.record.schema import CaseRow, ChatRow
from bench.record.writer import Results
from bench.run.duet import shares_load
from bench.run.meter import Taken
from bench.workload.plan import Case
from bench.workload.scenario import Scenario

TURNS = "base and head took turns"
MORE_CHATS = 2
"""Times a scenario's chats. The change of a block scatters with one over the square root of its pairs, and starting
services takes longer than loading them."""
MIN_AGAIN = 2
"""One unusable load happens by chance."""


def longer(cases: Iterable[Case]) -> list[Case]:
    """The cases, with more chats in loads that both sides share; those of an open loop come at half the rate.

    At the full rate two services leave these cores so little time that what is measured is a queue.
    """
    return [replace(case, scenario=_longer(case.scenario)) if shares_load(case) else case for case in cases]


def _longer(scenario: Scenario) -> Scenario:
    rate = scenario.rate_per_s
    return replace(scenario, chats=MORE_CHATS * scenario.chats, rate_per_s=None if rate is None else rate / 2)


class MeasuredSide(Results):
    """A results folder whose rows also stay in memory, so that no file is read again after each block."""

    def __init__(self, parent: Path, label: str) -> None:
        super().__init__(parent, label)
        self.manifest = Manifest()
        self.cases: list[CaseRow] = []
        self.chats: list[Chat] = []

    @property
    def run(self) -> ReadRun:
        """The rows written so far."""
        return ReadRun(self.folder, self.manifest, self.cases, self.chats)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write manifest.json."""
        super().write_manifest(manifest)
        self.manifest = manifest

    def append(self, chats: Iterable[ChatRow], case: CaseRow) -> None:
        """Write a finished case and its chats."""
        rows = list(chats)
        super().append(rows, case)
        self.cases.append(case)
        self.chats += self.measured(rows)

    def measured(self, chats: Iterable[ChatRow]) -> list[Chat]:
        """What the chats measured."""
        scenarios = self.manifest.scenarios
        return [
            Chat(chat.key, chat.block, chat.request_id, measure(chat, scenarios.get(chat.scenario))) for chat in chats
        ]


class GatePairing:
    """Decides for the gate; see bench/run/duet.py. `set_aside`: head's chats of the blocks that were measured again."""

    def __init__(self, base: MeasuredSide, head: MeasuredSide) -> None:
        self._sides = (base, head)
        self._chats: list[Chat] = []
        self._shared: Counter[CaseKey] = Counter()
        self._again: dict[CaseKey, list[int]] = {}
        self._reason = ""

    def wanted(self, case: Case) -> bool:
        """Whether the case may share another load."""
        key = CaseKey(case.strategy, case.scenario.name, case.workers, case.scenario.streams)
        blocks = self._again.get(key)
        if not blocks:
            return True
        if len(blocks) >= max(MIN_AGAIN, self._shared[key] / 2):
            return False
        base, head = ((key, blocks[-1]) in disturbed_blocks(side.run) for side in self._sides)
        return base or not head

    def accepts(self, taken: Sequence[Taken]) -> bool:
        """Whether both sides of the block are usable."""
        self._shared[taken[0].arms[0][1].key] += 1
        for side, (_subject, [(rows, row)]) in zip(self._sides, taken, strict=True):
            alone = ReadRun(side.folder, side.manifest, [row], side.measured(rows))
            if reasons := disturbed_blocks(alone):
                self._reason = self._reason or next(iter(reasons.values()))
                head, (of_head, head_row) = self._sides[1], taken[1].arms[0]
                self._chats += head.measured(of_head)
                self._again.setdefault(head_row.key, []).append(head_row.block)
                return False
        return True

    @property
    def set_aside(self) -> ReadRun:
        """Head's chats in loads that were measured again: they break rules too."""
        return ReadRun(self._sides[1].folder, self._sides[1].manifest, [], self._chats)

    @property
    def notes(self) -> list[str]:
        """How the sides were measured."""
        duet = self._sides[1].manifest.duet
        found = []
        if duet and duet.recovered_ms is not None:
            delay = f"{duet.injected_ms:g} ms was measured as {duet.recovered_ms:.2f} ms"
            found.append(f"base and head shared the loads of the scenarios with aborts (calibration: {delay})")
        if count := sum(map(len, self._again.values())):
            found.append(f"{count} shared loads were unhealthy and were measured again in turns: {self._reason}")
        return found
