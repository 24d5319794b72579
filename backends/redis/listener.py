"""The Redis store's subscription. Not redis-py's PubSub: it reconnects silently and hides lost messages."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any

from redis.exceptions import ConnectionError as LostError

from backends.base import ChatKey, MessageHandler
from backends.redis.dial import Dialer
from backends.redis.keys import Names
from backends.redis.wire import Wire


async def subscribe(
    dialer: Dialer,
    names: Names,
    worker: str,
    on_message: MessageHandler,
    *,
    command: str,
    reply_s: float,
) -> Wire:
    """Open a connection and subscribe to the worker's channels with `command`; see `Store.listen`.

    The server must answer each command within `reply_s`. Raises RedisError, OSError or TimeoutError.
    """

    def on_reply(message: list[Any]) -> None:
        if message[0] == b"sunsubscribe":  # a cluster has moved the slot: messages no longer arrive here
            wire.close()
        else:
            on_message(ChatKey.of(message[2].decode(errors="replace")))

    wire = await dialer.open("listener", reply_s, on_reply)
    try:
        # A replica accepts subscriptions, too. Only a server that takes writes also publishes the aborts.
        await wire.execute(("SET", names.writable, worker, "PX", 1000))
        # One command per channel: in a cluster the channels are in different slots.
        _check(command, await wire.execute(*((command, channel) for channel in names.channels(worker))))
    except BaseException:
        wire.close()
        raise
    return wire


def _check(command: str, replies: list[Any]) -> None:
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
