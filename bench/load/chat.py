"""One chat of the load and its Stop, with a stamp on everything the client can see (CLOCK_MONOTONIC ns)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any

import gevent
from gevent import socket

from bench.load.wire import Answer, connect, post, said

EARLY_NS = 20_000_000
"""Connections are made so long before their moment: the clock starts when the request leaves, not TCP."""
APART_NS = 1_000_000
PRESS_AGAIN_S = 0.2
"""A Stop that was not accepted (503) is pressed again after this, as people do."""


class Volley:
    """The Stops of a case that wait for their moment; who wakes first sends all that are due, one after the other.

    Else each of a storm's would have to be woken by itself, between the tokens of a hundred streams: the last would
    leave tens of ms late.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Any, bytes, list[int | Exception]]] = []

    def send(self, due_ns: int, sock: Any, request: bytes) -> int:
        """Send at this moment or right after it. Gives when it left, or raises what the socket raised."""
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


@dataclass(frozen=True)
class Order:
    """What the chats of one case have in common; see bench/load/driver.py, which writes it."""

    url: str
    path: str
    marker: str
    hangup: bool
    again_ms: float | None
    read_pause_ms: float
    read_bytes: int | None
    silence_deadline_s: float
    at_once: int = 1
    volley: Volley = field(default_factory=Volley)


class Chat:
    """One chat; `row` is what is written down when `run` has ended."""

    def __init__(self, order: Order, planned: dict[str, Any], due_ns: int | None) -> None:
        self._order = order
        self.request_id: str = planned["request_id"]
        self.client: dict[str, Any] = {
            "intended_ns": due_ns, "sent_ns": None, "status": None, "headers_ns": None, "token_ns": [],
            "end_ns": None, "finish_reason": None, "tokens_after_finish": 0, "error": None,
        }  # fmt: skip
        self.abort: dict[str, Any] | None = None
        if planned["abort_after_ms"] is not None:
            self.abort = {
                "after_ms": planned["abort_after_ms"], "intended_ns": None, "sent_ns": None, "tries": 0,
                "accepted_sent_ns": None, "ack_ns": None, "status": None, "outcome": None, "error": None, "again": None,
            }  # fmt: skip
        self.row = {
            "index": planned["index"],
            "request_id": self.request_id,
            "client": self.client,
            "abort": self.abort,
        }
        # A storm's connections would be in each other's way if they were all made at one instant, too.
        self._early_ns = EARLY_NS + planned["index"] % order.at_once * APART_NS
        self._ready: Any = None
        """A Stop's connection that is there already, when it leaves together with its chat."""
        self._left = False
        self._over = False

    def run(self) -> None:
        """Stream the answer to its end, and wait until the Stop has been answered."""
        order, client, abort = self._order, self.client, self.abort
        text = f"{order.marker} [bench:{self.request_id}]"
        body = {"model": "mock", "messages": [{"role": "user", "content": text}], "stream": True}
        if order.path == "/chat/":
            body["request_id"] = self.request_id
        request = post(order.url, order.path, body, self.request_id)
        stoppers: list[Any] = []
        sock = None
        try:
            if abort is not None and abort["after_ms"] == 0 and not order.hangup:
                self._ready = connect(order.url, order.silence_deadline_s)
            sock = connect(order.url, order.silence_deadline_s, order.read_bytes)
            _wait_until(client["intended_ns"] or 0)
            client["sent_ns"] = monotonic_ns()
            sock.sendall(request)
            if abort is not None:
                # In an open loop the finger does not wait for a request that left late; but "with it" is with it.
                base_ns = (abort["after_ms"] and client["intended_ns"]) or client["sent_ns"]
                abort["intended_ns"] = base_ns + int(abort["after_ms"] * 1e6)
                stoppers = [gevent.spawn(self._hang_up if order.hangup else self._stop, sock)]
                if order.again_ms is not None and not order.hangup:
                    stoppers.append(gevent.spawn(self._stop_again, abort["intended_ns"] + int(order.again_ms * 1e6)))
            self._read(Answer(sock, order.read_bytes or 65536))
        except Exception as error:
            if not self._left:
                client["error"] = said(error)
        finally:
            self._over = True
            client["end_ns"] = client["end_ns"] or monotonic_ns()
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
            client["end_ns"] = now_ns
            if client["status"] is None and answer.headers_complete:
                client["headers_ns"], client["status"] = now_ns, answer.status_code
            for event in answer.events():
                content = json.loads(event)
                if "error" in content:
                    client["error"] = f"error event: {content['error']}"
                for choice in content.get("choices", []):
                    if choice["delta"].get("content"):
                        client["token_ns"].append(now_ns)
                        client["tokens_after_finish"] += client["finish_reason"] == "abort"
                    client["finish_reason"] = choice.get("finish_reason") or client["finish_reason"]
            if pause_s:
                gevent.sleep(pause_s)

    def _hang_up(self, chat_sock: Any) -> None:
        abort = self.abort or {}
        _wait_until(abort["intended_ns"])
        if self.client["finish_reason"] is not None or self._over:
            return  # the answer is over: nothing is left to hang up on, and `sent_ns` stays null
        self._left = True
        abort["sent_ns"] = abort["accepted_sent_ns"] = self.client["end_ns"] = monotonic_ns()
        abort["tries"] = 1
        chat_sock.shutdown(socket.SHUT_RDWR)

    def _stop(self, _chat_sock: Any) -> None:
        abort = self.abort or {}
        due_ns = abort["intended_ns"]
        while True:
            sent_ns, answer = self._press(due_ns)
            abort["tries"] += 1
            abort["sent_ns"] = abort["sent_ns"] or sent_ns
            abort |= answer
            if abort["outcome"] == "remembered" or (abort["status"] is not None and abort["status"] < 300):
                abort["accepted_sent_ns"] = sent_ns
            if self._over or abort["status"] not in (None, 503):
                return
            due_ns = monotonic_ns() + int(PRESS_AGAIN_S * 1e9)

    def _stop_again(self, due_ns: int) -> None:
        sent_ns, answer = self._press(due_ns)
        if self.abort is not None:
            self.abort["again"] = {"sent_ns": sent_ns, **answer}

    def _press(self, due_ns: int) -> tuple[int, dict[str, Any]]:
        """One Stop at its moment: when it left, and what came back (`ack_ns`, `status`, `outcome`, `error`)."""
        order = self._order
        request = post(order.url, "/abort/", {"request_id": self.request_id}, self.request_id)
        heard: dict[str, Any] = {"ack_ns": None, "status": None, "outcome": None, "error": None}
        sent_ns = 0
        sock = None
        try:
            _wait_until(due_ns - self._early_ns)
            sock, self._ready = self._ready or connect(order.url, order.silence_deadline_s), None
            answer = Answer(sock)
            sent_ns = order.volley.send(due_ns, sock, request)
            while not answer.message_complete:
                heard["ack_ns"] = answer.receive()
            heard["status"] = answer.status_code
            content = json.loads(answer.body)
            heard["outcome"] = "remembered" if content.get("remembered_s") else content.get("status")
        except Exception as error:
            heard["error"] = said(error)
        finally:
            if sock is not None:
                sock.close()
        return sent_ns or monotonic_ns(), heard


def _wait_until(due_ns: int) -> None:
    left_ns = due_ns - monotonic_ns()
    if left_ns > 0:
        gevent.sleep(left_ns / 1e9)
