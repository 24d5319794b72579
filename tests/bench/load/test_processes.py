"""How many load processes send a case."""

from dataclasses import replace
from pathlib import Path

from bench.load.driver import MAX_CHUNKS_PER_S, Load, processes_for
from bench.workload.plan import select


def test_a_load_that_needs_more_processes_is_sent_by_those_that_run(tmp_path: Path) -> None:
    (case,) = select(strategies=["redis-push"], scenarios=["flowing"])
    busy = replace(case, scenario=replace(case.scenario, rate_per_s=None, streams=200, chats=400))
    assert busy.scenario.chunks_per_s > MAX_CHUNKS_PER_S
    assert processes_for([busy]) == 2
    assert Load(1, tmp_path, tmp_path).processes_for(busy) == 1
