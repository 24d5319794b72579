"""Any order of register, abort, release, renew, reassert and loss on every store, compared with a model."""

import asyncio
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from backends.base import AbortOutcome, Chat, ChatKey, Options, State, Store
from backends.errors import DuplicateChatError
from backends.memory import MemoryStore
from backends.nats import NatsStore
from backends.postgres.store import PostgresStore
from backends.redis.store import RedisStore
from tests.backends.conftest import forget
from tests.conftest import namespace

IDS = st.sampled_from(["a", "b"])
OWNERS = st.sampled_from(["me", "you"])
PICK = st.integers(min_value=0, max_value=10_000)
LIVE = (State.LIVE, State.ABORTED)


class ContractMachine(RuleBasedStateMachine):
    """`model` holds the expected record per request id: a state and the chat (or the owner of an early abort)."""

    store: Store
    runner: asyncio.Runner

    @initialize()
    def start(self) -> None:
        self.run = secrets.token_hex(4)  # ids are unique per example, which share a server
        self.model: dict[str, tuple[State, Chat]] = {}
        self.chats: list[Chat] = []

    def do(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def name(self, short: str) -> str:
        return f"{self.run}-{short}"

    def held(self, chat: Chat) -> State | None:
        state, holder = self.model.get(chat.request_id, (None, None))
        return state if holder is not None and holder.key == chat.key else None

    @rule(short=IDS, owner=OWNERS)
    def register(self, short: str, owner: str) -> None:
        chat = Chat(self.name(short), secrets.token_hex(4), owner, "worker")
        state, holder = self.model.get(chat.request_id, (None, None))
        if state in LIVE:
            with pytest.raises(DuplicateChatError):
                self.do(self.store.register(chat))
            return
        waiting = state is State.EARLY and holder is not None and holder.owner == owner
        assert self.do(self.store.register(chat)) is waiting
        self.model[chat.request_id] = (State.ABORTED if waiting else State.LIVE, chat)
        self.chats.append(chat)

    @rule(short=IDS, owner=OWNERS, remember=st.booleans())
    def abort(self, short: str, owner: str, remember: bool) -> None:
        name = self.name(short)
        outcome, marked = self.do(self.store.flag(name, owner, remember=remember))
        state, holder = self.model.get(name, (None, None))
        if holder is None or holder.owner != owner:  # another owner's chat is treated as unknown
            assert outcome is (AbortOutcome.REMEMBERED if remember else AbortOutcome.UNKNOWN)
            if remember and holder is None:
                self.model[name] = (State.EARLY, Chat(name, "-", owner, "-"))
        elif state is State.ENDED:
            assert outcome is AbortOutcome.UNKNOWN
        elif state is State.EARLY:
            assert outcome is AbortOutcome.REMEMBERED
        else:
            assert outcome is (AbortOutcome.ACCEPTED if state is State.LIVE else AbortOutcome.ALREADY_ABORTED)
            assert marked == holder
            if state is State.LIVE:  # a reasserted abort stays as it is
                self.model[name] = (State.ABORTED, holder)

    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        """Of any earlier chat: an old one must not release a newer one."""
        if self.chats:
            chat = self.chats[pick % len(self.chats)]
            held = self.held(chat)
            assert self.do(self.store.release(chat)) is (held in (State.ABORTED, State.REPEATED))
            if held is not None:
                self.model[chat.request_id] = (State.ENDED, chat)

    @rule(pick=PICK)
    def renew(self, pick: int) -> None:
        """By its owner, possibly after a long pause."""
        if not self.chats:
            return
        chat = self.chats[pick % len(self.chats)]
        found = self.do(self.store.renew([chat]))
        state, holder = self.model.get(chat.request_id, (None, None))
        own = self.held(chat) is not None
        if state in LIVE and not own:  # it can no longer be aborted
            assert found == {chat.key}
            return
        if state is State.ENDED and own:
            assert found <= {chat.key}  # not live on any worker: the result is ignored
            return
        early = state is State.EARLY and holder is not None and holder.owner == chat.owner
        aborted = early or (own and state in (State.ABORTED, State.REPEATED))
        assert found == ({chat.key} if aborted else set[ChatKey]())
        self.model[chat.request_id] = (State.ABORTED if aborted else State.LIVE, chat)

    @rule(pick=PICK)
    def reassert(self, pick: int) -> None:
        """By the worker that accepted the abort."""
        if not self.chats:
            return
        chat = self.chats[pick % len(self.chats)]
        reasserted = self.do(self.store.reassert([chat]))
        if chat.request_id not in self.model:
            self.model[chat.request_id] = (State.REPEATED, chat)
        elif self.held(chat) is State.LIVE:
            self.model[chat.request_id] = (State.ABORTED, chat)
        stands = self.held(chat) in (State.ABORTED, State.REPEATED)
        assert reasserted == ({chat.key} if stands else set[ChatKey]())

    @rule(short=IDS)
    def lose(self, short: str) -> None:
        """The store loses a record: a restart without data, or an eviction."""
        self.do(forget(self.store, self.name(short)))
        self.model.pop(self.name(short), None)

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        if getattr(self, "chats", None):
            assert self.do(self.store.states(self.chats)) == [self.held(chat) for chat in self.chats]


@pytest.mark.parametrize("kind", ["memory", "redis", "postgres", "nats"])
def test_any_order_of_events(kind: str, request: pytest.FixtureRequest) -> None:
    options = Options(namespace=namespace("model"))
    url = "" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    store: Any = {"memory": MemoryStore, "redis": RedisStore, "postgres": PostgresStore, "nats": NatsStore}[kind](
        *([url] if url else []), options, notify=True
    )

    class Machine(ContractMachine):
        pass

    with asyncio.Runner() as runner:
        Machine.store, Machine.runner = store, runner
        runner.run(store.__aenter__())
        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=60,
                    stateful_step_count=25,
                    deadline=None,
                    derandomize=True,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(store.__aexit__(None, None, None))
