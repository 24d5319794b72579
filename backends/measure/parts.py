"""What is measured between two processes; each part gives one row of raw samples per pair or round."""

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
from backends.measure.bare import Bare, open_bare
from backends.measure.owner import OWNER
from backends.measure.owner_process import OwnerProcess, owner_process

LISTENERS = (1, 8, 64)
WARM_UP = 20
Fire = Callable[[], Awaitable[object]]
Row = dict[str, Any]


@dataclass
class Stage:
    """A worker that aborts, a bare client beside it, and the other process that owns the chats."""

    stopper: Delivery
    bare: Bare
    commander: Bare  # a second one: a session that is used twice as often is the faster for it
    owner: OwnerProcess
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    def names(self, count: int) -> list[str]:
        """So many names that nobody has used."""
        return [f"chat-{next(self._ids):06}" for _ in range(count)]

    async def abort(self, name: str) -> None:
        """The call that is measured."""
        await self.stopper.abort(name, OWNER)

    async def abort_all(self, names: Sequence[str]) -> None:
        """All at once, each a call of its own, as so many requests would make it."""
        await asyncio.gather(*(self.abort(name) for name in names))

    async def fired(self, names: Sequence[str], fire: Fire) -> list[float]:
        """Milliseconds from the call to the other process hearing of each name, for those that it heard of."""
        await self.owner.expect(names)
        fired_ns = time.monotonic_ns()
        await fire()
        seen = await self.owner.answer()
        return [(seen[name] - fired_ns) / 1e6 for name in names if name in seen]


@asynccontextmanager
async def stage(url: str, options: Options) -> AsyncIterator[Stage]:
    """Both processes, with every connection open."""
    async with AsyncExitStack() as stack:
        stopper = await stack.enter_async_context(backends.from_url(url, options))
        bare, commander = [await stack.enter_async_context(open_bare(url, options)) for _ in range(2)]
        yield Stage(stopper, bare, commander, await stack.enter_async_context(owner_process(url, options)))


async def latency(url: str, options: Options, pairs: int, samples: int) -> AsyncIterator[Row]:
    """One abort at a time, `abort_ms`, each beside a bare message, `bare_ms`.

    `command_ms` is the abort's own command on the bare client: what of the difference is the store's, not our code's.
    """
    async with stage(url, options) as on:
        fires: dict[str, Callable[[str], Awaitable[object]]] = {
            "abort_ms": on.abort,
            "bare_ms": on.bare.publish,
            "command_ms": lambda name: on.commander.flag(on.stopper.store, name, OWNER),
        }
        for pair in range(pairs + 1):
            names = {kind: on.names(samples if pair else WARM_UP) for kind in fires}
            await on.owner.tell(hold=[*names["abort_ms"], *names["command_ms"]])
            took_ms: dict[str, list[float]] = {kind: [] for kind in fires}
            for number, row in enumerate(zip(*names.values(), strict=True)):
                turns = list(zip(fires.items(), row, strict=True))
                first = number % len(turns)
                for (kind, fire), name in turns[first:] + turns[:first]:
                    took_ms[kind] += await on.fired([name], partial(fire, name))
            await on.owner.tell(drop=True)
            if pair:
                yield {"pair": pair, **took_ms}


async def burst(url: str, options: Options, pairs: int, aborts: int) -> AsyncIterator[Row]:
    """All aborts at once on as many live chats, beside a bare pipeline of the same commands on as many others.

    `abort_ms` and `bare_ms`: from the first call to each signal; fewer of them than `aborts` means that some were lost.
    """
    async with stage(url, options) as on:
        for pair in range(pairs + 1):
            took_ms: dict[str, list[float]] = {}
            names = {kind: on.names(aborts if pair else WARM_UP) for kind in ("abort_ms", "bare_ms")}
            await on.owner.tell(hold=[*names["abort_ms"], *names["bare_ms"]])
            fires: dict[str, Fire] = {
                "abort_ms": partial(on.abort_all, names["abort_ms"]),
                "bare_ms": partial(on.commander.flag_all, on.stopper.store, names["bare_ms"], OWNER),
            }
            for kind in list(names)[:: 1 if pair % 2 else -1]:
                took_ms[kind] = await on.fired(names[kind], fires[kind])
            await on.owner.tell(drop=True)
            if pair:
                yield {"pair": pair, "aborts": aborts, **took_ms}


async def fanout(url: str, options: Options, pairs: int, samples: int) -> AsyncIterator[Row]:
    """What an abort costs while more and more workers listen: `alone_ms` one at a time, `burst_ms` all at once."""
    async with stage(url, options) as on:
        for pair in range(pairs + 1):
            for listeners in LISTENERS[:: 1 if pair % 2 else -1]:
                await on.owner.tell(workers=listeners)
                alone, together = on.names(samples if pair else WARM_UP), on.names(samples)
                await on.owner.tell(hold=[*alone, *together])
                alone_ms = [ms for name in alone for ms in await on.fired([name], partial(on.abort, name))]
                burst_ms = await on.fired(together, partial(on.abort_all, together))
                await on.owner.tell(drop=True)
                if pair:
                    row = {"pair": pair, "listeners": listeners, "aborts": samples}
                    yield row | {"alone_ms": alone_ms, "burst_ms": burst_ms}
