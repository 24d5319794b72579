"""One conversation with a target over HTTP: prepare, start, read events, find ids; and the requests of its stop."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any
from urllib.parse import quote, urlsplit

import gevent
from gevent import socket
from gevent.event import Event

from bench.load.order import Order
from bench.load.script import Script
from bench.load.wire import BLOCK_BYTES, Answer, connect
from bench.targets.requests import Encoder, document_of

RECEIVED_S = 20.0


class Talk(ABC):
    """A conversation: `status`, `headers_ns` and `last_ns` (last bytes) are of the answer so far.

    `refusal`, in checks: an answer with an error status, which has no events.

    `has_ids` is set once all ids of the chat are known.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers_ns: int | None = None
        self.last_ns: int | None = None
        self.refusal: str | None = None
        self.has_ids = Event()

    @abstractmethod
    def prepare(self) -> None:
        """Do all that is not to be measured."""

    @abstractmethod
    def send(self) -> int:
        """Start the chat. Returns when that was sent."""

    @abstractmethod
    def events(self) -> Iterator[tuple[int, Any]]:
        """Each event with the moment it was received."""

    @abstractmethod
    def hang_up(self) -> None:
        """Close the connection as a client that leaves."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held."""

    def stop(self) -> None:
        """Stop without a request of the target file: drivers only."""
        raise NotImplementedError

    def stop_request(self, within_s: float) -> bytes:
        """The request that stops the chat, once its ids are known: HTTP only."""
        raise NotImplementedError

    def state(self) -> str:
        """The state of the chat, by the target's [stop.*.state]: HTTP only."""
        raise NotImplementedError

    def invent_ids(self) -> None:
        """Ids that never existed, for a stop without a chat: HTTP only."""
        raise NotImplementedError


