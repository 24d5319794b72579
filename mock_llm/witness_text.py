"""The text of a failed assertion: the connection's state, what was written after the stop, what the mock received."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock_llm.witness import Chat

_SHOWN = 5


def explain(
    id_: str, chats: "Sequence[Chat]", others: "Sequence[Chat]", problem: str, since_ns: int | None = None
) -> str:
    """Return the message for a chat with `problem`; `others` are all received chats if this one is not among them."""
    lines = [f"chat {id_!r} {problem}"]
    if not chats:
        lines += _not_received(id_, others)
    for number, chat in enumerate(chats, start=1):
        if len(chats) > 1:
            lines.append(f"  request {number} of {len(chats)} with this id:")
        lines += _lines(chat, time.monotonic_ns() if since_ns is None else since_ns)
    return "\n".join(lines)


def _not_received(id_: str, others: "Sequence[Chat]") -> list[str]:
    names = ", ".join(repr(chat.id) for chat in others[-_SHOWN:]) or "none"
    return [
        f"  the mock received {len(others)} other chats: {names}",
        f"  name the chat by the header X-Request-Id or by [bench:{id_}] in its last message,",
        "  and check that the service's base URL is witness.base_url",
    ]


def _lines(chat: "Chat", since_ns: int) -> list[str]:
    after = [stamp for stamp in chat.token_ns if stamp > since_ns]
    last = f", the last one {_ms(after[-1] - since_ns)} after the stop" if after else ""
    return [
        f"  connection: {_state(chat, since_ns)}",
        f"  written after the stop: {_count(len(after))}{last}",
        f"  written before it: {len(chat.token_ns) - len(after)} of {_count(chat.planned_tokens)}",
        f"  received: {_relative(chat.received_ns, since_ns)}, id from the {chat.id_from or 'mock (none was sent)'}",
    ]


def _state(chat: "Chat", since_ns: int) -> str:
    if chat.outcome == "open":
        return f"still open {_ms(time.monotonic_ns() - since_ns)} after the stop"
    if chat.fault is not None:
        return f"ended by the injected fault {chat.fault}"
    if chat.done_ns is not None:
        return f"the chat ended by itself {_relative(chat.done_ns, since_ns)}; give it more tokens or stop it earlier"
    return f"lost {_relative(chat.stopped_ns or since_ns, since_ns)}"


def _relative(at_ns: int, since_ns: int) -> str:
    return f"{_ms(abs(at_ns - since_ns))} {'before' if at_ns < since_ns else 'after'} the stop"


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.0f} ms"


def _count(tokens: int) -> str:
    return f"{tokens} token" if tokens == 1 else f"{tokens} tokens"
