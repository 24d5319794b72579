"""Abort flags in a Redis Cluster: `redis+cluster://h1,h2,h3`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from backends.base import HEARTBEAT, Chat, ChatKey, FlagResult, MessageHandler, WaitForLoss
from backends.errors import DeafListenerError, StoreUnavailableError
from backends.redis.cluster import Cluster
from backends.redis.cluster_commands import ClusterCommands
from backends.redis.cluster_listener import ClusterListener
from backends.redis.keys import bucket_of
from backends.redis.store import RedisStore


class ClusterStore(RedisStore):
    """One connection for commands and one for the listener to each master; one round trip to each per operation.

    A listener is lost with its connection to any master. Those to the other masters stay open and in use until the
    worker listens again, so that the aborts of their chats are not delayed.
    """

    _cluster: Cluster
    _commands: ClusterCommands

    def _servers(self, url: str) -> tuple[Cluster, ClusterCommands]:
        self._kept: dict[str, ClusterListener] = {}  # by worker
        self._cluster = Cluster(url, self.options)
        return self._cluster, ClusterCommands(self._cluster, self.options.command_timeout_s)

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> FlagResult:
        asked = self._commands.asked
        result = await super().flag(request_id, owner, remember=remember)
        if result.chat is not None:
            await self._publish_at_source(asked, result.chat)
        return result

    async def reassert(self, chats: Collection[Chat]) -> set[ChatKey]:
        asked = self._commands.asked
        reasserted = await super().reassert(chats)
        await self._publish_at_source(asked, *(chat for chat in chats if chat.key in reasserted))
        return reasserted

    async def heartbeat(self, worker: str, number: int) -> bool:
        asked = self._commands.asked
        held = await super().heartbeat(worker, number)
        await self._publish_at_source(asked, Chat(str(number), HEARTBEAT, "", worker), bucket=bucket_of(worker))
        return held

    @asynccontextmanager
    async def listen(self, worker: str, on_message: MessageHandler) -> AsyncIterator[WaitForLoss]:
        """See `Store.listen`. Connections that stay open deliver messages also between two listeners."""
        listener = self._kept.pop(worker, None) or self._new_listener(worker, on_message)

        async def until_lost() -> None:
            with self._translated():
                await listener.wait_for_loss(self.options.silence_s)
            raise StoreUnavailableError(f"Redis at {self._dialer.address}: a connection of the listener was lost")

        try:
            with self._translated():
                await listener.subscribe(self.options.command_timeout_s)
            yield until_lost
        except StoreUnavailableError as error:
            if not isinstance(error, DeafListenerError):
                self._kept[worker] = listener
            raise
        finally:
            if worker not in self._kept:
                await listener.close()

    async def _publish_at_source(self, asked: int, *chats: Chat, bucket: int | None = None) -> None:
        """Send the messages again if, since `asked`, scripts ran at the node that receives their slot.

        The listeners are subscribed at the source until the move ends.
        """
        if not self._publish or self._commands.asked == asked or not chats:
            return
        buckets = (bucket_of(chat.request_id) if bucket is None else bucket for chat in chats)
        with self._translated():
            await self._commands.execute(
                *(
                    (self._publish, self._names.channel(each, chat.worker), f"{chat.generation} {chat.request_id}")
                    for chat, each in zip(chats, buckets, strict=True)
                )
            )

    def _new_listener(self, worker: str, on_message: MessageHandler) -> ClusterListener:
        return ClusterListener(
            self._cluster,
            self._names.channels(worker),
            on_message,
            command=self._subscribe_command,
            reply_s=self._listener_reply_s,
        )

    async def _close(self) -> None:
        for listener in self._kept.values():
            await listener.close()
        await super()._close()
