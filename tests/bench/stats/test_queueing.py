"""The formulas of the queues, compared with simulations (ciw) and with special cases that are known in closed form."""

import math

import ciw
import numpy as np
import pytest

from bench.stats.queueing import erlang_c, longer_than, mean_time, stop_quantile

CUSTOMERS, WARM_UP = 12_000, 1_000


def simulated(servers: int, utilisation: float, wait: float = 0.0) -> list[float]:
    """Times from arrival to departure: first a uniform wait that needs no server, then a queue with service time 1."""
    rate = servers * utilisation
    waits = ciw.dists.Uniform(0.0, wait) if wait else ciw.dists.Deterministic(0.0)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate), None],
        service_distributions=[waits, ciw.dists.Exponential(1.0)],
        number_of_servers=[float("inf"), servers],
        routing=[[0.0, 1.0], [0.0, 0.0]],
    )
    ciw.seed(7)
    run = ciw.Simulation(network)
    run.simulate_until_max_customers(CUSTOMERS, method="Finish")
    arrived: dict[int, float] = {}
    left: dict[int, float] = {}
    for record in run.get_all_records():
        if record.node == 1:
            arrived[record.id_number] = record.arrival_date
        else:
            left[record.id_number] = record.exit_date
    return [left[number] - arrived[number] for number in sorted(left)[WARM_UP:]]


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.6), (2, 0.3), (2, 0.7)])
def test_mean_and_p95_are_those_of_a_simulated_queue(servers: int, utilisation: float) -> None:
    times = simulated(servers, utilisation)
    assert np.mean(times) == pytest.approx(mean_time(1.0, servers, utilisation), rel=0.05)
    p95 = stop_quantile(0.95, wait=0.0, fixed=0.0, service=1.0, servers=servers, utilisation=utilisation)
    assert np.quantile(times, 0.95) == pytest.approx(p95, rel=0.06)


@pytest.mark.parametrize("wait", [20.0])
def test_a_wait_before_the_queue_is_that_of_a_simulation(wait: float) -> None:
    times = [each + 3.0 for each in simulated(2, 0.7, wait)]
    for share in (0.5, 0.95, 0.99):
        found = stop_quantile(share, wait=wait, fixed=3.0, service=1.0, servers=2, utilisation=0.7)
        assert np.quantile(times, share) == pytest.approx(found, rel=0.04)


def test_one_server_is_the_closed_form_of_m_m_1() -> None:
    for utilisation in (0.0, 0.3, 0.9):
        assert erlang_c(1, utilisation) == pytest.approx(utilisation)
        assert mean_time(2.0, 1, utilisation) == pytest.approx(2.0 / (1 - utilisation))
        p95 = stop_quantile(0.95, wait=0.0, fixed=0.0, service=2.0, servers=1, utilisation=utilisation)
        assert p95 == pytest.approx(math.log(20) * 2.0 / (1 - utilisation), rel=1e-6)


def test_two_servers_at_half_load_where_both_rates_are_equal() -> None:
    beside = longer_than(np.array([0.5, 2.0]), 1.0, 2, 0.5 + 1e-6)
    assert longer_than(np.array([0.5, 2.0]), 1.0, 2, 0.5) == pytest.approx(beside, rel=1e-4)


def test_the_mean_is_the_area_below_the_tail() -> None:
    times = np.linspace(0, 200, 200_001)
    area = np.trapezoid(longer_than(times, 1.5, 3, 0.85), times)
    assert area == pytest.approx(mean_time(1.5, 3, 0.85), rel=1e-4)


def test_a_stop_without_a_queue_is_a_uniform_wait() -> None:
    assert stop_quantile(0.95, wait=100.0, fixed=1.0, service=0.0, servers=2, utilisation=0.5) == pytest.approx(96.0)


def test_a_full_queue_never_ends() -> None:
    assert erlang_c(2, 1.2) == 1.0
    assert mean_time(1.0, 2, 1.0) == math.inf
    assert stop_quantile(0.95, wait=0.0, fixed=0.0, service=1.0, servers=2, utilisation=1.0) == math.inf
