"""One chat of the load and its abort, with a stamp on everything the client can see (CLOCK_MONOTONIC ns)."""

from __future__ import annotations

import json
from time import monotonic_ns
from typing import Any

import gevent
from gevent import socket

from bench.load.order import Order, OrderedChat
from bench.load.wire import Answer, connect, error_text, post
from bench.record.schema import AbortAnswer, AbortSide, ClientSide, LoadRow, SecondAbort

EARLY_NS = 20_000_000
"""Connections are made this long ahead: the clock starts when the request leaves, not with TCP's handshake."""
APART_NS = 1_000_000
RETRY_S = 0.2
"""An abort that was not accepted (503) is sent again after this time."""


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
    """One chat; `row` is complete when `run` has ended. `due_ns` is None in a closed loop."""

    def __init__(self, order: Order, planned: OrderedChat, due_ns: int | None, volley: Volley) -> None:
        self._order = order
        self._volley = volley
        self.request_id = planned.request_id
        self.client = ClientSide(intended_ns=due_ns, token_ns=[])
        self.abort = None if planned.abort_after_ms is None else AbortSide(after_ms=planned.abort_after_ms, tries=0)
        self.row = LoadRow(index=planned.index, request_id=self.request_id, client=self.client, abort=self.abort)
        # The connections of a storm would delay each other if they were all made at one instant.
        self._early_ns = EARLY_NS + planned.index % order.at_once * APART_NS
        self._ready: Any = None
        """The connection of an abort that is sent together with its chat."""
        self._left = False
        self._over = False

    def run(self) -> None:
        """Read the answer to its end, and wait until the abort has been answered."""
        order, client, abort = self._order, self.client, self.abort
        text = f"{order.marker} [bench:{self.request_id}]"
        body = {"model": "mock", "messages": [{"role": "user", "content": text}], "stream": True}
        if order.path == "/chat/":
            body["request_id"] = self.request_id
        request = post(order.url, order.path, body, self.request_id)
        stoppers: list[Any] = []
        sock = None
        try:
            if abort is not None and abort.after_ms == 0 and not order.hangup:
                self._ready = connect(order.url, order.silence_deadline_s)
            sock = connect(order.url, order.silence_deadline_s, order.read_bytes)
            _wait_until(client.intended_ns or 0)
            client.sent_ns = monotonic_ns()
            sock.sendall(request)
            if abort is not None:
                # In an open loop an abort does not wait for a request that left late, unless it is sent with it.
                base_ns = (abort.after_ms and client.intended_ns) or client.sent_ns
                due_ns = abort.intended_ns = base_ns + int(abort.after_ms * 1e6)
                act = self._hang_up if order.hangup else self._stop
                stoppers = [gevent.spawn(act, abort, due_ns, sock)]
                if order.again_ms is not None and not order.hangup:
                    stoppers.append(gevent.spawn(self._stop_again, abort, due_ns + int(order.again_ms * 1e6)))
            self._read(Answer(sock, order.read_bytes or 65536))
        except Exception as error:
            if not self._left:
                client.error = error_text(error)
        finally:
            self._over = True
            client.end_ns = client.end_ns or monotonic_ns()
            for each in (sock, None if stoppers else self._ready):
                if each is not None:
                    each.close()
        gevent.joinall(stoppers)

    def _read(self, answer: Answer) -> None:
        client, pause_s = self.client, self._order.read_pause_ms / 1000
        while not answer.message_complete:
            now_ns = answer.receive()
            if self._left:
                return
            client.end_ns = now_ns
            if client.status is None and answer.headers_complete:
                client.headers_ns, client.status = now_ns, answer.status_code
            for event in answer.events():
                content = json.loads(event)
                if "error" in content:
                    client.error = f"error event: {content['error']}"
                for choice in content.get("choices", []):
                    if choice["delta"].get("content"):
                        client.token_ns.append(now_ns)
                        client.tokens_after_finish += client.finish_reason == "abort"
                    client.finish_reason = choice.get("finish_reason") or client.finish_reason
            if pause_s:
                gevent.sleep(pause_s)

    def _hang_up(self, abort: AbortSide, due_ns: int, chat_sock: Any) -> None:
        _wait_until(due_ns)
        if self.client.finish_reason is not None or self._over:
            return  # the answer has ended, and `sent_ns` stays null
        self._left = True
        abort.sent_ns = abort.accepted_sent_ns = self.client.end_ns = monotonic_ns()
        abort.tries = 1
        chat_sock.shutdown(socket.SHUT_RDWR)

    def _stop(self, abort: AbortSide, due_ns: int, _chat_sock: Any) -> None:
        while True:
            sent_ns, answer = self._request_abort(due_ns)
            abort.tries = (abort.tries or 0) + 1
            abort.sent_ns = abort.sent_ns or sent_ns
            abort.ack_ns, abort.status, abort.outcome, abort.error = (
                answer.ack_ns, answer.status, answer.outcome, answer.error,
            )  # fmt: skip
            if answer.outcome == "remembered" or (answer.status is not None and answer.status < 300):
                abort.accepted_sent_ns = sent_ns
            if self._over or answer.status not in (None, 503):
                return
            due_ns = monotonic_ns() + int(RETRY_S * 1e9)

    def _stop_again(self, abort: AbortSide, due_ns: int) -> None:
        sent_ns, answer = self._request_abort(due_ns)
        abort.again = SecondAbort(
            sent_ns=sent_ns, ack_ns=answer.ack_ns, status=answer.status, outcome=answer.outcome, error=answer.error
        )

    def _request_abort(self, due_ns: int) -> tuple[int, AbortAnswer]:
        """Send one abort request at its moment. Returns when it left, and its answer."""
        order = self._order
        request = post(order.url, "/abort/", {"request_id": self.request_id}, self.request_id)
        received = AbortAnswer()
        sent_ns = 0
        sock = None
        try:
            _wait_until(due_ns - self._early_ns)
            sock, self._ready = self._ready or connect(order.url, order.silence_deadline_s), None
            answer = Answer(sock)
            sent_ns = self._volley.send(due_ns, sock, request)
            while not answer.message_complete:
                received.ack_ns = answer.receive()
            received.status = answer.status_code
            content = json.loads(answer.body)
            received.outcome = "remembered" if content.get("remembered_s") else content.get("status")
        except Exception as error:
            received.error = error_text(error)
        finally:
            if sock is not None:
                sock.close()
        return sent_ns or monotonic_ns(), received


def _wait_until(due_ns: int) -> None:
    left_ns = due_ns - monotonic_ns()
    if left_ns > 0:
        gevent.sleep(left_ns / 1e9)
