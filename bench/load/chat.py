"""One chat of the load and its abort, with a stamp on everything the client can see (CLOCK_MONOTONIC ns)."""

from time import monotonic_ns
from typing import Any

import gevent
from gevent.event import Event

from bench.load.driver_talk import talk_of
from bench.load.order import Order, OrderedChat
from bench.load.script import Received, Script, new_values
from bench.load.talk import received_ns
from bench.load.wire import Answer, connect, error_text
from bench.record.schema import AbortSide, ClientSide, LoadRow, SecondAbort, StateSeen
from bench.targets.model import HANGUP
from bench.targets.requests import document_of

EARLY_NS = 20_000_000
"""Connections are made this long ahead: the clock starts when the request leaves, not with TCP's handshake."""
APART_NS = 1_000_000
RETRY_S = 0.2
"""Delay before an abort is sent again, for targets whose stop has a `retry` expression."""
MOST_TRIES = 100
KEPT_TEXT = 30_000
ABORT = "abort"
"""The finish reason of a stopped answer in the record."""


class Volley:
    """The aborts of a case that wait for their moment; the first greenlet that wakes sends all that are due.

    Otherwise each abort of a storm would have to be woken between the tokens of a hundred streams, and the last would
    leave tens of ms late.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Any, bytes, list[int | Exception]]] = []

    def send(self, due_ns: int, sock: Any, request: bytes) -> int:
        """Send at this moment or right after it. Returns when it left, or raises what the socket raised."""
        left: list[int | Exception] = []
        self._waiting.append((due_ns, sock, request, left))
        _wait_until(due_ns)
        if not left:
            now_ns = monotonic_ns()
            due = [each for each in self._waiting if each[0] <= now_ns]
            self._waiting = [each for each in self._waiting if each[0] > now_ns]
            for _due_ns, its_sock, its_request, its_left in due:
                its_left.append(monotonic_ns())
                try:
                    its_sock.sendall(its_request)  # a few hundred bytes on a new connection: this does not wait
                except OSError as error:
                    its_left[0] = error
        if isinstance(left[0], Exception):
            raise left[0]
        return left[0]


class Chat:
    """One chat; `row` is complete when `run` has ended. `due_ns` is None in a closed loop.

    `freed` is set when the next chat of its reader may start.
    """

    def __init__(self, order: Order, script: Script, planned: OrderedChat, due_ns: int | None, volley: Volley) -> None:
        self._order = order = order.of(planned)
        self._volley = volley
        self._script = script
        self.request_id = planned.request_id
        self.client = ClientSide(intended_ns=due_ns, token_ns=[])
        self.abort = None if planned.abort_after_ms is None else AbortSide(after_ms=planned.abort_after_ms, tries=0)
        self.row = LoadRow(index=planned.index, request_id=self.request_id, client=self.client, abort=self.abort)
        self.freed = Event()
        stream = order.stream if planned.stream is None else planned.stream
        values = new_values(order, self.request_id, planned.marker or order.marker, stream=stream)
        self._talk = talk_of(order, self._script, values)
        # The connections of a storm would delay each other if they were all made at one instant.
        self._early_ns = EARLY_NS + planned.index % order.at_once * APART_NS
        self._again_ms = order.again_ms if planned.again else None
        self._unknown = planned.unknown
        self._ready: Any = None
        """The connection of an abort that is sent together with its chat."""
        self._left = False
        self._over = False

    def run(self) -> None:
        """Read the answer to its end, and wait until the abort has been answered."""
        order, client, abort, talk = self._order, self.client, self.abort, self._talk
        stoppers: list[Any] = []
        try:
            if abort is not None and abort.after_ms == 0 and self._script.stop:
                self._ready = connect(order.url, order.silence_deadline_s)
            talk.prepare()
            if self._unknown and abort is not None:
                talk.invent_ids()
                self._stop(abort, 0)
            else:
                _wait_until(client.intended_ns or 0)
                client.sent_ns = talk.send()
                if abort is not None:
                    stoppers = [gevent.spawn(self._abort, abort)]
                self._read()
                if abort is None and order.witness is not None and self._script.framing == "none":
                    received_ns(order.witness, self.request_id)  # its client has no answer that shows when it began
        except Exception as error:
            if not self._left:
                client.error = error_text(error)
        finally:
            self._over = self._script.framing != "none" or client.error is not None or abort is None
            client.status, client.headers_ns = talk.status, talk.headers_ns
            client.text = talk.refusal or client.text
            client.end_ns = client.end_ns or talk.last_ns or monotonic_ns()
            talk.close()
            if self._ready is not None and not stoppers:
                self._ready.close()
        gevent.joinall(stoppers)
        self.freed.set()

    def _read(self) -> None:
        client, talk, keeps = self.client, self._talk, self._order.keep_text
        script = self._script
        token, reason, ended, aborted, error = script.token, script.reason, script.ended, script.aborted, script.error
        for now_ns, event in talk.events():
            if keeps and len(client.text or "") < KEPT_TEXT:
                client.text = f"{client.text or ''}{event}{script.separator}"[:KEPT_TEXT]
            if token is None or token(event):
                client.token_ns.append(now_ns)
                client.tokens_after_finish += client.finish_reason == ABORT
            if error and (failure := error(event)):
                client.error = f"error event: {failure}"
            if reason and (found := reason(event)):
                client.finish_reason = found
            if aborted and aborted(event):
                client.finish_reason = ABORT
            if ended and ended(event):
                break
        if not self._left:
            client.end_ns = talk.last_ns

    def _abort(self, abort: AbortSide) -> None:
        """Send the abort at its moment, and the second one."""
        order, client = self._order, self.client
        try:
            # In an open loop an abort does not wait for a request that left late, unless it is sent with it.
            base_ns = (abort.after_ms and client.intended_ns) or client.sent_ns or 0
            if order.witness is not None:
                base_ns = received_ns(order.witness, self.request_id) - order.clock_offset_ns
            due_ns = abort.intended_ns = base_ns + int(abort.after_ms * 1e6)
            if self._script.kind == "request":
                again_ns = due_ns + int((self._again_ms or 0) * 1e6)
                again = gevent.spawn(self._stop_again, abort, again_ns) if self._again_ms is not None else None
                self._stop(abort, due_ns)
                self._free()
                self._check_state(abort)
                if again:
                    again.join()
            else:
                self._act(abort, due_ns)
        except Exception as error:
            abort.error = error_text(error)
        finally:
            self._free()

    def _free(self) -> None:
        if self._order.frees_early:
            self.freed.set()

    def _act(self, abort: AbortSide, due_ns: int) -> None:
        """Stop without a request: close the connection, or let the driver stop."""
        _wait_until(due_ns)
        if self.client.finish_reason is not None or self._over:
            return  # the answer has ended, and `sent_ns` stays null
        hangs_up = self._script.kind == HANGUP
        self._left = hangs_up
        abort.sent_ns = abort.accepted_sent_ns = monotonic_ns()
        abort.tries = 1
        if hangs_up:
            self.client.end_ns = abort.sent_ns
            self._talk.hang_up()
        else:
            self._talk.stop()

    def _stop(self, abort: AbortSide, due_ns: int) -> None:
        while True:
            sent_ns, answer = self._request_abort(due_ns)
            abort.tries = (abort.tries or 0) + 1
            abort.sent_ns = abort.sent_ns or sent_ns
            abort.ack_ns, abort.status, abort.outcome, abort.error = (
                answer.ack_ns, answer.status, answer.outcome, answer.error,
            )  # fmt: skip
            if answer.accepted:
                abort.accepted_sent_ns = sent_ns
            if self._over or not answer.retry or abort.tries >= MOST_TRIES:
                return
            due_ns = monotonic_ns() + int(RETRY_S * 1e9)

    def _stop_again(self, abort: AbortSide, due_ns: int) -> None:
        sent_ns, answer = self._request_abort(due_ns)
        abort.again = SecondAbort(
            sent_ns=sent_ns, ack_ns=answer.ack_ns, status=answer.status, outcome=answer.outcome, error=answer.error
        )

    def _request_abort(self, due_ns: int) -> tuple[int, Received]:
        """Send one abort request at its moment. Returns when it left, and its answer."""
        order, script, talk = self._order, self._script, self._talk
        received = Received()
        sent_ns = 0
        sock = None
        try:
            _wait_until(due_ns - self._early_ns)
            request = talk.stop_request(order.silence_deadline_s)
            sock, self._ready = self._ready or connect(order.url, order.silence_deadline_s), None
            answer = Answer(sock, framing="none")
            sent_ns = self._volley.send(due_ns, sock, request)
            while not answer.message_complete:
                received.ack_ns = answer.receive()
            received.read(script, answer.status_code, document_of(answer.body))
        except Exception as error:
            received.error = error_text(error)
            received.retry = script.retry_on_error
        finally:
            if sock is not None:
                sock.close()
        return sent_ns or monotonic_ns(), received

    def _check_state(self, abort: AbortSide) -> None:
        """Look later whether an accepted stop stayed stopped."""
        state = self._script.state
        if state is None or abort.accepted_sent_ns is None:
            return
        abort.states = []
        for after_s in state.after_s:
            _wait_until(abort.accepted_sent_ns + int(after_s * 1e9))
            value = self._talk.state()
            abort.states.append(StateSeen(at_ns=monotonic_ns(), state=value, honest=value in state.honest))


def _wait_until(due_ns: int) -> None:
    left_ns = due_ns - monotonic_ns()
    if left_ns > 0:
        gevent.sleep(left_ns / 1e9)
