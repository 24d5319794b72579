"""The Redis store's subscription in a cluster: one connection to each master that serves some of the channels."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial

from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError

from backends.base import MessageHandler
from backends.redis.cluster import Cluster
from backends.redis.listener import check_writable, open_listener, subscribe_on, wait_for_loss
from backends.redis.shared import SharedWire, close_all
from backends.redis.slots import Node, redirect, slot_of
from backends.redis.wire import Wire
from backends.supervise import first_of


class ClusterListener:
    """Subscribes to a worker's channels; once more after a loss, when connections that are still open are kept."""

    def __init__(
        self, cluster: Cluster, channels: list[str], on_message: MessageHandler, *, command: str, reply_s: float
    ) -> None:
        self._cluster = cluster
        self._channels = channels
        self._on_message = on_message
        self._command = command
        self._reply_s = reply_s
        self._connections: dict[Node, SharedWire] = {}
        self._subscribed: dict[Wire, set[str]] = {}
        cluster.on_refresh.add(self._leave_others)

    async def subscribe(self, within_s: float) -> None:
        """Return when every channel has a subscription that its master has confirmed.

        While a slot has no master, try again. Raises RedisError, OSError, TimeoutError.
        """
        error: Exception | None = None
        try:
            async with asyncio.timeout(within_s):
                while (error := await self._attempt()) is not None:
                    await self._cluster.recover(error)
        except TimeoutError:
            raise LostError(str(error) or type(error).__name__) from error

    async def wait_for_loss(self, silence_s: float) -> None:
        """Return when a connection is lost; see `listener.wait_for_loss`."""
        await first_of(*(wait_for_loss(wire, silence_s) for wire in self._subscribed))

    async def close(self) -> None:
        """Close every connection."""
        self._cluster.on_refresh.discard(self._leave_others)
        await close_all(self._connections.values())

    async def _attempt(self) -> Exception | None:
        """Subscribe to the channels that no open connection has, at all masters at the same time; return an error."""
        self._subscribed = {wire: channels for wire, channels in self._subscribed.items() if not wire.closed}
        held = set().union(*self._subscribed.values())
        if (error := await self._cluster.find_masters()) is not None:
            return error
        missing: dict[Node | None, list[str]] = defaultdict(list)
        for channel in self._channels:
            if channel not in held:
                missing[self._cluster.master_of(slot_of((self._command, channel)))].append(channel)
        unserved = missing.pop(None, None)
        errors = await asyncio.gather(
            *(self._subscribe_at(node, channels) for node, channels in missing.items() if node is not None)
        )
        if unserved is not None:
            errors.append(LostError(f"no master serves the slot of {unserved[0]}"))
        return next(filter(None, errors), None)

    async def _subscribe_at(self, node: Node, channels: list[str]) -> Exception | None:
        try:
            with self._cluster.patience(node):
                # Over the other connection: one with subscriptions takes no commands.
                await check_writable(await self._cluster.connection(node), channels[0])
                wire = await self._connection(node).get()
                await subscribe_on(wire, self._command, channels)
        except (RedisError, OSError, TimeoutError) as error:
            if (redirected := redirect(error, node)) is not None:
                self._cluster.follow(redirected)
            else:
                self._cluster.distrust(node)
            return error
        self._subscribed.setdefault(wire, set()).update(channels)
        return None

    def _connection(self, node: Node) -> SharedWire:
        if node not in self._connections:
            connect = partial(self._cluster.open_to, node, "listener", self._reply_s)
            self._connections[node] = SharedWire(partial(open_listener, connect, self._on_message))
        return self._connections[node]

    def _leave_others(self) -> None:
        """Leave nodes that are no longer masters: they may be frozen."""
        for node in self._connections.keys() - self._cluster.masters:
            self._connections.pop(node).abandon()
