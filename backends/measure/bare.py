"""The baseline: each driver's own publish and subscribe, without our code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from backends.base import Options, Store
from backends.postgres.sql import FLAG as FLAG_STATEMENT
from backends.postgres.sql import in_schema
from backends.redis.scripts import FLAG as FLAG_SCRIPT

if TYPE_CHECKING:
    from redis.asyncio import Redis

NameHandler = Callable[[str], object]


class BareClient(Protocol):
    """A plain client of one store."""

    async def publish(self, name: str) -> None:
        """Send this name to the subscriber."""

    def subscribed(self, on_name: NameHandler) -> AbstractAsyncContextManager[None]:
        """Subscribe; on entry the server has confirmed it. `on_name` is called with each name published afterwards."""

    async def flag(self, store: Store, name: str, owner: str) -> None:
        """Run the command of `Store.flag` itself."""

    async def flag_all(self, store: Store, names: Sequence[str], owner: str) -> None:
        """Run it for all names, sent together."""


def is_redis(url: str) -> bool:
    """Whether a backend URL names Redis; the alternative is PostgreSQL."""
    return url.startswith("redis")


def driver_url(url: str) -> str:
    """Convert `redis+push://...` to the driver's form, `redis://...`."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


@asynccontextmanager
async def open_bare(url: str, options: Options) -> AsyncIterator[BareClient]:
    """Open a client with the driver's own defaults; the driver is imported here."""
    channel = f"{options.namespace}_bare"
    if is_redis(url):
        from redis.asyncio import Redis  # noqa: PLC0415 - lazily, see above

        async with Redis.from_url(driver_url(url)) as redis:
            yield BareRedis(redis, channel, await redis.script_load(FLAG_SCRIPT))
    else:
        import asyncpg  # noqa: PLC0415 - lazily, see above

        connection = await asyncpg.connect(driver_url(url), server_settings={"synchronous_commit": "off"})
        try:
            yield BarePostgres(connection, channel)
        finally:
            connection.terminate()


class BareRedis:
    """PUBLISH and redis-py's PubSub."""

    def __init__(self, redis: Redis, channel: str, script: str) -> None:
        self._redis = redis
        self._channel = channel
        self._script = script

    async def publish(self, name: str) -> None:
        """See `BareClient`."""
        await self._redis.publish(self._channel, name)

    @asynccontextmanager
    async def subscribed(self, on_name: NameHandler) -> AsyncIterator[None]:
        """See `BareClient`."""

        async def listen() -> None:
            async for message in pubsub.listen():
                if message["type"] == "message":
                    on_name(message["data"].decode())
                else:
                    confirmed.set()

        confirmed = asyncio.Event()
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            task = asyncio.create_task(listen())
            await confirmed.wait()
            try:
                yield
            finally:
                task.cancel()

    async def flag(self, store: Any, name: str, owner: str) -> None:
        """See `BareClient`."""
        await self._flag(self._redis, store, name, owner)

    async def flag_all(self, store: Any, names: Sequence[str], owner: str) -> None:
        """See `BareClient`: one EVALSHA per name, in one pipeline."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                await self._flag(pipeline, store, name, owner)
            await pipeline.execute()

    async def _flag(self, client: Redis, store: Any, name: str, owner: str) -> None:
        await client.evalsha(self._script, 1, store._names.chat(name), owner, 0, *store._publish_arguments(name))


class BarePostgres:
    """NOTIFY and asyncpg's listener."""

    def __init__(self, connection: Any, channel: str) -> None:
        self._connection = connection
        self._channel = channel

    async def publish(self, name: str) -> None:
        """See `BareClient`."""
        await self._connection.execute("SELECT pg_notify($1, $2)", self._channel, name)

    @asynccontextmanager
    async def subscribed(self, on_name: NameHandler) -> AsyncIterator[None]:
        """See `BareClient`."""
        await self._connection.add_listener(self._channel, lambda *message: on_name(message[3]))
        yield

    async def flag(self, store: Any, name: str, owner: str) -> None:
        """See `BareClient`."""
        await self._connection.fetch(in_schema(FLAG_STATEMENT, store.options.namespace), name, owner, store.notify)

    async def flag_all(self, store: Any, names: Sequence[str], owner: str) -> None:
        """See `BareClient`: one `executemany`, which asyncpg runs as one transaction."""
        rows = [(name, owner, store.notify) for name in names]
        await self._connection.executemany(in_schema(FLAG_STATEMENT, store.options.namespace), rows)
