"""Open the Redis store's connections: to the master that Sentinels name, see `Sentinels`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as RedisTimeoutError

from backends.base import Options
from backends.redis.dial import Dialer
from backends.redis.url import sentinel_url
from backends.redis.wire import Wire

ANSWER_S = 0.5
"""Limit for each answer while connecting: a Sentinel or a master that does not answer delays a failover."""
PAUSE_S = 0.05
_LIMITS = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S, "retry": Retry(NoBackoff(), 0)}


class Sentinels(Dialer):
    """Opens connections to the master of a replication group, `redis+sentinel://h1,h2,h3/name`.

    `on_failover` is called when the Sentinels name another master than before: connections to the old one may still be
    open, or frozen.
    """

    rights = ("role",)

    def __init__(self, url: str, options: Options, on_failover: Callable[[], object]) -> None:
        parsed = sentinel_url(url)
        super().__init__(parsed.node_url, options)
        self._hosts = ",".join(f"{host}:{port}" for host, port in parsed.sentinels)
        self._sentinels = parsed.sentinels  # those that have answered come first
        self._name = parsed.name
        self._on_failover = on_failover
        self._master: tuple[str, int] | None = None
        tls = {name: value for name, value in self._pool.connection_kwargs.items() if name.startswith("ssl_")}
        self._settings = {**_LIMITS, **tls, **parsed.login, "ssl": parsed.tls, "driver_info": None, "protocol": 2}

    @property
    def address(self) -> str:
        """The master's name and the Sentinels, for messages."""
        return f"{self._name!r} (Sentinels {self._hosts})"

    async def open(self, name: str, timeout_s: float, on_message: Callable[[list[Any]], object] = id) -> Wire:
        """Connect to the master; while a failover goes on try again, for `command_timeout_s` in all."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._options.command_timeout_s
        while True:
            try:
                return await self._open(name, timeout_s, on_message)
            except AuthenticationError:
                raise
            except (LostError, RedisTimeoutError, OSError) as error:
                if loop.time() + PAUSE_S >= until_s:
                    raise await self._explained(error) from error
            await asyncio.sleep(PAUSE_S)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Sentinel]:
        """A client for one search: two concurrent searches by one client reorder its list and lose a Sentinel."""
        client = Sentinel(self._sentinels, sentinel_kwargs=self._settings)  # type: ignore[no-untyped-call]
        try:
            yield client
        finally:
            await asyncio.shield(client.aclose())  # also if cancelled once more

    async def _open(self, name: str, timeout_s: float, on_message: Callable[[list[Any]], object]) -> Wire:
        async with self._client() as client:
            try:
                host, port = await client.discover_master(self._name)
            except ResponseError as error:
                raise ResponseError(f"{error} (from a Sentinel; is this one at all?)") from error
            answered = client.sentinels[0].connection_pool.connection_kwargs
            first = answered["host"], answered["port"]
        self._sentinels = [first, *(each for each in self._sentinels if each != first)]
        if self._master not in (None, (host, port)):
            self._on_failover()
        self._master = host, port
        wire = await Wire.open(self._connection(name, host=host, port=port, **_LIMITS), timeout_s, on_message)
        try:
            ((role, *_),) = await wire.execute(("ROLE",))
        except BaseException:
            wire.close()
            raise
        if role != b"master":  # demoted, or restarted as a replica; the Sentinels do not know it yet
            wire.close()
            raise LostError(f"{host}:{port} is not the master yet")
        return wire

    async def _explained(self, error: Exception) -> Exception:
        """The error, or why no master was found."""
        if not isinstance(error, MasterNotFoundError):
            return error
        names: set[str] = set()
        answered = False
        async with self._client() as client:
            for sentinel in client.sentinels:
                try:
                    names |= set(cast(dict[str, Any], await sentinel.sentinel_masters()))
                    answered = True
                except AuthenticationError as refused:
                    login = "sentinel_username and sentinel_password are options of the backend URL"
                    return AuthenticationError(f"a Sentinel: {refused} ({login})")
                except (RedisError, OSError):
                    continue
        if not answered:
            return LostError("no Sentinel answers")
        if self._name in names:
            return LostError("the Sentinels know no master that is up")
        known = ", ".join(sorted(names)) or "none"
        # An error reply: correct the configuration, do not wait.
        return ResponseError(f"no master has this name; correct it in the backend URL (the Sentinels know: {known})")
