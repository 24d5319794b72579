"""A gate whose two sides were measured already, with blocks of every kind of trouble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.analysis.reading import read_run
from bench.gate.margins import DEFAULTS, Margins
from bench.gate.outcome import Outcome
from bench.gate.regress import Gate
from bench.run.settings import Settings
from bench.workload.plan import select
from tests.bench.fake_gate import case_row, chat_row, lost, write_rows

SETTINGS = Settings("all", 2, False, 1, "regress")
BLOCKS, CHATS = 6, 40


class Compared(Gate):
    """A gate whose two sides were measured already; `unhealthy` are the blocks in which the mock was late."""

    def __init__(self, results: Path) -> None:
        cases = select(scenarios=["flowing"], strategies=["redis-push"])
        margins = Margins(DEFAULTS, measured=False, source="default margins")
        super().__init__(cases, SETTINGS, margins, results, Console(quiet=True))

    def side(
        self,
        name: str,
        *,
        stop_ms: Sequence[float] = (2.0,) * BLOCKS,
        unhealthy: Sequence[int] = (),
        lost_in: Sequence[int] = (),
        leaked_in: Sequence[int] = (),
        stalled_in: Sequence[int] = (),
        failed_in: Sequence[int] = (),
        **manifest: Any,
    ) -> None:
        side = self.sides[("base", "head").index(name)]
        chats, cases = [], []
        for block, stop in enumerate(stop_ms):
            own = [chat_row("redis-push", block, index, stop * (1 + 0.01 * (index % 3))) for index in range(CHATS)]
            own[0] = lost(own[0]) if block in lost_in else own[0]
            if block in leaked_in:
                own[1]["witness"] |= {"outcome": "open", "lost_ns": None}
            for chat in own[:20] if block in failed_in else ():
                chat["client"]["error"] = "connection reset"
            chats += own
            row = case_row("redis-push", block, own) | {"witness_late_p99_ms": 40.0 if block in unhealthy else 0.4}
            service = {"name": "service", "pid": 1, "lag_max_ms": 140.0 if block in stalled_in else 20.0}
            cases.append(row | {"health": {"processes": [service], "chunks_per_s": 900.0}})
        write_rows(side.folder, chats, cases, {"side": name, "blocks": len(stop_ms), **manifest})
        run = read_run(side.folder)
        side.manifest, side.cases, side.chats = run.manifest, run.cases, run.chats

    def judge(self, doubts: Sequence[str] = ()) -> Outcome:
        """The outcome of what both sides hold."""
        return self.evidence().outcome(None, "default margins", [], doubts)

    def could_change(self, blocks: int, fit: int) -> bool:
        """Whether another block could change it."""
        return self.evidence().could_change(blocks, fit)
