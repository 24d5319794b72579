"""When each chat is sent and aborted: computed before the load, from the seed only, and saved with the results."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

from bench.workload.scenario import RAMP_MS, Scenario


@dataclass(frozen=True)
class Planned:
    """One chat, sent `at_ms` after the start of the load and aborted `abort_after_ms` later, or not (None).

    In a closed loop only the first chat of each client has an `at_ms`.
    """

    index: int
    at_ms: float | None
    abort_after_ms: float | None


def schedule(scenario: Scenario, seed: int, block: int) -> list[Planned]:
    """The chats of one block, the same for all its strategies; exactly `abort_share` of them are aborted."""
    rng = random.Random(f"{seed} {scenario.name} {block}")
    return _planned(scenario, _arrivals(scenario, rng), rng)


def paired_schedule(scenario: Scenario, seed: int, block: int) -> list[tuple[int, Planned]]:
    """The chats of one block for two services at once, in the order in which they are sent: (service, chat).

    Neighbours in time are a pair: one chat for each service, in random order, with the same index and the same moment
    of their abort. Each service gets the scenario's chats, and the load its rate: it takes twice as long.
    """
    rng = random.Random(f"{seed} {scenario.name} {block} pairs")
    arrivals = _arrivals(twice(scenario), rng)
    found = []
    for chat in _planned(scenario, arrivals[::2], rng):
        order = rng.sample((0, 1), 2)
        moments = arrivals[2 * chat.index : 2 * chat.index + 2]
        found += [(service, replace(chat, at_ms=at_ms)) for service, at_ms in zip(order, moments, strict=True)]
    return found


def twice(scenario: Scenario) -> Scenario:
    """The scenario with the chats of two services; in an open loop the limit of open chats is doubled too."""
    streams = scenario.streams * (1 if scenario.rate_per_s is None else 2)
    return replace(scenario, chats=2 * scenario.chats, streams=streams)


class Aborts(Protocol):
    """The settings of a scenario that decide whether two services can share its load."""

    @property
    def abort_share(self) -> float:
        """Share of the chats that are aborted."""

    @property
    def abort_over(self) -> Mapping[str, float]:
        """When: the weight of each window."""

    @property
    def fault(self) -> str | None:
        """What breaks during the load."""


def can_be_paired(scenario: Aborts) -> bool:
    """Whether two services can share a load: not in a storm or a crash of the store, which are one event per load.

    Not without aborts either, where the operations of a store are counted, for all its clients together.
    """
    return scenario.abort_share > 0 and "storm" not in scenario.abort_over and scenario.fault is None


def _planned(scenario: Scenario, arrivals: Sequence[float | None], rng: random.Random) -> list[Planned]:
    spared = set(rng.sample(range(scenario.chats), scenario.chats - round(scenario.abort_share * scenario.chats)))
    windows, weights = list(scenario.abort_over), list(scenario.abort_over.values())
    planned = []
    for index, at_ms in enumerate(arrivals):
        window = rng.choices(windows, weights)[0]
        after_ms = rng.uniform(*scenario.window_ms(window))
        if window == "storm":
            after_ms = max(0.0, after_ms - (at_ms or 0.0))
        planned.append(Planned(index, at_ms, None if index in spared else after_ms))
    return planned


def _arrivals(scenario: Scenario, rng: random.Random) -> list[float | None]:
    rate = scenario.rate_per_s
    if rate is None:
        ramp = sorted(rng.uniform(0, RAMP_MS) for _ in range(min(scenario.streams, scenario.chats)))
        return [*ramp, *[None] * (scenario.chats - len(ramp))]
    gaps_ms = [
        1000 * rng.expovariate(rate) if scenario.arrivals == "poisson" else 1000 / rate for _ in range(scenario.chats)
    ]
    return list(accumulate(gaps_ms))


def orders(names: Sequence[str], seed: int) -> Iterator[list[str]]:
    """The order of the strategies in each block, without end, so that no position in a block favours one of them.

    Two: ABBA. More: the rows of a cyclic Latin square over a random permutation, shuffled; then the next square.
    Source: Box, Hunter, Hunter, Statistics for Experimenters, 2nd ed., section 4.4 (Latin squares).
    """
    rng = random.Random(f"{seed} orders")
    while True:
        first = rng.sample(names, len(names))
        rows = [first[shift:] + first[:shift] for shift in range(len(first))]
        if len(names) == 2:
            yield from (rows[0], rows[1], rows[1], rows[0])
        else:
            yield from rng.sample(rows, len(rows))
