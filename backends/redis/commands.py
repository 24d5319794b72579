"""The Redis store's command connection: opened on first use, reopened after a loss."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from hashlib import sha1
from itertools import chain
from typing import Any

from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, ResponseError

from backends.redis.errors import is_refusal
from backends.redis.keys import by_slot
from backends.redis.shared import SharedWire
from backends.redis.wire import Command, Wire


class Commands:
    """Sends commands over one connection, opened by `connect`. Raises RedisError, OSError, TimeoutError.

    A server that refuses (see `is_refusal`) may have been demoted: its connection is closed, the address is dialled
    again, and `on_refusal` is called.
    """

    def __init__(self, connect: Callable[[], Coroutine[None, None, Wire]], on_refusal: Callable[[], object]) -> None:
        self._shared = SharedWire(connect)
        self._on_refusal = on_refusal
        self._gets_by_slot = False  # set after the first CROSSSLOT error

    async def execute(self, *commands: Command) -> list[Any]:
        """Return the replies: one round trip. The commands are sent again after a loss or a refusal."""
        wire = self._shared.current
        if wire is None:
            return await self._execute_on(await self._shared.get(), commands)
        try:
            return await self._execute_on(wire, commands)
        except ResponseError as error:
            if not is_refusal(error):
                raise
        except (LostError, TimeoutError):
            pass
        return await self._execute_on(await self._shared.get(), commands)

    async def _execute_on(self, wire: Wire, commands: tuple[Command, ...]) -> list[Any]:
        """Execute, and close the connection to a server that refuses."""
        try:
            return await wire.execute(*commands)
        except ResponseError as error:
            if is_refusal(error) and not wire.closed:
                wire.close()
                self._on_refusal()
            raise

    async def run(self, script: str, *runs: Command) -> list[Any]:
        """Run a script once for each of `runs`, its key and arguments; return the replies.

        Two round trips if the server does not have the script yet; some runs may then be executed twice.
        """
        try:
            return await self.execute(*(("EVALSHA", script_id(script), 1, *run) for run in runs))
        except NoScriptError:
            return await self.execute(*(("EVAL", script, 1, *run) for run in runs))

    async def get(self, keys: list[str]) -> list[Any]:
        """Return the values of all keys in one round trip: one MGET, or one per slot on a cluster's server."""
        if not keys:
            return []  # MGET without keys is an error
        if not self._gets_by_slot:
            try:
                (values,) = await self.execute(("MGET", *keys))
                return list(values)
            except ResponseError as error:
                if not str(error).startswith("CROSSSLOT"):
                    raise
                self._gets_by_slot = True
        slots = by_slot(keys)
        replies = await self.execute(*(("MGET", *slot) for slot in slots))
        found = dict(zip(chain.from_iterable(slots), chain.from_iterable(replies), strict=True))
        return [found[key] for key in keys]

    def drop(self) -> None:
        """Close the connection; the next command opens another one."""
        self._shared.drop()

    async def close(self) -> None:
        """Close the connection, also one that is being opened."""
        await self._shared.close()


@functools.cache
def script_id(script: str) -> str:
    """The name under which a server keeps the script."""
    return sha1(script.encode()).hexdigest()  # noqa: S324 - Redis's script id, not a secret
