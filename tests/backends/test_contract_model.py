"""Any order of register, abort, release, renewal and loss, against a model of ten lines, on every store."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from backends.base import AbortOutcome, Chat, ChatKey, Options, State, Store
from backends.errors import DuplicateChatError
from backends.memory import MemoryStore
from backends.postgres.store import PostgresStore
from backends.redis.store import RedisStore
from tests.conftest import namespace

IDS = st.sampled_from(["a", "b"])
OWNERS = st.sampled_from(["me", "you"])
PICK = st.integers(min_value=0, max_value=10_000)
LIVE = (State.LIVE, State.ABORTED)


class ContractMachine(RuleBasedStateMachine):
    """`model` holds, per request id, what the store should hold: a state and the chat (or its early owner)."""

    store: Store
    runner: asyncio.Runner
    forget: Callable[[str], Coroutine[None, None, None]]

    @initialize()
    def start(self) -> None:
        self.run = secrets.token_hex(4)  # the same server serves every example: ids never meet
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
        if holder is None or holder.owner != owner:  # somebody else's is as good as unknown
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
            self.model[name] = (State.ABORTED, holder)

    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        """Of any chat there ever was: an old one must leave a newer one alone."""
        if self.chats:
            chat = self.chats[pick % len(self.chats)]
            self.do(self.store.release(chat))
            if self.held(chat) is not None:
                self.model[chat.request_id] = (State.ENDED, chat)

    @rule(pick=PICK)
    def renew(self, pick: int) -> None:
        """By its owner, who may have been long asleep."""
        if not self.chats:
            return
        chat = self.chats[pick % len(self.chats)]
        found = self.do(self.store.renew([chat]))
        state, holder = self.model.get(chat.request_id, (None, None))
        own = self.held(chat) is not None
        if state in LIVE and not own:  # it cannot be aborted any more
            assert found == {chat.key}
            return
        if state is State.ENDED and own:
            assert found <= {chat.key}  # it is not live anywhere, so that nobody heeds this
            return
        early = state is State.EARLY and holder is not None and holder.owner == chat.owner
        aborted = early or (own and state in (State.ABORTED, State.REPEATED))
        assert found == ({chat.key} if aborted else set[ChatKey]())
        self.model[chat.request_id] = (State.ABORTED if aborted else State.LIVE, chat)

    @rule(pick=PICK)
    def repeat(self, pick: int) -> None:
        """By whoever accepted the abort."""
        if not self.chats:
            return
        chat = self.chats[pick % len(self.chats)]
        repeated = self.do(self.store.reassert([chat]))
        if chat.request_id not in self.model:
            self.model[chat.request_id] = (State.REPEATED, chat)
        elif self.held(chat) is State.LIVE:
            self.model[chat.request_id] = (State.ABORTED, chat)
        stands = self.held(chat) in (State.ABORTED, State.REPEATED)
        assert repeated == ({chat.key} if stands else set[ChatKey]())

    @rule(short=IDS)
    def lose(self, short: str) -> None:
        """The store forgets: a restart without its data, an eviction."""
        self.do(self.forget(self.name(short)))
        self.model.pop(self.name(short), None)

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        if getattr(self, "chats", None):
            assert self.do(self.store.states(self.chats)) == [self.held(chat) for chat in self.chats]


@pytest.mark.parametrize("kind", ["memory", "redis", "postgres"])
def test_any_order_of_events(kind: str, request: pytest.FixtureRequest) -> None:
    options = Options(namespace=namespace("model"))
    url = "" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    store: Any = {"memory": MemoryStore, "redis": RedisStore, "postgres": PostgresStore}[kind](
        *([url] if url else []), options, notify=True
    )

    async def forget(request_id: str) -> None:
        if kind == "memory":
            store._records.pop(request_id, None)
        elif kind == "redis":
            async with Redis.from_url(url) as client:
                await client.delete(store._names.chat(request_id))
        else:
            connection = await asyncpg.connect(url)
            await connection.execute(f"DELETE FROM {options.namespace}.chats_v1 WHERE request_id = $1", request_id)
            await connection.close()

    class Machine(ContractMachine):
        pass

    with asyncio.Runner() as runner:
        Machine.store, Machine.runner, Machine.forget = store, runner, staticmethod(forget)
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
