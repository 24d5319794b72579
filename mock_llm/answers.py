"""One answer on its way: writes its tokens when the pacer says so, and keeps its journal row."""

from abc import ABC, abstractmethod
from time import monotonic_ns
from typing import Protocol

from mock_llm.journal import Row
from mock_llm.pacing import Pacer
from mock_llm.settings import Fault
from mock_llm.sse import STREAM_HEAD, StreamBytes


class Wire(Protocol):
    """The connection as an answer sees it."""

    @property
    def held(self) -> bool:
        """Whether nothing may be written until resume()."""

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport."""

    def respond(self, status: int, body: bytes, headers: tuple[str, ...] = ()) -> None:
        """Write a whole JSON answer and be done."""

    def abort(self) -> None:
        """Drop the connection at once."""

    def answered(self) -> None:
        """Say that the answer's end was written."""


class Answer(ABC):
    """The life of one answer: paced writes until its end is written or its connection is lost."""

    def __init__(self, wire: Wire, pacer: Pacer, row: Row) -> None:
        self._wire = wire
        self._pacer = pacer
        self._row = row
        self._waits_ns: int | None = None  # the deadline that was due while the client did not read

    def fire(self) -> int | None:
        """Write what is due; return the next deadline, or None when there is none, nobody reads or nobody is left."""
        if self._wire.held:
            self._waits_ns = self._due_ns()
            return None
        return self._write()

    def resume(self) -> None:
        """Go on after the client has read again; what became due meanwhile is written now."""
        if self._waits_ns is not None:
            self._row.resumed_ns.append(monotonic_ns())
            self._pacer.at(self._waits_ns, self)
            self._waits_ns = None

    def lost(self, lost_ns: int) -> None:
        """Note when the transport saw the connection lost (CLOCK_MONOTONIC ns); nothing is written any more."""
        self._row.lost_ns = lost_ns

    @abstractmethod
    def start(self) -> None:
        """Send what goes out at once and wait for the first deadline."""

    @abstractmethod
    def _due_ns(self) -> int: ...

    @abstractmethod
    def _write(self) -> int | None: ...


class StreamedAnswer(Answer):
    """Headers at once, each token at its deadline, then the end."""

    def __init__(
        self, wire: Wire, pacer: Pacer, row: Row, *, source: StreamBytes, tokens: list[bytes], end: bytes, fault_at: int
    ) -> None:
        super().__init__(wire, pacer, row)
        self._source = source
        self._tokens = tokens
        self._end = end
        self._fault_at = fault_at

    def start(self) -> None:
        """Send the headers at once, as OpenAI does, and wait for the first token."""
        self._wire.write(STREAM_HEAD % (self._row.received_ns, self._row.id.encode("latin-1")))
        self._row.headers_ns = monotonic_ns()
        self._pacer.at(self._row.due_ns[0], self)

    def _due_ns(self) -> int:
        return self._row.due_ns[len(self._row.token_ns)]

    def _write(self) -> int | None:
        row, position = self._row, len(self._row.token_ns)
        if row.fault is not None and position == self._fault_at:
            if row.fault == Fault.CUT:
                self._wire.abort()
                return None
            if row.fault == Fault.BAD_JSON:
                self._wire.write(self._source.broken())
                self._fault_at = -1  # a client that stops reading here must not get it twice
        if position == len(self._tokens):
            self._wire.write(self._end)
            row.done_ns = monotonic_ns()
            self._wire.answered()
            return None
        token = self._tokens[position]
        self._wire.write(self._source.token(token) if position else self._source.first(token))
        row.token_ns.append(monotonic_ns())
        return row.due_ns[position + 1]


class WholeAnswer(Answer):
    """One JSON body when the last token is due."""

    def __init__(self, wire: Wire, pacer: Pacer, row: Row, body: bytes) -> None:
        super().__init__(wire, pacer, row)
        self._body = body

    def start(self) -> None:
        """Wait until all tokens would have been made; their deadline is the last one's."""
        self._row.due_ns = self._row.due_ns[-1:]
        self._pacer.at(self._row.due_ns[0], self)

    def _due_ns(self) -> int:
        return self._row.due_ns[0]

    def _write(self) -> int | None:
        row = self._row
        if row.fault == Fault.CUT:
            self._wire.abort()
            return None
        body = self._body[: len(self._body) // 2] if row.fault == Fault.BAD_JSON else self._body
        self._wire.respond(200, body, (f"x-request-id: {row.id}",))
        row.headers_ns = row.done_ns = monotonic_ns()
        row.token_ns.extend([row.done_ns] * row.planned_tokens)
        return None
