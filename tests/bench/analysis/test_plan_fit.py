"""The fit finds the costs and the path that a record was computed from, and its checks compare both sides."""

import pytest

from bench.analysis.plan_fit import Check, checks, fit, wait_of
from bench.record.plan import PlanStrategy
from tests.bench.small_plan import CORES, CPU_S, GAP_MS, KNEE, POLL_OPS, STORE_OPS, WORKERS, path_of, strategy

STRATEGIES = ("redis-push", "redis-timer", "postgres-poll")


@pytest.mark.parametrize("name", STRATEGIES)
def test_costs_and_path_are_found_again(name: str) -> None:
    found = fit(strategy(name), GAP_MS, CORES)
    assert found is not None
    assert (found.cpu_s.per_chat, found.cpu_s.per_chunk, found.cpu_s.per_stop) == pytest.approx(
        (CPU_S.per_chat, CPU_S.per_chunk, CPU_S.per_stop), rel=0.02
    )
    ops = POLL_OPS if name.endswith("poll") else STORE_OPS
    assert found.store_ops is not None
    assert found.store_ops.of(1, 40, 0.9) == pytest.approx(ops.of(1, 40, 0.9), rel=0.02)
    known = path_of(name)
    assert (found.path.servers, found.path.wait_ms) == (CORES, known.wait_ms)
    assert found.path.busy_s == pytest.approx(known.busy_s, rel=0.01)
    assert found.path.idle == pytest.approx(known.idle, rel=0.02)
    assert found.path.job_ms == pytest.approx(known.job_ms, rel=0.03)
    assert found.path.fixed_ms == pytest.approx(known.fixed_ms, rel=0.03)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_record_that_follows_the_model_has_no_errors(name: str) -> None:
    measured = strategy(name)
    found = fit(measured, GAP_MS, CORES)
    assert found is not None
    compared = checks(measured, found)
    assert [len(each) for each in compared.values()] == [3, 3, 1]
    for each in (*compared["p95"], *compared["cpu"], *compared["knee"]):
        assert each.error == pytest.approx(0, abs=0.03), each


def test_the_checks_take_no_part_in_the_fit() -> None:
    measured = strategy("redis-push")
    before = fit(measured, GAP_MS, CORES)
    for load in measured.loads:
        if load.name in ("60", "80", "100"):
            load.service_cpu_s *= 2
            load.stop_p95_ms = 1.0
    assert fit(measured, GAP_MS, CORES) == before


def test_a_single_worker_that_is_busier_than_the_machine_is_the_queue() -> None:
    measured = strategy("redis-push", knee=100.0)
    measured.workers = 1
    found = fit(measured, GAP_MS, cores=8)
    assert found is not None
    assert found.path.servers == 1
    assert found.path.busy_s == pytest.approx(CPU_S.of(1, 40, 0.9), rel=0.05)


def test_a_load_beyond_the_capacity_has_no_prediction() -> None:
    measured = strategy("redis-push")
    found = fit(measured, GAP_MS, CORES)
    assert found is not None
    measured.loads[3].chats_per_s = 10_000.0
    assert [each.predicted is None for each in checks(measured, found)["p95"]] == [False, False, True]
    assert Check("100", None, 5.0).error is None


def test_a_strategy_that_could_not_be_loaded_has_no_fit() -> None:
    measured = strategy("redis-push")
    empty = PlanStrategy(strategy="redis-push", workers=WORKERS, knee=measured.knee, held=measured.held)
    assert fit(empty, GAP_MS, CORES) is None
    measured.held = None
    assert fit(measured, GAP_MS, CORES) is None


def test_a_delivery_waits_as_long_as_its_interval() -> None:
    assert [wait_of(name, 25.0) for name in ("redis-push", "redis-timer", "redis-poll")] == [0.0, 100.0, 25.0]
    assert path_of("redis-push").knee_per_s(path_of("redis-push").quantile_ms(0.99, KNEE)) == pytest.approx(KNEE)


def test_a_busy_worker_relays_a_chunk_for_less() -> None:
    measured = strategy("redis-push")
    plain, busy = fit(measured, GAP_MS, CORES), fit(measured, GAP_MS, CORES, busy_chunk_s=20e-6)
    assert plain is not None
    assert busy is not None
    assert plain.cpu_at(0.9) == plain.cpu_s == busy.cpu_s
    assert busy.cpu_at(busy.path.at_30).per_chunk == pytest.approx(50e-6, rel=0.02)
    assert busy.cpu_at(1.0).per_chunk == pytest.approx(20e-6)
    assert 20e-6 < busy.cpu_at(0.8).per_chunk < 45e-6
    assert busy.path.utilisation(0.3 * KNEE) == pytest.approx(plain.path.utilisation(0.3 * KNEE), rel=1e-6)
    assert busy.path.utilisation(0.9 * KNEE) < plain.path.utilisation(0.9 * KNEE)
    assert busy.path.knee_per_s(30.0) > plain.path.knee_per_s(30.0)


def test_a_chunk_that_is_cheap_already_cannot_become_cheaper() -> None:
    found = fit(strategy("redis-push"), GAP_MS, CORES, busy_chunk_s=80e-6)
    assert found is not None
    assert found.cpu_at(0.9) == found.cpu_s
    assert found.path.saved_s == 0
