"""What to compare with: the driver's own publish and subscribe, with none of our code around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from backends.base import Options, Store
from backends.postgres_sql import FLAG as FLAG_STATEMENT
from backends.postgres_sql import in_schema
from backends.redis_scripts import FLAG as FLAG_SCRIPT

if TYPE_CHECKING:
    from redis.asyncio import Redis

Heard = Callable[[str], object]


class Bare(Protocol):
    """A plain client of one store."""

    async def publish(self, name: str) -> None:
        """Whoever subscribed is being sent this name."""

    def subscribed(self, heard: Heard) -> AbstractAsyncContextManager[None]:
        """Entered: the server confirmed the subscription; `heard` is called with each name published from then on."""

    async def flag(self, store: Store, name: str, owner: str) -> None:
        """The very command of `Store.flag` has run: what is left of an abort without our own code around it."""

    async def flag_all(self, store: Store, names: Sequence[str], owner: str) -> None:
        """The same for all the names, sent in one go."""


def is_redis(url: str) -> bool:
    """Whether a backend URL names Redis; else it names PostgreSQL."""
    return url.startswith("redis")


def driver_url(url: str) -> str:
    """`redis+push://...` as the driver wants it: `redis://...`."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


@asynccontextmanager
async def open_bare(url: str, options: Options) -> AsyncIterator[Bare]:
    """A client with the driver's own defaults; the driver is imported only now."""
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
    """PUBLISH, and redis-py's PubSub."""

    def __init__(self, redis: Redis, channel: str, script: str) -> None:
        self._redis = redis
        self._channel = channel
        self._script = script

    async def publish(self, name: str) -> None:
        """See `Bare`."""
        await self._redis.publish(self._channel, name)

    @asynccontextmanager
    async def subscribed(self, heard: Heard) -> AsyncIterator[None]:
        """See `Bare`."""

        async def listen() -> None:
            async for message in pubsub.listen():
                if message["type"] == "message":
                    heard(message["data"].decode())
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
        """See `Bare`."""
        await self._flag(self._redis, store, name, owner)

    async def flag_all(self, store: Any, names: Sequence[str], owner: str) -> None:
        """See `Bare`: EVALSHA after EVALSHA in one pipeline."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                await self._flag(pipeline, store, name, owner)
            await pipeline.execute()

    async def _flag(self, client: Redis, store: Any, name: str, owner: str) -> None:
        await client.evalsha(self._script, 1, store._key(name), owner, 0, *store._telling(name))


class BarePostgres:
    """NOTIFY, and asyncpg's listener."""

    def __init__(self, connection: Any, channel: str) -> None:
        self._connection = connection
        self._channel = channel

    async def publish(self, name: str) -> None:
        """See `Bare`."""
        await self._connection.execute("SELECT pg_notify($1, $2)", self._channel, name)

    @asynccontextmanager
    async def subscribed(self, heard: Heard) -> AsyncIterator[None]:
        """See `Bare`."""
        await self._connection.add_listener(self._channel, lambda *message: heard(message[3]))
        yield

    async def flag(self, store: Any, name: str, owner: str) -> None:
        """See `Bare`."""
        await self._connection.fetch(in_schema(FLAG_STATEMENT, store.options.namespace), name, owner, store.notify)

    async def flag_all(self, store: Any, names: Sequence[str], owner: str) -> None:
        """See `Bare`: one `executemany`, which asyncpg runs as one transaction."""
        rows = [(name, owner, store.notify) for name in names]
        await self._connection.executemany(in_schema(FLAG_STATEMENT, store.options.namespace), rows)
