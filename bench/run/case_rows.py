"""The rows of a measured case: joined timelines, and the line of cases.jsonl."""

from collections.abc import Sequence

import msgspec

from bench.load.loaded import Loaded
from bench.record.join import case_head, join, load_window, pacing_ms
from bench.record.schema import CaseHead, CaseRow, ChatRow
from bench.record.traces import JournalRow, Trace
from bench.run.instrument import ARMS, arm_of
from bench.workload.plan import Case
from bench.workload.strategies import CALIBRATION

Arms = list[tuple[list[ChatRow], CaseRow]]


def arms_of(
    case: Case,
    costs: CaseRow,
    request_ids: Sequence[str],
    *,
    loaded: Loaded,
    lines: Sequence[Trace],
    journal: Sequence[JournalRow],
) -> Arms:
    """The rows of the chats with these ids: of each arm of the calibration, or of the only one."""
    found = []
    for arm in ARMS if case.strategy == CALIBRATION else (None,):
        ids = {each for each in request_ids if arm in (None, arm_of(each))}
        head = case_head(case, costs.block, arm)
        rows = join(head, [row for row in loaded.rows if row.request_id in ids], lines, journal)
        row = _case_row(costs, head, rows, case, planned=len(ids), dropped=len(ids & set(loaded.dropped)))
        found.append((rows, row))
    return found


def _case_row(
    costs: CaseRow, head: CaseHead, rows: Sequence[ChatRow], case: Case, *, planned: int, dropped: int
) -> CaseRow:
    started_ns, ended_ns = load_window(rows)
    return msgspec.structs.replace(
        costs,
        strategy=head.strategy,
        started_ns=started_ns,
        ended_ns=ended_ns,
        tokens=sum(len(row.client.token_ns) for row in rows),
        chats_planned=planned,
        dropped=dropped,
        at_once=-(-case.scenario.at_once // (costs.load_processes or 1)),
        rate_per_s=case.scenario.rate_per_s,
        witness_late_p99_ms=pacing_ms(rows),
    )
