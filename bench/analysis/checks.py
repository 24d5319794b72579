"""What makes a run invalid, and what a reader must consider although it is valid."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from bench.analysis import clocks, health
from bench.analysis.controls import NONE_LAST
from bench.analysis.reading import CaseKey, Run
from bench.record.schema import CaseRow
from bench.record.summary import Control, SummaryCase
from bench.workload.strategies import NONE, is_foreign, is_special

MAX_ERROR_SHARE = 0.01
"""A port that was taken, a connection that was reset; more is a fault of the service."""
MAX_UNHEALTHY_SHARE = 0.2
"""Of a case's blocks: medians over blocks bear one bad block of five, and every machine has one now and then."""
BROKEN = {
    "wrong_stops": "chats were stopped without an abort",
    "tokens_after_stop": "tokens were received by clients after the stop had been reported to them",
    "leaked": "upstream connections were never closed",
}


def find_problems(run: Run, cases: Sequence[SummaryCase]) -> list[str]:
    """All reasons not to believe the run; an empty list means that it is valid. `cases` are those of the summary."""
    return [
        *_interrupted(run),
        *_rows_missing(run),
        *_not_measured(run, cases),
        *_too_many(run, [case for case in cases if not is_foreign(case.strategy)]),
        *_health(run),
        *_control(run),
    ]


def find_warnings(run: Run, cases: Sequence[SummaryCase], controls: Sequence[Control]) -> list[str]:
    """What a reader must consider although the run is valid; a control that makes it invalid is among the problems."""
    return [
        *(
            f"{_name(case.key)}: {count} {text}"
            for case in cases
            for name, text in BROKEN.items()
            if (count := getattr(case, name))
        ),
        *(
            f"{_name(key)}: {len(bad)} of {blocks} blocks are less exact: {bad[0][0]}"
            for key, bad, blocks in _unhealthy(run)
            if 0 < len(bad) <= MAX_UNHEALTHY_SHARE * blocks
        ),
        *_too_many(run, [case for case in cases if is_foreign(case.strategy)]),  # a finding about that service
        *_soft_limits(run),
        *clocks.jumps(run.cases),
        *clocks.left_out(cases),
        *(each.says for each in controls if each.holds is False and each.name != NONE_LAST),
    ]


def _interrupted(run: Run) -> Iterator[str]:
    if not run.manifest.complete:
        yield "the run was interrupted: only the cases that had been written by then are shown"


def _rows_missing(run: Run) -> Iterator[str]:
    rows, ids = Counter((chat.key, chat.block) for chat in run.chats), Counter(chat.request_id for chat in run.chats)
    for row in run.cases:
        lost = row.chats_planned - rows.pop((row.key, row.block), 0) - row.dropped
        if lost > 0:
            yield f"{_name(row.key)}: {lost} of {row.chats_planned} planned chats left no row"
    for (key, _block), found in rows.items():
        yield f"{_name(key)}: {found} chats belong to a case that was not finished"
    repeated = sum(count > 1 for count in ids.values())
    if repeated:
        yield f"{repeated} request ids occur in more than one chat, so timelines may be mixed up"


def _not_measured(run: Run, cases: Sequence[SummaryCase]) -> Iterator[str]:
    """Cases of the manifest without rows, and cases with fewer blocks: they would make a comparison lopsided."""
    present = {(case.strategy, case.scenario, case.workers) for case in cases}
    absent: dict[str, list[str]] = {}
    for strategy, scenario, workers in run.manifest.cases:
        if not is_special(scenario) and (strategy, scenario, workers) not in present:
            absent.setdefault(scenario, []).append(strategy)
    for scenario, strategies in absent.items():
        yield f"{scenario}: not measured for {', '.join(strategies)}"
    for case in cases:
        if case.blocks < run.manifest.blocks:
            yield f"{_name(case.key)}: measured in {case.blocks} of {run.manifest.blocks} blocks"


def _too_many(run: Run, cases: Sequence[SummaryCase]) -> Iterator[str]:
    """Chats that failed, were rejected without a planned outage, or could not be sent."""
    limit, faulty = f"limit {MAX_ERROR_SHARE:.0%}", {row.key for row in run.cases if row.fault}
    for case in cases:
        name, refused, planned = _name(case.key), case.refused + case.turned_away, case.chats + case.dropped
        if case.errors > MAX_ERROR_SHARE * case.chats:
            errors = Counter(chat.measured.error for chat in run.chats if chat.key == case.key and chat.measured.error)
            error, count = errors.most_common(1)[0]
            share = case.errors / case.chats
            yield (
                f"{name}: {case.errors} of {case.chats} chats failed ({share:.1%}, {limit});"
                f" most often: {error} ({count})"
            )
        if case.key not in faulty and refused > MAX_ERROR_SHARE * case.chats:
            yield (
                f"{name}: {refused} chats or aborts of {case.chats} were refused with 503 although no outage was"
                " planned: see the store's and the service's logs"
            )
        if case.dropped > MAX_ERROR_SHARE * planned:
            yield (
                f"{name}: the load could not send {case.dropped} of {planned} chats ({limit}): lower the scenario's"
                " rate or streams, or give the machine more cores"
            )


def _health(run: Run) -> Iterator[str]:
    """A case whose instrument was unhealthy in too many of its blocks; with few blocks, in any."""
    for key, bad, blocks in _unhealthy(run):
        if len(bad) > MAX_UNHEALTHY_SHARE * blocks:
            of = f" (in {len(bad)} of {blocks} blocks)" if blocks > 1 else ""
            yield from dict.fromkeys(f"{_name(key)}: {problem}{of}" for problem in bad[0])


def _soft_limits(run: Run) -> Iterator[str]:
    """One line for all cases: a busy machine exceeds a soft limit in nearly every block."""
    found = [(key, bad[0][0], len(bad)) for key, bad, _blocks in _unhealthy(run, health.warnings) if bad]
    if found:
        key, example, _ = max(found, key=lambda each: each[2])
        count = sum(each[2] for each in found)
        yield (
            f"{count} of {len(run.cases)} blocks of cases exceeded a soft limit, most of them in {_name(key)}:"
            f" {example} (the table of the instrument's health has them all)"
        )


def _unhealthy(
    run: Run, judge: Callable[[CaseRow], list[str]] = health.problems
) -> Iterator[tuple[CaseKey, list[list[str]], int]]:
    """Each case with the problems of those of its blocks that have any, and the number of its blocks."""
    found: dict[CaseKey, list[list[str]]] = {}
    for row in run.cases:
        found.setdefault(row.key, []).append(judge(row))
    for key, blocks in found.items():
        yield key, [problems for problems in blocks if problems], len(blocks)


def _control(run: Run) -> Iterator[str]:
    stops = Counter(chat.key for chat in run.chats if chat.key.strategy == NONE and chat.measured.outcome == "stopped")
    for key, count in stops.items():
        yield f"{_name(key)}: the control stopped {count} chats although it delivers no abort"


def _name(key: CaseKey) -> str:
    return f"{key.strategy} in {key.scenario}"