class HttpTalk(Talk):
    """A conversation over HTTP. Raises OSError, and RenderError where a template has no value."""

    def __init__(self, order: Order, script: Script, values: dict[str, Any]) -> None:
        super().__init__()
        self._order, self._script, self.values = order, script, values
        self.netloc = urlsplit(order.url).netloc
        self._sock: Any = None
        self._left = False
        if not script.ids:
            self.has_ids.set()

    def prepare(self) -> None:
        """Make the requests of [prepare.*], open the connection and encode the start."""
        for name, (encoder, finder) in self._script.prepare.items():
            answer, _sent_ns, _ack_ns = self.exchange(encoder)
            if not 200 <= answer.status_code < 300:
                raise ConnectionError(f"prepare.{name} was answered with HTTP {answer.status_code}")
            if finder:
                found = finder.in_headers(answer.get) or finder.in_document(document_of(answer.body))
                self.values["prepare"][name] = found
        assert self._script.start is not None  # noqa: S101 - a target without one has a driver
        self._request = self._script.start.encode(self.netloc, self.values)
        self._sock = connect(self._order.url, self._order.silence_deadline_s, self._order.read_bytes)

    def send(self) -> int:
        """Send the start."""
        sent_ns = monotonic_ns()
        self._sock.sendall(self._request)
        return sent_ns

    def events(self) -> Iterator[tuple[int, Any]]:
        """Events of the start's answer, or of the second request; empty without a stream."""
        hidden = self._script.second is not None or self._script.framing == "none"  # the answer has only ids
        for now_ns, event in self._read(self._sock, "whole" if hidden else self._framing()):
            if not hidden:
                yield now_ns, event
        if self._script.second is not None and not self._left and self.status is not None and self.status < 300:
            self._sock.close()
            self._sock = connect(self._order.url, self._order.silence_deadline_s, self._order.read_bytes)
            self._sock.sendall(self._script.second.encode(self.netloc, self.values))
            yield from self._read(self._sock, self._script.framing)

    def _framing(self) -> str:
        return self._script.framing if self.values["stream"] else "whole"

    def _read(self, sock: Any, framing: str) -> Iterator[tuple[int, Any]]:
        pause_s = self._order.read_pause_ms / 1000
        answer = Answer(sock, self._order.read_bytes or BLOCK_BYTES, framing)
        while not answer.message_complete:
            now_ns = answer.receive()
            if self._left:
                return
            self.last_ns = now_ns
            if self.status is None and answer.headers_complete:
                self.headers_ns, self.status = now_ns, answer.status_code
                self._find(answer, None)
            if self._order.keep_text and answer.headers_complete and answer.status_code >= 400:
                self.refusal = f"HTTP {answer.status_code} {answer.body[:200].decode(errors='replace')}"
                continue
            for event in answer.events():
                if not self.has_ids.is_set():
                    self._find(answer, event)
                yield now_ns, event
            if pause_s:
                gevent.sleep(pause_s)

    def _find(self, answer: Answer, document: Any) -> None:
        ids = self.values["ids"]
        for name, finder in self._script.ids.items():
            found = finder.in_headers(answer.get) if document is None else finder.in_document(document)
            if found is not None:
                ids.setdefault(name, found)
        if len(ids) == len(self._script.ids):
            self.has_ids.set()

    def stop_request(self, within_s: float) -> bytes:
        """The request that stops the chat, once its ids are known. Raises ConnectionError when the answer has none."""
        self.has_ids.wait(within_s)
        if len(self.values["ids"]) < len(self._script.ids):
            raise ConnectionError("the answer of the chat held no id to stop it by")
        assert self._script.stop is not None  # noqa: S101 - of kind request
        return self._script.stop.encode(self.netloc, self.values)

    def invent_ids(self) -> None:
        """Ids that never existed, for a stop without a chat."""
        self.values["ids"] = {name: str(uuid.uuid4()) for name in self._script.ids}
        self.has_ids.set()

    def exchange(self, encoder: Encoder, sock: Any = None) -> tuple[Answer, int, int]:
        """Send a request and read its whole answer. Returns it, when it was sent, and when its last byte arrived."""
        request = encoder.encode(self.netloc, self.values)
        sock = sock or connect(self._order.url, self._order.silence_deadline_s)
        try:
            answer, ack_ns = Answer(sock, framing="none"), 0
            sent_ns = monotonic_ns()
            sock.sendall(request)
            while not answer.message_complete:
                ack_ns = answer.receive()
            return answer, sent_ns, ack_ns
        finally:
            sock.close()

    def hang_up(self) -> None:
        """Close the connection in both directions."""
        self._left = True
        self._sock.shutdown(socket.SHUT_RDWR)

    def state(self) -> str:
        """Ask for the state of the chat."""
        assert self._script.state_request is not None  # noqa: S101 - of a target that has one
        answer, _sent_ns, _ack_ns = self.exchange(self._script.state_request)
        return str(self._script.state_value(document_of(answer.body)))

    def close(self) -> None:
        """Close the connection; ids that have not arrived never will."""
        self.has_ids.set()
        if self._sock is not None:
            self._sock.close()


def received_ns(witness: str, request_id: str) -> int:
    """Wait until the mock has received the chat's request. Returns when. Raises TimeoutError after RECEIVED_S.

    A product may queue a chat before it asks its upstream; a stop planned from the client's request would then hit
    before there is anything to stop.
    """
    deadline_ns = monotonic_ns() + int(RECEIVED_S * 1e9)
    request = f"GET /__mock/journal?id={quote(request_id, safe='')} HTTP/1.1\r\nHost: mock\r\nConnection: close\r\n\r\n"
    while monotonic_ns() < deadline_ns:
        sock = connect(witness, RECEIVED_S)
        try:
            answer = Answer(sock, framing="none")
            sock.sendall(request.encode())
            while not answer.message_complete:
                answer.receive()
        finally:
            sock.close()
        if rows := document_of(answer.body)["rows"]:
            return int(rows[0]["received_ns"])
        gevent.sleep(0.05)
    raise TimeoutError(f"the chat did not reach the upstream within {RECEIVED_S:g} s")
