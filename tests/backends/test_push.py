"""Push without a server: an abort on the owner itself, and the memory store's listener."""

from backends import AbortOutcome, Options
from backends.base import Chat, ChatKey
from backends.deliveries import PushDelivery
from backends.memory import MemoryStore


async def test_an_abort_on_the_owner_itself_needs_no_message() -> None:
    store = MemoryStore(Options(), notify=False)  # sends no messages
    async with PushDelivery(store) as worker, worker.watch("own", "me") as signal:
        assert await worker.abort("own", "you") is AbortOutcome.REMEMBERED
        assert not signal.aborted
        assert await worker.abort("own", "me") is AbortOutcome.ACCEPTED
        assert signal.aborted


async def test_on_record_is_called_before_the_wait_for_the_stop() -> None:
    store = MemoryStore(Options(), notify=True)
    events: list[str] = []

    class RecordingDelivery(PushDelivery):
        async def _wait_until_ended(self, chat: Chat, wait_s: float) -> bool:
            events.append("waits")
            return await super()._wait_until_ended(chat, wait_s)

    async with RecordingDelivery(store) as worker, worker.watch("confirmed", "me") as signal:
        outcome = await worker.abort("confirmed", "me", wait_s=0.01, on_record=lambda: events.append("recorded"))
        assert signal.aborted
    assert outcome is AbortOutcome.ACCEPTED
    assert events == ["recorded", "waits"]


async def test_the_memory_store_calls_its_listener() -> None:
    chat = Chat("sent", "1", "me", "worker")
    received: list[ChatKey | None] = []
    async with MemoryStore(Options(), notify=True) as store, store.listen("worker", received.append):
        await store.register(chat)
        await store.flag("sent", "me", remember=False)
        assert received == [chat.key]
