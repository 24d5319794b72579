"""The Redis store's names: one key per chat and per worker, one channel per worker and bucket.

The key of a chat and the channel of its abort share a hash tag, one of BUCKETS, and therefore a cluster slot: scripts
that publish are allowed in a cluster, and sharded pub/sub sends a message to one shard instead of every node.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

BUCKETS = 16
ALL_WORKERS = "all"  # in place of a worker in a channel's name


@dataclass(frozen=True)
class Names:
    """The names under a namespace."""

    namespace: str

    def chat(self, request_id: str) -> str:
        """The key of a chat's record."""
        return f"{self._tag(bucket_of(request_id))}:{request_id}"

    def heartbeat(self, worker: str) -> str:
        """The key of a worker's heartbeat. Differs from the key of any chat, where a colon follows the tag."""
        return f"{self._tag(bucket_of(worker))}beat:{worker}"

    def channel(self, bucket: int, worker: str = "") -> str:
        """The channel of a worker for the chats of one bucket; a prefix without `worker`."""
        return f"{self._tag(bucket)}:abort:{worker}"

    def channels(self, worker: str) -> list[str]:
        """All channels that a worker subscribes to."""
        return [*(self.channel(bucket, worker) for bucket in range(BUCKETS)), self.channel(0, ALL_WORKERS)]

    def _tag(self, bucket: int) -> str:
        return f"{self.namespace}:{{{bucket}}}"


def bucket_of(name: str) -> int:
    """The bucket of a request id or a worker."""
    return crc32(name.encode()) % BUCKETS


def beside(channel: str) -> str:
    """A key in the channel's slot that a new listener writes, to check that its server takes writes."""
    return channel[: channel.index("}") + 1]


def by_slot(keys: list[str]) -> list[list[str]]:
    """Group the keys by their hash tag."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key[: key.index("}")], []).append(key)
    return list(groups.values())
