"""Redis Cluster's slots: the slot of a command, and the parsing of CLUSTER SLOTS and of redirects."""

from __future__ import annotations

import binascii
import functools
import re
from typing import Any, NamedTuple

from redis.exceptions import AuthenticationError, ResponseError

from backends.redis.wire import Command

SLOTS = 16384
Node = tuple[str, int]
"""Host and port."""
_REDIRECT = re.compile(r"(MOVED|ASK) (\d+) (.*):(\d+)$")
_TRANSIENT = ("MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN", "READONLY")


class Redirect(NamedTuple):
    """`MOVED`: another node serves the slot from now on. `ASK`: it may have this key, whose slot is being moved."""

    kind: str
    slot: int
    node: Node


class SlotMap(NamedTuple):
    """The contents of a reply to CLUSTER SLOTS."""

    slots: list[Node | None]
    """The master of each slot."""
    masters: set[Node]
    nodes: set[Node]


def slot_of(command: Command) -> int:
    """The slot of a command's first key or channel."""
    key = command[3] if command[0] in ("EVALSHA", "EVAL") else command[1]
    return _slot_of_tag(_tag(str(key)))


def slot_map(reply: list[Any], asked: Node) -> SlotMap:
    """Read CLUSTER SLOTS as the node `asked` has sent it."""
    slots: list[Node | None] = [None] * SLOTS
    masters, nodes = set(), set()
    for first, last, *servers in reply:
        addresses = [((host or b"").decode() or asked[0], port) for host, port, *_ in servers]
        slots[first : last + 1] = [addresses[0]] * (last + 1 - first)
        masters.add(addresses[0])
        nodes.update(addresses)
    return SlotMap(slots, masters, nodes)


def redirect(error: Exception, asked: Node) -> Redirect | None:
    """The redirect in an error reply of the node `asked`."""
    found = _REDIRECT.match(str(error)) if isinstance(error, ResponseError) else None
    if found is None:
        return None
    kind, slot, host, port = found.groups()
    return Redirect(kind, int(slot), (host or asked[0], int(port)))


def is_transient(error: Exception) -> bool:
    """Whether the same command may succeed a little later, perhaps at another node."""
    if isinstance(error, AuthenticationError):
        return False
    return not isinstance(error, ResponseError) or str(error).startswith(_TRANSIENT)


def _tag(key: str) -> str:
    """The part of a key that is hashed: between the first braces if it is not empty."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start + 1 : end] if -1 < start < end - 1 else key


@functools.lru_cache(maxsize=1024)
def _slot_of_tag(tag: str) -> int:
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS
