"""Reused ids, and stores that lose records, fail or answer late: an abort applies to one chat only."""

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
async def test_an_accepted_abort_is_dropped_when_its_id_is_reused(
    open_worker: Open, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be reasserted forever, and be taken for an abort of the next chat."""
    monkeypatch.setattr(delivery, "CONFIRM_INTERVAL_S", 0.05)
    async with open_worker() as worker, open_worker() as other:
        async with worker.watch(request_id, "me"):
            assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        async with worker.watch(request_id, "me"):
            await until(lambda: not other._accepted)
        assert other.counters.repeated_aborts == 0


@pytest.mark.parametrize("strategy", DURABLE)
async def test_two_uses_of_an_id_have_one_pending_abort(
    open_worker: Open, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that names a row twice fails, and would block all confirmations."""
    monkeypatch.setattr(delivery, "CONFIRM_INTERVAL_S", 3600.0)
    async with open_worker() as worker, open_worker() as other:
        for _ in range(2):
            async with worker.watch(request_id, "me"):
                assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        assert len(other._accepted) == 1


@pytest.mark.parametrize("strategy", DURABLE)
async def test_a_chat_whose_id_was_taken_over_ends(open_worker: Open, request_id: str) -> None:
    """The store lost its record and another chat took its id: the older one can no longer be aborted."""
    async with (
        open_worker(interval_ms=NEVER_MS) as worker,  # else a timer could detect the loss before the other chat starts
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
    """A store whose next calls can be made to fail or wait."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Options(**options), notify=True)
        self.failing: dict[str, Exception] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []
        self.down = False

    async def _pass(self, name: str) -> None:
        self.calls.append(name)
        if (gate := self.gates.get(name)) is not None:
            await gate.wait()
        if (error := self.failing.pop(name, None)) is not None:
            raise error
        if self.down:
            raise DOWN

    async def register(self, chat: Chat) -> bool:
        aborted = await super().register(chat)
        await self._pass("register")
        return aborted

    async def release(self, chat: Chat) -> bool:
        await self._pass("release")
        return await super().release(chat)

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        await self._pass("renew")
        return await super().renew(chats)

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        await self._pass("states")
        return await super().states(chats)

    @asynccontextmanager
    async def listen(self, worker: str, on_message: MessageHandler) -> AsyncIterator[WaitForLoss]:
        await self._pass("listen")
        self.losing = asyncio.Event()

        async def wait_for_loss() -> None:
            await self.losing.wait()
            raise DOWN

        async with super().listen(worker, on_message):
            yield wait_for_loss


DOWN = StoreUnavailableError("down")


async def test_a_duplicate_is_rejected_also_while_the_store_is_unavailable() -> None:
    store = Store(start_unregistered=True)
    async with PollDelivery(store) as worker, worker.watch(CHAT, "me"):
        store.failing["register"] = DOWN
        with pytest.raises(DuplicateChatError):
            async with worker.watch(CHAT, "me"):
                pass
        assert worker.live == 1


async def test_a_failed_release_is_retried() -> None:
    """Else the id would be rejected, and its aborts accepted, for a whole TTL."""
    store = Store()
    async with PollDelivery(store) as worker:
        async with worker.watch(CHAT, "me"):
            store.failing["release"] = DOWN
        assert not worker.ready
        await until(lambda: worker.ready)
        assert await worker.abort(CHAT, "me") is AbortOutcome.UNKNOWN
        async with worker.watch(CHAT, "me"):
            pass


async def test_a_failed_registration_leaves_no_record() -> None:
    """The reply was lost, not the record."""
    store = Store()
    async with PollDelivery(store) as worker:
        store.failing |= {"register": DOWN, "release": DOWN}
        with pytest.raises(StoreUnavailableError):
            async with worker.watch(CHAT, "me"):
                pass
        await until(lambda: worker.ready)
        async with worker.watch(CHAT, "me") as signal:
            assert not signal.aborted


async def test_a_failure_during_a_renewal_causes_another_one() -> None:
    store = Store()
    async with PollDelivery(store) as worker:
        store.gates["renew"] = asyncio.Event()
        worker._fail()
        await until(lambda: store.calls.count("renew") == 1)
        worker._fail()  # of a chat that this renewal does not include
        store.gates["renew"].set()
        await until(lambda: worker.ready)
        assert store.calls.count("renew") == 2


async def test_an_abort_accepted_by_the_owner_does_not_need_the_store() -> None:
    """It was not read before the outage, and the chat may end before the store is back."""
    store = Store()
    async with PollDelivery(store) as worker, worker.watch(CHAT, "me") as signal:
        assert await worker.abort(CHAT, "me") is AbortOutcome.ACCEPTED
        assert not signal.aborted
        store.gates["renew"] = asyncio.Event()  # the store does not answer
        worker._fail()
        assert signal.aborted
        store.gates["renew"].set()


async def test_an_accepted_abort_survives_an_outage_longer_than_two_ttls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store comes back without its records: the abort is reasserted however long that took."""
    monkeypatch.setattr(delivery, "CONFIRM_INTERVAL_S", 0.01)
    store = Store(ttl_s=0.1)
    async with PollDelivery(store) as worker:
        await store.register(Chat(CHAT, "1", "me", "another-worker"))
        assert await worker.abort(CHAT, "me") is AbortOutcome.ACCEPTED
        store.down = True
        await asyncio.sleep(0.3)  # longer than two TTLs
        await forget(store, CHAT)
        store.down = False
        await until(lambda: worker.counters.repeated_aborts)


async def test_a_renewal_includes_chats_whose_registration_is_in_progress() -> None:
    """Recorded, aborted, and the message lost before the registration's reply."""
    store = Store()
    async with PushDelivery(store) as worker, AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        gate = store.gates["register"] = asyncio.Event()
        entering = tasks.create_task(stack.enter_async_context(worker.watch(CHAT, "me")))
        await until(lambda: "register" in store.calls)
        store.notify = False  # the message is lost
        await store.flag(CHAT, "me", remember=False)
        await worker._renew()  # as after a reconnect of the listener
        gate.set()
        assert (await entering).aborted


async def test_a_task_is_restarted_after_an_unexpected_error(caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose listener crashed must report not ready and recover."""
    store = Store()
    async with PushDelivery(store) as worker, worker.watch(CHAT, "me") as signal:
        store.failing["listen"] = RuntimeError("an unexpected failure")
        store.losing.set()  # the listener reconnects and gets the error
        await until(lambda: "an unexpected failure" in caplog.text)
        await until(lambda: worker.ready)
        await store.flag(CHAT, "me", remember=False)
        await signal.wait()
