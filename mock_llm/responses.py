"""Responses in progress: write tokens at their deadlines and record them in the journal row."""

from abc import ABC, abstractmethod
from time import monotonic_ns
from typing import Protocol

from mock_llm.journal import Row
from mock_llm.pacing import Pacer
from mock_llm.settings import Fault
from mock_llm.sse import STREAM_HEAD, Encoder


class ResponseWriter(Protocol):
    """The part of a connection that a response uses."""

    @property
    def blocked(self) -> bool:
        """Whether writing must wait for resume()."""

    def write(self, data: bytes) -> None:
        """Write bytes to the transport."""

    def respond(self, status: int, body: bytes, headers: tuple[str, ...] = ()) -> None:
        """Write and finish a JSON response."""

    def abort(self) -> None:
        """Abort the connection."""

    def finish(self) -> None:
        """Called after the end of the response was written."""


class Response(ABC):
    """One response: paced writes until its end is written or the connection is lost."""

    def __init__(self, writer: ResponseWriter, pacer: Pacer, row: Row) -> None:
        self._writer = writer
        self._pacer = pacer
        self._row = row
        self._blocked_ns: int | None = None  # the deadline that passed while the client was not reading

    def fire(self) -> int | None:
        """Write what is due; return the next deadline, None if there is none or the connection is blocked."""
        if self._writer.blocked:
            self._blocked_ns = self._due_ns()
            return None
        return self._write()

    def resume(self) -> None:
        """Continue after the client has read again; write what became due meanwhile."""
        if self._blocked_ns is not None:
            self._row.resumed_ns.append(monotonic_ns())
            self._pacer.at(self._blocked_ns, self)
            self._blocked_ns = None

    def on_lost(self, lost_ns: int) -> None:
        """Record when the transport reported the connection lost (CLOCK_MONOTONIC ns)."""
        self._row.lost_ns = lost_ns

    @abstractmethod
    def start(self) -> None:
        """Write what is sent immediately and schedule the first deadline."""

    @abstractmethod
    def _due_ns(self) -> int: ...

    @abstractmethod
    def _write(self) -> int | None: ...


class StreamedResponse(Response):
    """Headers at `headers_due_ns`, each token at its deadline, then the end."""

    def __init__(
        self,
        writer: ResponseWriter,
        pacer: Pacer,
        row: Row,
        *,
        source: Encoder,
        tokens: list[bytes],
        reason: str,
        headers_due_ns: int,
        fault_at: int,
    ) -> None:
        super().__init__(writer, pacer, row)
        self._source = source
        self._tokens = tokens
        self._reason = reason
        self._headers_due_ns = headers_due_ns
        self._fault_at = fault_at

    def start(self) -> None:
        """Send the headers immediately, as OpenAI does, unless they are to be late."""
        is_late = self._headers_due_ns > self._row.received_ns
        self._pacer.at(self._headers_due_ns if is_late else self._write_headers(), self)

    def _write_headers(self) -> int:
        self._writer.write(STREAM_HEAD % (self._row.received_ns, self._row.id.encode("latin-1")) + self._source.opening)
        self._row.headers_ns = monotonic_ns()
        return self._row.due_ns[0]

    def _due_ns(self) -> int:
        return self._headers_due_ns if self._row.headers_ns is None else self._row.due_ns[len(self._row.token_ns)]

    def _write(self) -> int | None:
        row, position = self._row, len(self._row.token_ns)
        if row.headers_ns is None:
            return self._write_headers()
        if row.fault is not None and position == self._fault_at:
            if row.fault == Fault.CUT:
                self._writer.abort()
                return None
            if row.fault == Fault.BAD_JSON:
                self._writer.write(self._source.broken())
                self._fault_at = -1  # send it once, even if writing blocks here
        if position == len(self._tokens):
            self._writer.write(self._source.end(self._tokens, self._reason))
            row.done_ns = monotonic_ns()
            self._writer.finish()
            return None
        token = self._tokens[position]
        self._writer.write(self._source.token(token) if position else self._source.first(token))
        row.token_ns.append(monotonic_ns())
        return row.due_ns[position + 1]


class NoConnection:
    """The writer of a background response whose client has left, or did not ask for a stream."""

    blocked = False

    def write(self, data: bytes) -> None:
        """Discard."""

    def respond(self, status: int, body: bytes, headers: tuple[str, ...] = ()) -> None:
        """Discard."""

    def abort(self) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class BackgroundResponse(StreamedResponse):
    """Continues without its connection, until it is cancelled."""

    def on_lost(self, lost_ns: int) -> None:
        """Record the loss and continue."""
        super().on_lost(lost_ns)
        self._writer = NoConnection()
        self.resume()

    def fire(self) -> int | None:
        """Write what is due, unless cancelled."""
        return None if self._row.cancelled_ns is not None else super().fire()

    def cancel(self) -> None:
        """End the stream; like OpenAI's, it has no event for that. Without effect on a finished one."""
        if self._row.outcome != "open":
            return
        if self._row.headers_ns is None:
            self._write_headers()
        self._row.cancelled_ns = monotonic_ns()
        self._writer.write(b"0\r\n\r\n")
        self._writer.finish()


class WholeResponse(Response):
    """Headers and one JSON body together, when the last token is due."""

    def __init__(self, writer: ResponseWriter, pacer: Pacer, row: Row, body: bytes) -> None:
        super().__init__(writer, pacer, row)
        self._body = body

    def start(self) -> None:
        """Schedule the deadline of the last token for all tokens."""
        self._row.due_ns = self._row.due_ns[-1:]
        self._pacer.at(self._row.due_ns[0], self)

    def _due_ns(self) -> int:
        return self._row.due_ns[0]

    def _write(self) -> int | None:
        row = self._row
        if row.fault == Fault.CUT:
            self._writer.abort()
            return None
        body = self._body[: len(self._body) // 2] if row.fault == Fault.BAD_JSON else self._body
        self._writer.respond(200, body, (f"x-request-id: {row.id}",))
        row.headers_ns = row.done_ns = monotonic_ns()
        row.token_ns.extend([row.done_ns] * row.planned_tokens)
        return None
