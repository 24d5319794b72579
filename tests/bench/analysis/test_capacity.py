"""What a demand needs, from a record whose costs are known."""

import math
from dataclasses import asdict

import pytest

from bench.analysis.capacity import GLOBAL, LIMITS, MOST_STREAMS, Demand, model_of, notify_s, workers_for
from bench.workload.scenario import PlanError
from tests.bench.small_plan import plan_record

NAMES = ("redis-push", "redis-timer", "redis-poll", "postgres-push", "postgres-poll")
DEMAND = Demand(1e6, 40, 20, 0.1)
MODEL = model_of(plan_record(*NAMES))
NEEDS = {each.strategy: each for each in MODEL.needs(DEMAND)}


def test_rates_follow_little_s_law() -> None:
    assert DEMAND.chats_per_s == pytest.approx(1e6 / (20 * 0.95))
    assert DEMAND.stops_per_s == pytest.approx(DEMAND.chats_per_s / 10)
    assert DEMAND.chunks_per_s == 4e7


def test_every_strategy_has_a_row_and_redis_push_a_second_one() -> None:
    assert list(NEEDS) == [*NAMES, GLOBAL]
    assert GLOBAL not in model_of(plan_record("postgres-push")).names


def test_workers_hold_their_utilisation_and_memory_counts_streams_and_workers() -> None:
    push = NEEDS["redis-push"]
    work = 2e-3 * DEMAND.chats_per_s + 50e-6 * DEMAND.chunks_per_s + 1e-3 * DEMAND.stops_per_s
    assert push.workers == pytest.approx(work / (0.6 - 0.002), rel=0.02)
    assert push.memory_gb == pytest.approx((1e6 * 64 / 1024 + 100 * push.workers) / 1024)
    assert push.store_connections == 2 * push.workers
    half = Demand(1e6, 40, 20, 0.1, utilisation=0.3)
    assert workers_for(MODEL.fits[0], half) == pytest.approx(2 * push.workers, rel=0.01)


def test_a_poll_reads_once_per_token_and_a_push_does_not() -> None:
    poll, push = NEEDS["redis-poll"].store_ops_per_s, NEEDS["redis-push"].store_ops_per_s
    assert poll is not None
    assert push is not None
    assert poll - push == pytest.approx(DEMAND.chunks_per_s, rel=0.02)
    assert (NEEDS["redis-poll"].full_at or 0) < (NEEDS["redis-push"].full_at or 0) / 5


def test_what_goes_to_all_workers_grows_with_the_square_of_the_streams() -> None:
    """One microsecond for each listener and message, on top of what an abort costs anyway."""
    extra = []
    for streams in (1e6, 2e6):
        demand = DEMAND.with_streams(streams)
        workers = workers_for(MODEL.fits[0], demand)
        extra.append((MODEL.store_load(GLOBAL, demand) or 0) - (MODEL.store_load("redis-push", demand) or 0))
        assert extra[-1] == pytest.approx(demand.stops_per_s * (workers - 1) * 1e-6, rel=0.01)
    assert extra[1] == pytest.approx(4 * extra[0], rel=0.01)


def test_notify_fills_a_postgres_server_before_its_cores_are() -> None:
    push = NEEDS["postgres-push"]
    assert push.store_load == pytest.approx(DEMAND.stops_per_s * notify_s(MODEL.fanout["postgres"], push.workers))
    assert push.store_cores is not None
    assert push.store_load is not None
    assert push.store_load > push.store_cores / DEMAND.postgres_cores
    assert push.store_servers == math.ceil(push.store_load)
    assert notify_s(MODEL.fanout["postgres"], 1) == pytest.approx(1e-4, rel=0.1)


def test_a_store_is_full_where_its_load_is_one() -> None:
    for name in MODEL.names:
        full_at = MODEL.full_at(name, DEMAND)
        assert full_at is not None
        assert MODEL.store_load(name, DEMAND.with_streams(full_at)) == pytest.approx(1, rel=0.05)
    assert model_of(plan_record("redis-push")).full_at("redis-push", Demand(1, 40, 86_400, 0)) is not None


def test_a_stop_takes_the_wait_of_its_delivery_and_the_queue_of_one_worker() -> None:
    assert NEEDS["redis-push"].stop_p95_ms == pytest.approx(1 + 2.0 * math.log(0.6 / 0.05) / 0.4, rel=0.05)
    assert 25 < NEEDS["redis-poll"].stop_p95_ms < 40
    assert 97 < NEEDS["redis-timer"].stop_p95_ms < 112
    slower = MODEL.needs(Demand(1e6, 4, 20, 0.1))
    assert next(each for each in slower if each.strategy == "redis-poll").stop_p95_ms > 230


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, 1e30])
def test_a_demand_beyond_reason_is_refused_with_its_option(name: str, value: float) -> None:
    with pytest.raises(PlanError, match=LIMITS[name][2]):
        Demand(**{**asdict(DEMAND), name: value})
    with pytest.raises(PlanError, match="--streams is 0"):
        Demand(0, 40, 20, 0.1)
    assert MOST_STREAMS == 1e9
