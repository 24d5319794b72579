"""Fifty live streams, two workers, and a person who presses Stop again until it is accepted, while something breaks."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import backends
from backends import AbortOutcome, StoreUnavailableError
from backends.delivery import Delivery
from tests.conftest import namespace

STREAMS = 50
AT_ONCE = 5  # registrations before the fault: on a busy machine a crowd of them would be a fault by itself
CHUNK_S = 0.02
ABORTS_OVER_S = 1.5
FAULT_AFTER_S = 0.3
DEADLINE_S = 20.0
NAMESPACE = namespace("faults")  # what is left can be counted: nobody else writes here
OPTIONS = backends.Options(
    namespace=NAMESPACE, ttl_s=3.0, remember_s=2.0, interval_ms=50.0, command_timeout_s=1.0, keepalive_s=1.0
)


class Stage:
    """One strategy's streams. Half of them are aborted while the fault happens; the others must live on."""

    def __init__(self, owners: list[Delivery], stopper: Delivery, name: str) -> None:
        self.owners = owners
        self.stopper = stopper
        self.sent = 0
        self.accepted: dict[str, float] = {}  # and when (s)
        self.stopped: dict[str, float] = {}
        self.curtain = asyncio.Event()
        self._door = asyncio.Semaphore(AT_ONCE)
        self._names = [f"{name}-{number}" for number in range(STREAMS)]

    async def play(self, all_live: asyncio.Barrier) -> None:
        """Run the whole scene; fails if an accepted abort was lost, or a chat stopped that nobody aborted."""
        started = [asyncio.Event() for _ in self._names]
        async with asyncio.TaskGroup() as streams:
            for number, name in enumerate(self._names):
                owner = self.owners[number % len(self.owners)]
                streams.create_task(self._stream(owner, name, started[number]))
            for event in started:
                await event.wait()
            await all_live.wait()
            async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
                for name in self._names[::2]:
                    tasks.create_task(self._stop(name))
            await self._all_stopped()
            self.curtain.set()
        assert set(self.stopped) == set(self._names[::2])
        for worker in [*self.owners, self.stopper]:
            assert worker.live == 0
            async with asyncio.timeout(DEADLINE_S):
                while not worker.ready:  # noqa: ASYNC110 - a property of the thing under test, not an event of ours
                    await asyncio.sleep(CHUNK_S)

    def row(self) -> str:
        """What became of the aborts, for the table at the end of a test run."""
        found = sum(worker.counters.recovered_aborts for worker in self.owners)
        delays_ms = [(self.stopped[name] - self.accepted[name]) * 1000 for name in self.accepted]
        return (
            f"{self.sent:5} sent {len(self.accepted):3} accepted {len(self.stopped):3} delivered"
            f" {found:3} found by re-reading {self.stopper.counters.repeated_aborts:3} repeated"
            f" {max(delays_ms):7.0f} ms longest"
        )

    async def _all_stopped(self) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not self.accepted.keys() <= self.stopped.keys():  # noqa: ASYNC110 - two sets, no event
                    await asyncio.sleep(CHUNK_S)
        except TimeoutError:
            raise AssertionError(f"accepted and lost: {sorted(self.accepted.keys() - self.stopped.keys())}") from None

    async def _stream(self, owner: Delivery, name: str, started: asyncio.Event) -> None:
        """A chat as the relay lives it: a chunk now and then, the flag read before each, or told."""
        async with AsyncExitStack() as stack:
            async with self._door:
                signal = await stack.enter_async_context(owner.watch(name, "me"))
            started.set()
            while not self.curtain.is_set():
                if signal.aborted or (signal.poll is not None and await signal.poll()):
                    self.stopped[name] = time.monotonic()
                    return
                await asyncio.sleep(CHUNK_S)

    async def _stop(self, name: str) -> None:
        await asyncio.sleep(random.Random(name).uniform(0, ABORTS_OVER_S))
        while True:
            self.sent += 1
            try:
                outcome = await self.stopper.abort(name, "me")
            except StoreUnavailableError:
                pass  # the service's 503: press again
            else:
                if outcome in (AbortOutcome.ACCEPTED, AbortOutcome.ALREADY_ABORTED):
                    self.accepted[name] = time.monotonic()
                    return
                if name in self.stopped:  # an early abort that the owner's renewal found
                    self.accepted[name] = self.stopped[name]
                    return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def stage(kind: str, delivery: str, owner_url: str, stopper_url: str) -> AsyncIterator[Stage]:
    """Two workers that own the streams, and a third one on which the aborts land; the URLs without the delivery."""
    async with AsyncExitStack() as stack:
        urls = [owner_url, owner_url, stopper_url]
        workers = [
            await stack.enter_async_context(
                backends.from_url(url.replace(f"{kind}://", f"{kind}+{delivery}://"), OPTIONS)
            )
            for url in urls
        ]
        yield Stage(workers[:2], workers[2], f"{kind}-{delivery}")
