"""Open the Redis store's connections: to the masters of a Redis Cluster, see `Cluster`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError

from backends.base import Options
from backends.redis.dial import Dialer
from backends.redis.shared import SharedWire, SingleFlight, close_all
from backends.redis.slots import SLOTS, Node, Redirect, SlotMap, is_transient, slot_map
from backends.redis.url import cluster_url
from backends.redis.wire import Wire

ANSWER_S = 0.5
"""Limit for each answer while connecting, and for CLUSTER SLOTS."""
PATIENCE_S = 0.1
"""After this wait a node may be frozen: other nodes are asked whether it is still a master."""
PAUSE_S = 0.05
_LIMITS = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S, "retry": Retry(NoBackoff(), 0)}


class Cluster(Dialer):
    """Knows the master of each slot, and has one connection for commands to each (`redis+cluster://h1,h2,h3`).

    A connection to a node that is no longer a master is closed: it may be frozen.
    """

    rights = ("cluster|slots", "asking")

    def __init__(self, url: str, options: Options) -> None:
        parsed = cluster_url(url)
        super().__init__(parsed.node_url, options)
        self._seeds = parsed.nodes
        self._map = SlotMap([None] * SLOTS, set(), set())
        self._connections: dict[Node, SharedWire] = {}
        self._refreshing = SingleFlight(self._refresh)
        self._ranks: dict[Node, tuple[bool, int]] = dict.fromkeys(parsed.nodes, (False, 0))
        self._questions = count(1)
        self.on_refresh: set[Callable[[], object]] = set()
        """Called after each refresh."""

    @property
    def address(self) -> str:
        """The nodes in the URL, for messages."""
        return f"cluster {','.join(f'{host}:{port}' for host, port in self._seeds)}"

    @property
    def masters(self) -> set[Node]:
        """The nodes that serve slots."""
        return self._map.masters

    def master_of(self, slot: int) -> Node | None:
        """The master that serves the slot."""
        return self._map.slots[slot]

    async def find_masters(self) -> Exception | None:
        """Ask for the masters if none is known; return why there is no answer."""
        try:
            if not self.masters:
                await self.refresh()
        except (RedisError, OSError, TimeoutError) as error:
            return error
        return None

    async def connection(self, node: Node) -> Wire:
        """The connection for commands to this node. Raises RedisError, OSError, TimeoutError."""
        if node not in self._connections:
            self._connections[node] = SharedWire(
                lambda: self.open_to(node, "commands", self._options.command_timeout_s)
            )
        return await self._connections[node].get()

    async def open_to(
        self, node: Node, name: str, timeout_s: float, on_message: Callable[[list[Any]], object] = id
    ) -> Wire:
        """Connect to this node, as `open` does."""
        host, port = node
        return await Wire.open(self._connection(name, host=host, port=port, **_LIMITS), timeout_s, on_message)

    def follow(self, redirect: Redirect) -> None:
        """Note the new master of a slot. ASK names none."""
        if redirect.kind == "MOVED":
            self._map.slots[redirect.slot] = redirect.node
            self._map.masters.add(redirect.node)
            self._ranks.setdefault(redirect.node, (False, 0))

    def distrust(self, node: Node) -> None:
        """Ask this node last from now on: it does not answer, or is cut off from the others."""
        self._ranks[node] = (True, next(self._questions))

    @contextmanager
    def patience(self, node: Node) -> Iterator[None]:
        """While the block waits for this node for longer than PATIENCE_S, ask other nodes for the masters."""

        def ask() -> None:
            self.distrust(node)
            self._refreshing.begin()
            timers.append(loop.call_later(PAUSE_S, ask))

        loop = asyncio.get_running_loop()
        timers = [loop.call_later(PATIENCE_S, ask)]
        try:
            yield
        finally:
            timers[-1].cancel()

    async def refresh(self) -> None:
        """Ask a node for the masters. Raises LostError if no node answers, ResponseError if one is not in a cluster."""
        await self._refreshing.result()

    async def recover(self, error: Exception) -> None:
        """Pause after this error, then ask for the masters again; they may still be the same. Raises lasting errors."""
        if not is_transient(error):
            raise error
        await asyncio.sleep(PAUSE_S)
        try:
            await self.refresh()
        except (RedisError, OSError, TimeoutError) as failed:
            if not is_transient(failed):
                raise

    async def close(self) -> None:
        """Close the connections for commands."""
        await self._refreshing.wait_cancelled()
        await close_all(self._connections.values())

    async def _refresh(self) -> None:
        reason = ""
        for node in sorted(self._ranks, key=self._rank):
            try:
                async with asyncio.timeout(ANSWER_S):
                    (reply,) = await (await self.connection(node)).execute(("CLUSTER", "SLOTS"))
            except (RedisError, OSError, TimeoutError) as error:
                if not is_transient(error):
                    raise
                self.distrust(node)
                reason = reason or str(error) or type(error).__name__
                continue
            self._map = slot_map(reply, node)
            self._ranks = {each: self._ranks.get(each, (False, 0)) for each in (*self._map.nodes, *self._seeds)}
            self._ranks[node] = (False, next(self._questions))
            self._leave_others()
            return
        raise LostError(f"no node answers: {reason}")

    def _rank(self, node: Node) -> tuple[bool, bool, int]:
        """Sort nodes: silent ones last, replicas after masters (which have an open connection), last asked last."""
        silent, asked = self._ranks[node]
        return silent, node not in self.masters, asked

    def _leave_others(self) -> None:
        for node in self._connections.keys() - self.masters:
            self._connections.pop(node).abandon()
        for each in tuple(self.on_refresh):
            each()
