"""The formulas of the queues, compared with simulations (ciw) and with special cases that are known in closed form."""

import math

import ciw
import numpy as np
import pytest

from bench.stats.queueing import erlang_c, mean_wait, stop_quantile, waits_longer, wakeups

CUSTOMERS, WARM_UP = 12_000, 1_000


def simulated(servers: int, utilisation: float, wait: float = 0.0) -> list[float]:
    """Times until a server is free, for jobs of mean length 1: after a uniform wait that needs no server."""
    waits = ciw.dists.Uniform(0.0, wait) if wait else ciw.dists.Deterministic(0.0)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(servers * utilisation), None],
        service_distributions=[waits, ciw.dists.Exponential(1.0)],
        number_of_servers=[float("inf"), servers],
        routing=[[0.0, 1.0], [0.0, 0.0]],
    )
    ciw.seed(7)
    run = ciw.Simulation(network)
    run.simulate_until_max_customers(CUSTOMERS, method="Finish")
    before, queued = dict[int, float](), dict[int, float]()
    for record in run.get_all_records():
        if record.node == 1:
            before[record.id_number] = record.service_time
        else:
            queued[record.id_number] = record.waiting_time
    return [before[number] + queued[number] for number in sorted(queued)[WARM_UP:]]


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.6), (2, 0.3), (2, 0.7)])
def test_mean_and_p95_are_those_of_a_simulated_queue(servers: int, utilisation: float) -> None:
    times = simulated(servers, utilisation)
    assert np.mean(times) == pytest.approx(mean_wait(1.0, servers, utilisation), rel=0.1)
    assert np.mean(np.array(times) > 0) == pytest.approx(erlang_c(servers, utilisation), rel=0.05)
    p95 = stop_quantile(0.95, wait=0.0, fixed=0.0, service=1.0, servers=servers, utilisation=utilisation)
    assert np.quantile(times, 0.95) == pytest.approx(p95, rel=0.1)


def test_a_wait_before_the_queue_is_that_of_a_simulation() -> None:
    times = [each + 3.0 for each in simulated(2, 0.7, 20.0)]
    for share in (0.5, 0.95, 0.99):
        found = stop_quantile(share, wait=20.0, fixed=3.0, service=1.0, servers=2, utilisation=0.7)
        assert np.quantile(times, share) == pytest.approx(found, rel=0.04)


def test_one_server_is_the_closed_form_of_m_m_1() -> None:
    for utilisation in (0.1, 0.3, 0.9):
        assert erlang_c(1, utilisation) == pytest.approx(utilisation)
        assert mean_wait(2.0, 1, utilisation) == pytest.approx(2.0 * utilisation / (1 - utilisation))
        p95 = stop_quantile(0.95, wait=0.0, fixed=0.0, service=2.0, servers=1, utilisation=utilisation)
        assert p95 == pytest.approx(2.0 * math.log(utilisation / 0.05) / (1 - utilisation), rel=1e-6)


def test_the_mean_is_the_area_below_the_tail() -> None:
    times = np.linspace(0, 200, 200_001)
    area = np.trapezoid(waits_longer(times, 1.5, 3, 0.85), times)
    assert area == pytest.approx(mean_wait(1.5, 3, 0.85), rel=1e-4)


def test_most_stops_find_a_free_server() -> None:
    median = stop_quantile(0.5, wait=0.0, fixed=4.0, service=1.0, servers=2, utilisation=0.3)
    assert median == pytest.approx(4.0, abs=1e-6)


def test_a_stop_without_a_queue_is_a_uniform_wait() -> None:
    found = stop_quantile(0.95, wait=100.0, fixed=1.0, service=0.0, servers=2, utilisation=0.5)
    assert found == pytest.approx(96.0, abs=0.2)


def test_a_full_queue_never_ends() -> None:
    assert erlang_c(2, 1.2) == 1.0
    assert mean_wait(1.0, 2, 1.0) == math.inf
    assert stop_quantile(0.95, wait=0.0, fixed=0.0, service=1.0, servers=2, utilisation=1.0) == math.inf


@pytest.mark.parametrize("utilisation", [0.2, 0.5, 0.8])
def test_wakeups_per_event_are_those_of_a_simulated_loop(utilisation: float) -> None:
    """A wake-up costs as much as an event; the rate of events is chosen so that the loop has this utilisation."""
    found = wakeups(utilisation)
    rate = utilisation / (1 + found)
    arrivals = np.cumsum(np.random.default_rng(7).exponential(1 / rate, 40_000))
    now, place, woken = 0.0, 0, 0
    while place < len(arrivals):
        now = max(now, arrivals[place])
        ready = int(np.searchsorted(arrivals, now, side="right")) - place
        now, place, woken = now + 1 + ready, place + ready, woken + 1
    assert woken / len(arrivals) == pytest.approx(found, rel=0.1)


def test_an_idle_loop_wakes_up_for_each_event_and_a_full_one_for_none() -> None:
    assert [wakeups(each) for each in (-0.1, 0.0, 1.0, 1.5)] == [1.0, 1.0, 0.0, 0.0]
    assert 0 < wakeups(0.999) < wakeups(0.9) < wakeups(0.1) < 1
