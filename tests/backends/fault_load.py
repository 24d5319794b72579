"""50 live streams on two workers, aborted with retries until accepted, while a fault is injected."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import NamedTuple

import backends
from backends import AbortOutcome, DuplicateChatError, StoreUnavailableError
from backends.delivery import Delivery
from backends.signals import AbortSignal
from tests.conftest import namespace

DELIVERIES = ("poll", "timer", "push")
STREAMS = 50
CONCURRENT_REGISTRATIONS = 5  # more would time out more often on a busy machine
CHUNK_S = 0.02
ABORTS_OVER_S = 0.8
FAULT_AFTER_S = 0.2
DEADLINE_S = 20.0
NAMESPACE = namespace("faults")  # not used by other tests, so that leftover records can be counted
OPTIONS = backends.Options(
    namespace=NAMESPACE, ttl_s=3.0, remember_s=1.0, interval_ms=50.0, command_timeout_s=1.0, keepalive_s=1.0
)


class FaultLoad:
    """The streams of one strategy. Half of them are aborted during the fault; the others must continue."""

    def __init__(self, owners: list[Delivery], stopper: Delivery, name: str, aborts_over_s: float) -> None:
        self.owners = owners
        self.stopper = stopper
        self.aborts_over_s = aborts_over_s
        self.sent = 0
        self.accepted: dict[str, float] = {}  # at (s)
        self.stopped: dict[str, float] = {}
        self.finished = asyncio.Event()
        self._registrations = asyncio.Semaphore(CONCURRENT_REGISTRATIONS)
        self._names = [f"{name}-{number}" for number in range(STREAMS)]

    async def run(self, all_live: asyncio.Barrier) -> None:
        """Run the load; fails if an accepted abort was lost, or a chat stopped without an abort."""
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
            self.finished.set()
        assert set(self.stopped) == set(self._names[::2])
        for worker in [*self.owners, self.stopper]:
            assert worker.live == 0
            async with asyncio.timeout(DEADLINE_S):
                while not worker.ready:  # noqa: ASYNC110 - has no event
                    await asyncio.sleep(CHUNK_S)

    def row(self) -> str:
        """The aborts' results, for the table at the end of a test run."""
        found = sum(worker.counters.recovered_aborts for worker in self.owners)
        delays_ms = [(self.stopped[name] - self.accepted[name]) * 1000 for name in self.accepted]
        return (
            f"{self.sent:5} sent {len(self.accepted):3} accepted {len(self.stopped):3} delivered"
            f" {found:3} found by re-reading {self.stopper.counters.repeated_aborts:3} repeated"
            f" {max(delays_ms):7.0f} ms longest"
        )

    def longest_pause_s(self, since_s: float) -> float:
        """The longest time without an accepted abort, from `since_s` on."""
        accepted_s = [since_s, *sorted(at_s for at_s in self.accepted.values() if at_s > since_s)]
        return max((after_s - before_s for before_s, after_s in pairwise(accepted_s)), default=0.0)

    async def _all_stopped(self) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not self.accepted.keys() <= self.stopped.keys():  # noqa: ASYNC110 - has no event
                    await asyncio.sleep(CHUNK_S)
        except TimeoutError:
            raise AssertionError(f"accepted and lost: {sorted(self.accepted.keys() - self.stopped.keys())}") from None

    async def _stream(self, owner: Delivery, name: str, started: asyncio.Event) -> None:
        """A chat as the relay runs it: a chunk every CHUNK_S, with a poll before each if the delivery polls."""
        async with AsyncExitStack() as stack:
            signal = await self._watch(stack, owner, name)
            started.set()
            while not self.finished.is_set():
                if signal.aborted or (signal.poll is not None and await signal.poll()):
                    self.stopped[name] = time.monotonic()
                    return
                await asyncio.sleep(CHUNK_S)

    async def _watch(self, stack: AsyncExitStack, owner: Delivery, name: str) -> AbortSignal:
        """Start the chat, before the fault: a client tries again when a busy store has timed out."""
        async with self._registrations, asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    return await stack.enter_async_context(owner.watch(name, "me"))
                except (StoreUnavailableError, DuplicateChatError):  # the second while the failed try is undone
                    await asyncio.sleep(0.2)

    async def _stop(self, name: str) -> None:
        await asyncio.sleep(random.Random(name).uniform(0, self.aborts_over_s))
        while True:
            self.sent += 1
            try:
                outcome = await self.stopper.abort(name, "me")
            except StoreUnavailableError:
                pass  # the service answers 503; the client retries
            else:
                if outcome in (AbortOutcome.ACCEPTED, AbortOutcome.ALREADY_ABORTED):
                    self.accepted[name] = time.monotonic()
                    return
                if name in self.stopped:  # a remembered abort, found by the owner's renewal
                    self.accepted[name] = self.stopped[name]
                    return
            await asyncio.sleep(0.05)


class FaultResult(NamedTuple):
    """The loads by delivery, and when the fault began and was over (monotonic s)."""

    loads: dict[str, FaultLoad]
    fault_s: float
    over_s: float


@asynccontextmanager
async def load_during(
    inject: Callable[[], Awaitable[float | None]],
    kind: str,
    owner_url: str,
    stopper_url: str,
    aborts_over_s: float = ABORTS_OVER_S,
) -> AsyncIterator[FaultResult]:
    """All deliveries at once; `inject` is awaited during the aborts. In the block their workers still run.

    The URLs are without the delivery; `inject` may return when the fault was over for the servers (monotonic s).
    Fails as `FaultLoad.run` does.
    """
    async with AsyncExitStack() as stack:
        loads = {
            delivery: await stack.enter_async_context(fault_load(kind, delivery, owner_url, stopper_url, aborts_over_s))
            for delivery in DELIVERIES
        }
        all_live = asyncio.Barrier(len(loads) + 1)
        async with asyncio.TaskGroup() as tasks:
            for load in loads.values():
                tasks.create_task(load.run(all_live))
            await all_live.wait()
            await asyncio.sleep(FAULT_AFTER_S)
            fault_s = time.monotonic()
            over_s = await inject() or time.monotonic()
        yield FaultResult(loads, fault_s, over_s)


@asynccontextmanager
async def fault_load(
    kind: str, delivery: str, owner_url: str, stopper_url: str, aborts_over_s: float = ABORTS_OVER_S
) -> AsyncIterator[FaultLoad]:
    """Two workers that own the streams, and a third that gets the aborts; the URLs are without the delivery."""
    async with AsyncExitStack() as stack:
        urls = [owner_url, owner_url, stopper_url]
        workers = [
            await stack.enter_async_context(
                backends.from_url(url.replace(f"{kind}://", f"{kind}+{delivery}://", 1), OPTIONS)
            )
            for url in urls
        ]
        yield FaultLoad(workers[:2], workers[2], f"{kind}-{delivery}-{secrets.token_hex(4)}", aborts_over_s)
