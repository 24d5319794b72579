"""The commands of a store in a Redis Cluster: each to the master of its slot, again after a failover."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, RedisError

from backends.redis.cluster import Cluster
from backends.redis.commands import script_id
from backends.redis.slots import Node, is_transient, redirect, slot_of
from backends.redis.wire import Command


class ClusterCommands:
    """As `Commands`, over several masters. While a slot has none, its commands wait, for `timeout_s` in all."""

    def __init__(self, cluster: Cluster, timeout_s: float) -> None:
        self._cluster = cluster
        self._timeout_s = timeout_s
        self.asked = 0
        """Number of commands that ASK sent to the node that receives their slot; no listener is subscribed there."""

    async def execute(self, *commands: Command) -> list[Any]:
        """Return the replies: one round trip to each master. Some commands may be executed twice."""
        return await self._execute(_Batch(commands))

    async def run(self, script: str, *runs: Command) -> list[Any]:
        """Run a script once for each of `runs`, its key and arguments; return the replies."""
        return await self._execute(_Batch((("EVALSHA", script_id(script), 1, *run) for run in runs), script))

    async def get(self, keys: list[str]) -> list[Any]:
        """Return the values of all keys. Not with MGET, which fails while a slot is being moved."""
        return await self.execute(*(("GET", key) for key in keys))

    async def close(self) -> None:
        """Close the connections."""
        await self._cluster.close()

    async def _execute(self, batch: _Batch) -> list[Any]:
        until_s = asyncio.get_running_loop().time() + self._timeout_s
        error = cause = await self._attempt(batch)
        if batch.pending:
            try:
                async with asyncio.timeout_at(until_s):
                    while batch.pending:
                        if error is not None:
                            cause = error
                            await self._cluster.recover(error)
                        error = await self._attempt(batch)
            except TimeoutError:
                raise LostError(str(cause) or type(cause).__name__) from cause
        return batch.replies

    async def _attempt(self, batch: _Batch) -> Exception | None:
        """Send what is pending, each command to its node. Return the error of one that is to be sent again later."""
        if (error := await self._cluster.find_masters()) is not None:
            return error
        by_node: dict[Node, list[int]] = defaultdict(list)
        for index, command in batch.pending.items():
            slot = slot_of(command)
            if (node := batch.asked_to.get(index) or self._cluster.master_of(slot)) is None:
                error = LostError(f"no master serves the slot {slot}")
            else:
                by_node[node].append(index)
        sent = [self._send(batch, node, indices) for node, indices in by_node.items()]
        errors = [await sent[0]] if len(sent) == 1 else await asyncio.gather(*sent)
        return next(filter(None, errors), error)

    async def _send(self, batch: _Batch, node: Node, indices: list[int]) -> Exception | None:
        commands = [batch.pending[index] for index in indices]
        asking = any(index in batch.asked_to for index in indices)
        if asking:
            commands = [each for command in commands for each in (("ASKING",), command)]
        try:
            with self._cluster.patience(node):
                replies = await (await self._cluster.connection(node)).replies(*commands)
        except (RedisError, OSError, TimeoutError) as error:
            self._cluster.distrust(node)
            for index in indices:
                batch.asked_to.pop(index, None)
            return error if node in self._cluster.masters else None  # its successor is known
        errors = [
            self._sort(batch, index, reply, node)
            for index, reply in zip(indices, replies[1::2] if asking else replies, strict=True)
        ]
        return next(filter(None, errors), None)

    def _sort(self, batch: _Batch, index: int, reply: Any, node: Node) -> Exception | None:
        """Note the reply, or what to do next. Return an error after which to wait; raise a lasting one."""
        batch.asked_to.pop(index, None)
        if not isinstance(reply, Exception):
            batch.replies[index] = reply
            del batch.pending[index]
            return None
        if isinstance(reply, NoScriptError):  # a promoted replica has no scripts
            batch.pending[index] = ("EVAL", batch.script, *batch.pending[index][2:])
            return None
        if (redirected := redirect(reply, node)) is not None:
            if redirected.kind == "ASK":
                batch.asked_to[index] = redirected.node
                self.asked += 1
            else:
                self._cluster.follow(redirected)
            batch.redirects += 1
            return reply if batch.redirects > 2 * len(batch.replies) else None  # the nodes do not agree yet
        if not is_transient(reply):
            raise reply
        self._cluster.distrust(node)
        return reply


class _Batch:
    """Commands, the replies so far, and those that have none yet, by index."""

    def __init__(self, commands: Iterable[Command], script: str = "") -> None:
        self.script = script
        self.pending: dict[int, Command] = dict(enumerate(commands))
        self.replies: list[Any] = [None] * len(self.pending)
        self.asked_to: dict[int, Node] = {}
        """The node that an ASK has named, for the next attempt."""
        self.redirects = 0  # more than two for a command, ASK before and after NOSCRIPT, need a pause
