"""The lives of an id, and what a store forgets, refuses or answers late: whatever happens, an abort means one life."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from backends import AbortOutcome, DuplicateChatError, StoreUnavailableError, delivery
from backends.base import Chat, ChatKey, MessageHandler, Options, State, WaitForLoss
from backends.deliveries import PollDelivery, PushDelivery
from backends.memory import MemoryStore
from tests.backends.conftest import DURABLE, Open, forget, until

CHAT = "a-chat"
NEVER_MS = 3_600_000.0


@pytest.mark.parametrize("strategy", DURABLE)
async def test_an_abort_is_forgotten_when_its_id_has_a_new_life(
    open_worker: Open, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would be recorded again for ever, and be taken for an abort of the next chat."""
    monkeypatch.setattr(delivery, "CONFIRM_INTERVAL_S", 0.05)
    async with open_worker() as worker, open_worker() as other:
        async with worker.watch(request_id, "me"):
            assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        async with worker.watch(request_id, "me"):
            await until(lambda: not other._accepted)
        assert other.counters.repeated_aborts == 0


@pytest.mark.parametrize("strategy", DURABLE)
async def test_two_lives_that_wait_to_be_confirmed_are_one_question(
    open_worker: Open, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One statement must not name a row twice, or nothing would ever be confirmed again."""
    monkeypatch.setattr(delivery, "CONFIRM_INTERVAL_S", 3600.0)
    async with open_worker() as worker, open_worker() as other:
        for _ in range(2):
            async with worker.watch(request_id, "me"):
                assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        assert len(other._accepted) == 1


@pytest.mark.parametrize("strategy", DURABLE)
async def test_a_chat_that_nobody_could_abort_any_more_ends(open_worker: Open, request_id: str) -> None:
    """The store lost it, and another chat got its id: the older one goes, as it would have been refused."""
    async with (
        open_worker(interval_ms=NEVER_MS) as worker,  # or a timer could find the loss before the other chat comes
        open_worker(interval_ms=NEVER_MS) as other,
        worker.watch(request_id, "me") as older,
    ):
        await forget(worker.store, request_id)
        async with other.watch(request_id, "me") as newer:
            worker._fail()
            await until(lambda: older.aborted)
            await until(lambda: worker.ready)
            other._fail()
            await until(lambda: other.ready)
            assert not newer.aborted


class Store(MemoryStore):
    """A store in the test's hands: its next calls fail, or wait."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Options(**options), notify=True)
        self.failing: dict[str, Exception] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []

    async def _pass(self, name: str) -> None:
        self.calls.append(name)
        if (gate := self.gates.get(name)) is not None:
            await gate.wait()
        if (error := self.failing.pop(name, None)) is not None:
            raise error

    async def register(self, chat: Chat) -> bool:
        aborted = await super().register(chat)
        await self._pass("register")
        return aborted

    async def release(self, chat: Chat) -> None:
        await self._pass("release")
        await super().release(chat)

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        await self._pass("renew")
        return await super().renew(chats)

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        await self._pass("states")
        return await super().states(chats)

    @asynccontextmanager
    async def listen(self, worker: str, heard: MessageHandler) -> AsyncIterator[WaitForLoss]:
        await self._pass("listen")
        self.losing = asyncio.Event()

        async def until_lost() -> None:
            await self.losing.wait()
            raise DOWN

        async with super().listen(worker, heard):
            yield until_lost


DOWN = StoreUnavailableError("down")


async def test_a_second_chat_is_refused_also_while_the_store_is_away() -> None:
    store = Store(start_unregistered=True)
    async with PollDelivery(store) as worker, worker.watch(CHAT, "me"):
        store.failing["register"] = DOWN
        with pytest.raises(DuplicateChatError):
            async with worker.watch(CHAT, "me"):
                pass
        assert worker.live == 1


async def test_a_release_that_failed_is_made_up_for() -> None:
    """Or the id would be refused, and its aborts accepted, for a whole TTL."""
    store = Store()
    async with PollDelivery(store) as worker:
        async with worker.watch(CHAT, "me"):
            store.failing["release"] = DOWN
        assert not worker.ready
        await until(lambda: worker.ready)
        assert await worker.abort(CHAT, "me") is AbortOutcome.UNKNOWN
        async with worker.watch(CHAT, "me"):
            pass


async def test_a_registration_that_failed_leaves_nothing_behind() -> None:
    """Its answer was lost, not the record."""
    store = Store()
    async with PollDelivery(store) as worker:
        store.failing |= {"register": DOWN, "release": DOWN}
        with pytest.raises(StoreUnavailableError):
            async with worker.watch(CHAT, "me"):
                pass
        await until(lambda: worker.ready)
        async with worker.watch(CHAT, "me") as signal:
            assert not signal.aborted


async def test_a_failure_during_a_renewal_is_not_taken_for_mended() -> None:
    store = Store()
    async with PollDelivery(store) as worker:
        store.gates["renew"] = asyncio.Event()
        worker._fail()
        await until(lambda: store.calls.count("renew") == 1)
        worker._fail()  # a chat that this renewal knows nothing of
        store.gates["renew"].set()
        await until(lambda: worker.ready)
        assert store.calls.count("renew") == 2


async def test_an_abort_accepted_by_the_owner_itself_outlives_the_store() -> None:
    """Nobody had read it yet, and the store is back too late for a chat that ends by itself."""
    store = Store()
    async with PollDelivery(store) as worker, worker.watch(CHAT, "me") as signal:
        assert await worker.abort(CHAT, "me") is AbortOutcome.ACCEPTED
        assert not signal.aborted
        store.gates["renew"] = asyncio.Event()  # the store is away
        worker._fail()
        assert signal.aborted
        store.gates["renew"].set()


async def test_re_reading_includes_chats_on_their_way_into_the_store() -> None:
    """Recorded, aborted, and the message lost, before the registration's answer is back."""
    store = Store()
    async with PushDelivery(store) as worker, AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        gate = store.gates["register"] = asyncio.Event()
        entering = tasks.create_task(stack.enter_async_context(worker.watch(CHAT, "me")))
        await until(lambda: "register" in store.calls)
        store.notify = False  # the message is lost
        await store.flag(CHAT, "me", remember=False)
        await worker._renew()  # as the listener does when it is back
        gate.set()
        assert (await entering).aborted


async def test_a_task_that_failed_in_an_unforeseen_way_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose listener has died must neither look well nor stay deaf."""
    store = Store()
    async with PushDelivery(store) as worker, worker.watch(CHAT, "me") as signal:
        store.failing["listen"] = RuntimeError("nobody foresaw this")
        store.losing.set()  # the listener tries again, and meets the error
        await until(lambda: "nobody foresaw this" in caplog.text)
        await until(lambda: worker.ready)
        await store.flag(CHAT, "me", remember=False)
        await signal.wait()
