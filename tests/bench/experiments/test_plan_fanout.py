"""The cost of a message by number of listeners, on real stores."""

import pytest

from bench.experiments.plan import fanout
from bench.system.stores import open_store


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_message_costs_more_the_more_connections_listen(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(fanout, "LISTENERS", (1, 48))
    with open_store(kind) as store:
        found = fanout.measure_fanout(store, quick=True)
        assert store.connections() == 0
    assert (found.store, found.listeners) == (kind, [1, 48])
    assert found.cpu_us[1] > 1.5 * found.cpu_us[0] > 0
    assert min(found.per_s) > 0
