"""The measurements between two processes; each part yields one row of raw samples per pair or round."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import backends
from backends.base import Options
from backends.delivery import Delivery
from backends.measure.bare import BareClient, open_bare
from backends.measure.owner import OWNER
from backends.measure.owner_process import OwnerProcess, owner_process

LISTENERS = (1, 8, 64)
WARM_UP = 20
Fire = Callable[[], Awaitable[object]]
Row = dict[str, Any]


@dataclass
class Testbed:
    """A worker that aborts, two bare clients, and the process that owns the chats."""

    stopper: Delivery
    bare: BareClient
    commander: BareClient  # a second one: a session used twice as often would be faster
    owner: OwnerProcess
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    def names(self, count: int) -> list[str]:
        """Return unused names."""
        return [f"chat-{next(self._ids):06}" for _ in range(count)]

    async def abort(self, name: str) -> None:
        """Make the measured call."""
        await self.stopper.abort(name, OWNER)

    async def abort_all(self, names: Sequence[str]) -> None:
        """Make one call per name, concurrently, as separate requests would."""
        await asyncio.gather(*(self.abort(name) for name in names))

    async def measure(self, names: Sequence[str], fire: Fire) -> list[float]:
        """Milliseconds from the call to the arrival of each name in the other process, for those that arrived."""
        await self.owner.expect(names)
        start_ns = time.monotonic_ns()
        await fire()
        seen = await self.owner.receive()
        return [(seen[name] - start_ns) / 1e6 for name in names if name in seen]


@asynccontextmanager
async def testbed(url: str, options: Options) -> AsyncIterator[Testbed]:
    """Start both processes, with every connection open."""
    async with AsyncExitStack() as stack:
        stopper = await stack.enter_async_context(backends.from_url(url, options))
        bare, commander = [await stack.enter_async_context(open_bare(url, options)) for _ in range(2)]
        yield Testbed(stopper, bare, commander, await stack.enter_async_context(owner_process(url, options)))


async def latency(url: str, options: Options, pairs: int, samples: int) -> AsyncIterator[Row]:
    """One abort at a time (`abort_ms`), each next to a bare message (`bare_ms`).

    `command_ms` is the abort's own command on the bare client: the store's share of the difference.
    """
    async with testbed(url, options) as bed:
        fires: dict[str, Callable[[str], Awaitable[object]]] = {
            "abort_ms": bed.abort,
            "bare_ms": bed.bare.publish,
            "command_ms": lambda name: bed.commander.flag(bed.stopper.store, name, OWNER),
        }
        for pair in range(pairs + 1):
            names = {kind: bed.names(samples if pair else WARM_UP) for kind in fires}
            await bed.owner.send(watch=[*names["abort_ms"], *names["command_ms"]])
            took_ms: dict[str, list[float]] = {kind: [] for kind in fires}
            for number, row in enumerate(zip(*names.values(), strict=True)):
                calls = list(zip(fires.items(), row, strict=True))
                first = number % len(calls)
                for (kind, fire), name in calls[first:] + calls[:first]:
                    took_ms[kind] += await bed.measure([name], partial(fire, name))
            await bed.owner.send(end_chats=True)
            if pair:
                yield {"pair": pair, **took_ms}


async def burst(url: str, options: Options, pairs: int, aborts: int) -> AsyncIterator[Row]:
    """All aborts at once, each of its own chat, next to a bare pipeline of the same commands on other chats.

    `abort_ms` and `bare_ms`: from the first call to each signal; fewer values than `aborts` means lost aborts.
    """
    async with testbed(url, options) as bed:
        for pair in range(pairs + 1):
            took_ms: dict[str, list[float]] = {}
            names = {kind: bed.names(aborts if pair else WARM_UP) for kind in ("abort_ms", "bare_ms")}
            await bed.owner.send(watch=[*names["abort_ms"], *names["bare_ms"]])
            fires: dict[str, Fire] = {
                "abort_ms": partial(bed.abort_all, names["abort_ms"]),
                "bare_ms": partial(bed.commander.flag_all, bed.stopper.store, names["bare_ms"], OWNER),
            }
            for kind in list(names)[:: 1 if pair % 2 else -1]:
                took_ms[kind] = await bed.measure(names[kind], fires[kind])
            await bed.owner.send(end_chats=True)
            if pair:
                yield {"pair": pair, "aborts": aborts, **took_ms}


async def fanout(url: str, options: Options, pairs: int, samples: int) -> AsyncIterator[Row]:
    """Latency by the number of listening workers: `alone_ms` one at a time, `burst_ms` all at once."""
    async with testbed(url, options) as bed:
        for pair in range(pairs + 1):
            for listeners in LISTENERS[:: 1 if pair % 2 else -1]:
                await bed.owner.send(workers=listeners)
                alone, together = bed.names(samples if pair else WARM_UP), bed.names(samples)
                await bed.owner.send(watch=[*alone, *together])
                alone_ms = [ms for name in alone for ms in await bed.measure([name], partial(bed.abort, name))]
                burst_ms = await bed.measure(together, partial(bed.abort_all, together))
                await bed.owner.send(end_chats=True)
                if pair:
                    row = {"pair": pair, "listeners": listeners, "aborts": samples}
                    yield row | {"alone_ms": alone_ms, "burst_ms": burst_ms}
