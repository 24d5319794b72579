"""Which blocks are usable: those in which load, mock and machine were healthy on both sides of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import msgspec

from bench.analysis import calibration, health
from bench.analysis.blocks import Block
from bench.analysis.checks import MAX_ERROR_SHARE, find_problems
from bench.analysis.reading import CaseKey, Run
from bench.record.schema import CaseRow
from bench.record.summary import Summary, SummaryCase
from bench.workload.strategies import is_special

MAX_STALL_MS = 75.0
"""Half of the time that the scenarios keep free between the last abort and the end of the answer. An abort passes two
workers: if each stalls for longer, it arrives after the end, and a late abort looks like a lost one."""
Reasons = dict[Block, str]


def unhealthy_blocks(run: Run) -> Reasons:
    """The blocks in which load, mock or machine exceeded a limit, each with the first reason.

    A busy load sends an abort late or reads its end late; such an abort looks like one that the service lost.
    """
    return {block: problems[0] for block, row in _blocks(run) if (problems := health.problems(row))}


def stalled_workers(run: Run) -> Reasons:
    """The blocks in which a worker of the service stalled for more than MAX_STALL_MS.

    On base the cause is the machine, and the block is excluded. On head it may be head's own code: the times of the
    block are compared, but an abort that was lost only in such blocks is unproven.
    """
    found = {}
    for block, row in _blocks(run):
        workers = [each for each in (row.health.processes if row.health else ()) if each.name == "service"]
        longest_ms = max((each.lag_max_ms or 0.0 for each in workers), default=0.0)
        if longest_ms > MAX_STALL_MS:
            limit = f"(limit {MAX_STALL_MS:g} ms): stop other work (see `top`)"
            found[block] = f"a worker of the service stalled for {longest_ms:.0f} ms {limit}"
    return found


def disturbed_blocks(run: Run) -> Reasons:
    """The blocks in which anything exceeded a limit, each with the first reason; the same rule for both sides."""
    chats = Counter((chat.key, chat.block) for chat in run.chats)
    turned_away = (chat for chat in run.chats if chat.measured.outcome in ("refused", "rejected"))
    refused = Counter((chat.key, chat.block) for chat in turned_away)
    found = unhealthy_blocks(run)
    for block, reason in stalled_workers(run).items():
        found.setdefault(block, reason)
    for block, row in _blocks(run):
        if row.dropped > MAX_ERROR_SHARE * row.chats_planned:
            text = f"{row.dropped} of {row.chats_planned} chats were not sent, as `streams` were open already"
            found.setdefault(block, text)
        if refused[block] > MAX_ERROR_SHARE * chats[block] and not row.fault:
            found.setdefault(block, f"{refused[block]} of {chats[block]} chats or aborts were refused with 503")
    return found


def usable_count(run: Run, excluded: Collection[Block] = ()) -> Counter[CaseKey]:
    """The number of usable blocks of each case, also where it is 0."""
    found: Counter[CaseKey] = Counter()
    for block, row in _blocks(run):
        found[row.key] += block not in excluded
    return found


def too_few_usable(run: Run, excluded: Mapping[Block, str], needed: int) -> dict[CaseKey, str]:
    """A sentence for each case that has fewer than `needed` blocks because some were excluded."""
    found = {}
    for key, usable in usable_count(run, excluded).items():
        reasons = [reason for (case, _block), reason in excluded.items() if case == key]
        if reasons and usable < needed:
            counts = f"{usable} of {usable + len(reasons)} blocks are usable, a verdict needs {needed}"
            found[key] = f"{key.strategy} in {key.scenario}: {counts}: {reasons[0]}"
    return found


def side_problems(run: Run, summary: Summary, excluded: Collection[Block]) -> list[str]:
    """The reasons why a side's measurement is invalid, apart from the excluded blocks and their failed chats."""
    without_health = [msgspec.structs.replace(row, health=None, witness_late_p99_ms=None) for row in run.cases]
    cases = [_recounted(run, case, excluded) for case in summary.cases]
    return [*run.damage, *find_problems(replace(run, cases=without_health), cases), *calibration_problems(run)]


def calibration_problems(run: Run) -> list[str]:
    """The reasons why the calibration failed. It is measured once, so further blocks cannot change it."""
    arms = [(chat.key.strategy, chat.measured) for chat in run.chats if chat.key.scenario == calibration.SCENARIO]
    of_arms = calibration.problems(calibration.calibrate(arms)) if arms else []
    return [*of_arms, *calibration.pair_problems(run.manifest.duet)]


def _recounted(run: Run, case: SummaryCase, excluded: Collection[Block]) -> SummaryCase:
    """The case with the counts of its usable blocks."""
    chats = [chat.measured for chat in run.chats if chat.key == case.key and (case.key, chat.block) not in excluded]
    rows = [row for row in run.cases if row.key == case.key and (case.key, row.block) not in excluded]
    outcomes = Counter(each.outcome for each in chats)
    return msgspec.structs.replace(
        case,
        chats=len(chats),
        errors=sum(each.error is not None for each in chats),
        refused=outcomes["refused"],
        turned_away=outcomes["rejected"],
        dropped=sum(row.dropped or 0 for row in rows),
    )


def _blocks(run: Run) -> Iterator[tuple[Block, CaseRow]]:
    """The blocks of the cases that are judged, without floor and calibration."""
    return (((row.key, row.block), row) for row in run.cases if not is_special(row.scenario))
