"""Wait for chats that the mock received, and assert that a chat was stopped."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

_POLL_S = 0.003
_TIMEOUT_S = 10.0
# After the limit: tells a stop that is late from one that does not happen.
_GRACE_MS = 200
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Chat:
    """One request as the mock saw it. All times are time.monotonic_ns(); None if the event did not occur.

    `outcome` is finished (the natural end was written), cut (stopped before it) or open. `stopped_ns` is when its
    connection was lost, or, for a background response, when it was cancelled.
    """

    id: str
    id_from: str
    outcome: str
    stream: bool
    received_ns: int
    token_ns: list[int]
    planned_tokens: int
    done_ns: int | None
    stopped_ns: int | None
    fault: str | None


class Witness:
    """The mock's journal of one test. A chat's id is its X-Request-Id, or the marker [bench:ID] in its last message."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self.base_url = f"{url}/v1"
        """The value of OPENAI_BASE_URL."""

    async def chat(self, id: str, timeout_s: float = _TIMEOUT_S) -> Chat:
        """Wait until the mock has received the chat, without blocking the event loop; AssertionError if it has not."""
        return await asyncio.to_thread(self._wait_for_chat, id, timeout_s)

    def wait_for_chat(self, id: str, timeout_s: float = _TIMEOUT_S) -> Chat:
        """Do the same in a test that is not async."""
        _refuse_in_loop("wait_for_chat", "chat")
        return self._wait_for_chat(id, timeout_s)

    def stopped(self, id: str, within_ms: float = 50, since_ns: int | None = None) -> Chat:
        """Assert that the chat is stopped at most `within_ms` after `since_ns` (default: this call).

        Waits for it. The AssertionError contains what was written after the stop and the connection's state.
        """
        __tracebackhide__ = True
        _refuse_in_loop("stopped", "chat_stopped")
        return self._stopped(id, within_ms, since_ns or time.monotonic_ns())

    async def chat_stopped(self, id: str, within_ms: float = 50, since_ns: int | None = None) -> Chat:
        """Do the same in an async test, without blocking its event loop."""
        __tracebackhide__ = True
        return await asyncio.to_thread(self._stopped, id, within_ms, since_ns or time.monotonic_ns())

    def tokens_after(self, id: str, ns: int) -> int:
        """Return the number of the chat's tokens written after `ns` (time.monotonic_ns())."""
        return sum(stamp > ns for chat in self.chats(id) for stamp in chat.token_ns)

    @property
    def open_streams(self) -> list[str]:
        """The ids of the chats that neither ended nor were stopped."""
        return [chat.id for chat in self.chats() if chat.outcome == "open"]

    def chats(self, id: str | None = None) -> list[Chat]:
        """Return the requests of one id (a retry has the same one) or all of this test, oldest first."""
        query = "" if id is None else f"?id={quote(id, safe='')}"
        return [_chat(row) for row in json.loads(self._request("GET", query))["rows"]]

    def clear(self) -> None:
        """Forget all chats; those that are still open are no longer recorded."""
        self._request("DELETE")

    def _request(self, method: str, query: str = "") -> bytes:
        connection = HTTPConnection(self._address, timeout=_TIMEOUT_S)  # unlike urllib, takes no proxy
        try:
            connection.request(method, f"/__mock/journal{query}")
            return connection.getresponse().read()
        finally:
            connection.close()

    def _wait_for_chat(self, id_: str, timeout_s: float) -> Chat:
        deadline_s = time.monotonic() + timeout_s
        chats = self._poll(id_, lambda chats: bool(chats) or time.monotonic() > deadline_s)
        if not chats:
            raise AssertionError(_explain(id_, [], self.chats(), f"was not received within {timeout_s:g} s"))
        return chats[-1]

    def _stopped(self, id_: str, within_ms: float, since_ns: int) -> Chat:
        __tracebackhide__ = True
        limit_ns = since_ns + round(within_ms * 1e6)

        def is_settled(chats: list[Chat]) -> bool:
            is_open = not chats or any(chat.outcome == "open" for chat in chats)
            return not is_open or time.monotonic_ns() > limit_ns + _GRACE_MS * 1_000_000

        chats = self._poll(id_, is_settled)
        in_time = all(chat.outcome != "open" and (chat.stopped_ns or 0) <= limit_ns for chat in chats)
        if chats and in_time and chats[-1].outcome == "cut" and chats[-1].fault is None:
            return chats[-1]
        others = [] if chats else self.chats()
        raise AssertionError(_explain(id_, chats, others, f"was not stopped within {within_ms:g} ms", since_ns))

    def _poll(self, id_: str, until: Callable[[list[Chat]], bool]) -> list[Chat]:
        while not until(chats := self.chats(id_)):
            time.sleep(_POLL_S)
        return chats


def _chat(row: dict[str, Any]) -> Chat:
    stopped_ns = row["cancelled_ns"] if row["background"] else row["lost_ns"]
    fields = {name: row[name] for name in Chat.__dataclass_fields__ if name != "stopped_ns"}
    return Chat(**fields, stopped_ns=stopped_ns)


def _refuse_in_loop(name: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"witness.{name}() would block this event loop: use `await witness.{instead}(...)`")


def _explain(id_: str, chats: Sequence[Chat], others: Sequence[Chat], problem: str, since_ns: int | None = None) -> str:
    """Return the text of a failed assertion about a chat with `problem`; `others`: all chats if there are none."""
    lines = [f"chat {id_!r} {problem}"]
    if not chats:
        lines += _not_received(id_, others)
    for number, chat in enumerate(chats, start=1):
        if len(chats) > 1:
            lines.append(f"  request {number} of {len(chats)} with this id:")
        lines += _lines(chat, time.monotonic_ns() if since_ns is None else since_ns)
    return "\n".join(lines)


def _not_received(id_: str, others: Sequence[Chat]) -> list[str]:
    names = ", ".join(repr(chat.id) for chat in others[-_SHOWN:]) or "none"
    return [
        f"  the mock received {len(others)} other chats: {names}",
        f"  name the chat by the header X-Request-Id or by [bench:{id_}] in its last message,",
        "  and check that the service's base URL is witness.base_url",
    ]


def _lines(chat: Chat, since_ns: int) -> list[str]:
    after = [stamp for stamp in chat.token_ns if stamp > since_ns]
    last = f", the last one {_ms(after[-1] - since_ns)} after the stop" if after else ""
    return [
        f"  connection: {_state(chat, since_ns)}",
        f"  written after the stop: {_count(len(after))}{last}",
        f"  written before it: {len(chat.token_ns) - len(after)} of {_count(chat.planned_tokens)}",
        f"  received: {_relative(chat.received_ns, since_ns)}, id from the {chat.id_from or 'mock (none was sent)'}",
    ]


def _state(chat: Chat, since_ns: int) -> str:
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
