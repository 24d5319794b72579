"""The Redis store's subscription. Not redis-py's PubSub: it reconnects silently and hides lost messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ResponseError

from backends.base import ChatKey, MessageHandler
from backends.redis.dial import Dialer
from backends.redis.keys import beside
from backends.redis.wire import Wire


async def subscribe(
    dialer: Dialer, channels: list[str], on_message: MessageHandler, *, command: str, reply_s: float
) -> Wire:
    """Open a connection and subscribe to the channels with `command`; see `Store.listen`.

    The server must answer each command within `reply_s`. Raises RedisError, OSError or TimeoutError.
    """
    wire = await open_listener(partial(dialer.open, "listener", reply_s), on_message)
    try:
        await check_writable(wire, channels[0])
        await subscribe_on(wire, command, channels)
    except BaseException:
        wire.close()
        raise
    return wire


async def open_listener(
    connect: Callable[[Callable[[list[Any]], object]], Awaitable[Wire]], on_message: MessageHandler
) -> Wire:
    """Open a connection that passes on messages; `connect` takes their handler."""

    def on_reply(message: list[Any]) -> None:
        if message[0] == b"sunsubscribe":  # a cluster has moved the slot: messages no longer arrive here
            wire.close()
        else:
            on_message(ChatKey.of(message[2].decode(errors="replace")))

    wire = await connect(on_reply)
    return wire


async def check_writable(wire: Wire, channel: str) -> None:
    """Check that the server takes writes in the channel's slot.

    A replica accepts subscriptions, too, but only a server that takes writes also publishes the aborts.
    """
    try:
        await wire.execute(("SET", beside(channel), 1, "PX", 1000))
    except ResponseError as error:
        if not str(error).startswith("ASK "):  # a master whose slot is being moved; its subscribers stay until then
            raise


async def subscribe_on(wire: Wire, command: str, channels: list[str]) -> None:
    """Subscribe to these channels of one server. Raises LostError if it does not confirm them."""
    # One command per channel: in a cluster the channels are in different slots.
    replies = await wire.execute(*((command, channel) for channel in channels))
    if any(reply[0] != command.lower().encode() for reply in replies):
        raise LostError("the subscription was not confirmed")


async def wait_for_loss(wire: Wire, silence_s: float) -> None:
    """Return when the connection is lost; ping it after a silence, because it may be half-open.

    Raises RedisError, OSError or TimeoutError if the ping fails.
    """
    while not wire.closed:
        left_s = wire.received_s + silence_s - monotonic()
        if left_s <= 0:
            await wire.execute(("PING",))
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await wire.wait_lost()
