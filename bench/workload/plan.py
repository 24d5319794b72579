"""The strategies, and the cases of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.workload.scenario import MAX_WORKERS, PlanError, Scenario, catalogue, load_scenarios
from bench.workload.strategies import DISCONNECT, FLOOR, NONE, hangs_up, is_own_store

if TYPE_CHECKING:
    from bench.targets.files import Contender

STRATEGIES = (
    "memory-poll", "memory-push", "postgres-poll", "postgres-timer", "postgres-push", "redis-poll", "redis-timer",
    "redis-push", "nats-poll", "nats-timer", "nats-push", "disconnect", "none",
)  # fmt: skip
REFERENCES = (NONE, DISCONNECT)
"""Measured in every run: the cost without aborts, and the stop without a store."""
NEVER_CHATS = 10
"""Of a way to stop that is documented not to stop: each of its chats runs to its end."""
BACKENDS = ("all", "memory", "postgres", "redis", "nats")
DELIVERIES = ("poll", "timer", "push")
NAMED_ONLY = ("nats",)
"""Stores that `all` leaves out: a run of everything would last longer for a store that few consider."""


@dataclass(frozen=True)
class Case:
    """One strategy in one scenario with a number of workers; each block measures it once.

    `strategy` is one of ours, or the name of a `contender` of another target.
    """

    strategy: str
    scenario: Scenario
    workers: int
    foreign: Contender | None = field(default=None, compare=False, repr=False)

    @property
    def store(self) -> str | None:
        """`memory`, `postgres`, `redis`, `nats`; None for the reference points."""
        return store_of(self.strategy)

    @property
    def delivery(self) -> str | None:
        """`poll`, `timer`, `push`; None for the reference points."""
        return delivery_of(self.strategy)


def contender_of(case: Case) -> Contender:
    """The target that a case measures, and the way it is stopped."""
    from bench.targets.files import MOCK, OURS, Contender, read_target  # noqa: PLC0415 - brings in pydantic

    if case.foreign is not None:
        return case.foreign
    target, file = read_target(MOCK if case.strategy == FLOOR else OURS)
    way = "hangup" if hangs_up(case.strategy, case.scenario.abort_by) else "abort"
    return Contender(target, way, case.strategy if case.strategy in target.variant else None, file)


def store_of(strategy: str) -> str | None:
    """The store in `<store>-<delivery>`, None for the reference points and the instrument."""
    known = (strategy in STRATEGIES and strategy not in REFERENCES) or is_own_store(strategy, delivery=True)
    return strategy.partition("-")[0] if known else None


def delivery_of(strategy: str) -> str | None:
    """The delivery in `<store>-<delivery>`, None for the reference points and the instrument."""
    return strategy.partition("-")[2] if store_of(strategy) else None


def served_by(case: Case) -> str:
    """What names the service of a case: both reference points share one with `none`.

    Each way to stop another target has a process of its own: what stopped chats leave in it would slow the next way.
    """
    if case.foreign is not None:
        return case.foreign.name
    return NONE if case.strategy in REFERENCES else case.strategy


def is_asked(strategy: str, backend: str) -> bool:
    """Whether BACKEND means this strategy: by its own name, by its store, or by `all`."""
    store = store_of(strategy)
    return backend in (store, strategy) or (backend == "all" and store not in NAMED_ONLY)


def check_backend(backend: str) -> None:
    """Raise PlanError, naming the choices, for a value that is neither a store nor a strategy."""
    if backend not in (*BACKENDS, *STRATEGIES) and not (is_own_store(backend) or store_of(backend)):
        choices = ", ".join((*BACKENDS, *STRATEGIES))
        raise PlanError(f"BACKEND {backend!r} is unknown: choose from {choices}; or yours, mypackage.mystore:MyStore")


def counted_apart(cases: Sequence[Case], *, again: bool, compared: bool) -> list[Case]:
    """The cases whose store operations are counted with a service of their own: those without aborts.

    `again`: the first block has been measured. One count is enough, because a strategy's operations per chat do not
    change from block to block; a comparison of two sides (`compared`) needs one per block.
    """
    unaborted = [case for case in cases if case.scenario.abort_share == 0]
    if again:
        return unaborted if compared else []
    return unaborted or list(cases[-1:])


def select(
    backend: str = "all",
    scenarios: Sequence[str] | None = None,
    workers: int = 2,
    *,
    strategies: Sequence[str] | None = None,
    quick: bool = False,
    targets: bool = False,
) -> list[Case]:
    """The cases of a run: of `backend` (a store or one strategy) or of the named `strategies`.

    `targets`: `strategies` may also name other services. A run of a backend also has `memory-push` on one worker as a
    control: no strategy should be faster. Raises PlanError naming the choices.
    """
    check_backend(backend)
    if not 1 <= workers <= MAX_WORKERS:
        raise PlanError(f"WORKERS is {workers}: choose from 1 to {MAX_WORKERS}")
    if strategies is not None and not strategies:
        raise PlanError(f"strategies is empty: choose from {', '.join(STRATEGIES)}, or name a target")
    chosen = load_scenarios(scenarios, quick=quick)
    others = [name for name in strategies or () if name not in STRATEGIES]
    if others and not targets:
        raise PlanError(f"strategies {', '.join(others)}: choose from {', '.join(STRATEGIES)}")
    foreign = [each for name in others for each in _foreign(name, chosen)]
    own = [f"{backend}-{delivery}" for delivery in DELIVERIES if is_own_store(backend)]
    named = [name for name in (*STRATEGIES, *own, backend) if store_of(name) and is_asked(name, backend)]
    ours = [name for name in strategies if name in STRATEGIES] if strategies else [*REFERENCES, *named]
    cases = [Case(name, scenario, scenario.workers or workers) for name in dict.fromkeys(ours) for scenario in chosen]
    cases += [_foreign_case(each, scenario) for each in foreign for scenario in chosen if _exists(each, scenario)]
    if not cases:
        raise PlanError(f"SCENARIO: no way to stop {', '.join(others)} exists in {', '.join(s.name for s in chosen)}")
    control = Case("memory-push", chosen[0], 1)
    if strategies is None and control not in cases and chosen[0].abort_share > 0 and chosen[0].count_only is None:
        cases.append(control)
    return cases


def _foreign(name: str, scenarios: Sequence[Scenario]) -> list[Contender]:
    """The contenders that a target's name or file stands for. Raises PlanError naming the choices."""
    from bench.targets.files import OURS, TargetError, contenders, shipped  # noqa: PLC0415 - brings in pydantic

    if name.partition("/")[0].partition(":")[0] not in shipped() and ".toml" not in name:
        targets = ", ".join(each for each in shipped() if each not in (OURS, "mock"))
        raise PlanError(f"strategies {name}: choose from {', '.join(STRATEGIES)}; targets {targets}; or a file *.toml")
    try:
        found = contenders(name)
    except TargetError as error:
        raise PlanError(str(error)) from error
    situations = sorted({name for each in found for name in each.stop.situations or ()})
    known = {*catalogue(), *(scenario.name for scenario in scenarios)}
    if wrong := [name for name in situations if name not in known]:
        raise PlanError(f"{found[0].file}: situations {', '.join(wrong)}: choose from {', '.join(catalogue())}")
    if not any(_exists(each, scenario) for each in found for scenario in scenarios):
        raise PlanError(f"{name} is stopped in no scenario of this run: its situations are {', '.join(situations)}")
    return found


def _exists(contender: Contender, scenario: Scenario) -> bool:
    situations = contender.stop.situations
    return situations is None or scenario.name in situations


def _foreign_case(contender: Contender, scenario: Scenario) -> Case:
    """A case of another target: no more streams than it bears, and few chats of a way that never stops."""
    streams = min(scenario.streams, contender.target.limits.streams or scenario.streams)
    chats = min(scenario.chats, NEVER_CHATS) if contender.stop.expect == "never" else scenario.chats
    return Case(contender.name, replace(scenario, streams=streams, chats=chats), 1, contender)
