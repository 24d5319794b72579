"""Open the Redis store's connections: to the address in the URL. redis-py connects, then `Wire` takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from backends.base import Options
from backends.errors import BackendUrlError
from backends.redis.url import driver_url
from backends.redis.wire import Wire


class Dialer:
    """Opens connections to a single server, or to whatever its address leads to at that moment."""

    rights: tuple[str, ...] = ()
    """Rights that opening a connection needs, see `errors.RIGHTS`."""

    def __init__(self, url: str, options: Options) -> None:
        self._address, url = driver_url(url)
        self._options = options
        try:
            self._pool = ConnectionPool.from_url(  # used as a connection factory; no connection is ever borrowed
                url,
                protocol=2,
                socket_timeout=options.command_timeout_s,
                socket_connect_timeout=options.command_timeout_s,
                retry=Retry(NoBackoff(), 0),
                driver_info=None,  # else each connection would need the right to CLIENT SETINFO
            )
            self._connection("check")  # redis-py validates the options only here
        except (RedisError, TypeError, ValueError) as error:
            raise BackendUrlError(f"an option of the backend URL has an invalid value: {error}") from None

    @property
    def address(self) -> str:
        """`host:port` for messages."""
        return self._address

    async def open(self, name: str, timeout_s: float, on_message: Callable[[list[Any]], object] = id) -> Wire:
        """Connect; CLIENT LIST shows the name. See `Wire.open`."""
        return await Wire.open(self._connection(name), timeout_s, on_message)

    def _connection(self, name: str, **settings: Any) -> AbstractConnection:
        """A connection that is not open yet."""
        settings = self._pool.connection_kwargs | {"client_name": f"{self._options.namespace}-{name}"} | settings
        connection: AbstractConnection = self._pool.connection_class(**settings)
        return connection
