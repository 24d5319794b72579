"""Push, where it needs no server: an abort that lands on the owner itself, and the memory store's own listener."""

from backends import AbortOutcome, Options
from backends.base import Chat, ChatKey
from backends.deliveries import PushDelivery
from backends.memory import MemoryStore


async def test_an_abort_on_the_owner_itself_needs_no_message() -> None:
    store = MemoryStore(Options(), notify=False)  # tells nobody
    async with PushDelivery(store) as worker, worker.watch("own", "me") as signal:
        assert await worker.abort("own", "you") is AbortOutcome.REMEMBERED
        assert not signal.aborted
        assert await worker.abort("own", "me") is AbortOutcome.ACCEPTED
        assert signal.aborted


async def test_the_record_is_told_before_the_wait_for_the_stop() -> None:
    store = MemoryStore(Options(), notify=True)
    events: list[str] = []

    class Watching(PushDelivery):
        async def _wait_until_ended(self, chat: Chat, wait_s: float) -> bool:
            events.append("waits")
            return await super()._wait_until_ended(chat, wait_s)

    async with Watching(store) as worker, worker.watch("told", "me") as signal:
        outcome = await worker.abort("told", "me", wait_s=0.01, on_record=lambda: events.append("recorded"))
        assert signal.aborted
    assert outcome is AbortOutcome.ACCEPTED
    assert events == ["recorded", "waits"]


async def test_the_memory_store_tells_whoever_listens() -> None:
    chat = Chat("heard", "1", "me", "worker")
    heard: list[ChatKey | None] = []
    async with MemoryStore(Options(), notify=True) as store, store.listen("worker", heard.append):
        await store.register(chat)
        await store.flag("heard", "me", remember=False)
        assert heard == [chat.key]
