"""The load: a Locust user that streams chats, presses Stop at planned moments, and stamps everything it sees.

`CHAT_LOAD` names a JSON file with the case (see bench/load.py). Every chat leaves one line in its `rows` file.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent import socket
from geventhttpclient.response import HTTPResponse
from locust import User, constant, events, task

CONFIG: dict[str, Any] = json.loads(Path(os.environ["CHAT_LOAD"]).read_text(encoding="utf-8"))
HOST, PORT = urlsplit(CONFIG["url"]).hostname, urlsplit(CONFIG["url"]).port
SILENCE_DEADLINE_S = CONFIG["silence_deadline_s"]
BLOCK_BYTES = 65536


class Answer(HTTPResponse):
    """geventhttpclient's parser, handing out server-sent events as they come; the pool around it reads in blocks."""

    def __init__(self, sock: Any) -> None:
        super().__init__(method="POST")
        self._sock = sock
        self.body = b""

    def _on_body(self, buf: bytearray) -> None:
        self.body += bytes(buf)

    def receive(self) -> int:
        """Wait for the next bytes and parse them; gives the moment they were here."""
        data = self._sock.recv(BLOCK_BYTES)
        now_ns = monotonic_ns()
        if not data:
            raise ConnectionError("the connection was closed in mid-answer")
        self.feed(data)
        return now_ns

    def events(self) -> Iterator[bytes]:
        """The complete events received so far, each once."""
        *complete, self.body = self.body.split(b"\n\n")
        for event in complete:
            if event.startswith(b"data: {"):
                yield event[len(b"data: ") :]


def connect() -> Any:
    """A fresh connection: each chat and each Stop comes from another tab, and may land on any worker."""
    sock = socket.create_connection((HOST, PORT), timeout=SILENCE_DEADLINE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def post(path: str, body: dict[str, Any]) -> bytes:
    """The bytes of a request, made before the moment it is sent."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def said(error: BaseException) -> str:
    """An error in a few words."""
    return f"{type(error).__name__}: {error}"


class Chat:
    """One chat and its Stop; `row` is what is written down."""

    def __init__(self, index: int) -> None:
        self.request_id = f"{CONFIG['id_prefix']}-{index}"
        self.client: dict[str, Any] = {
            "sent_ns": None, "status": None, "headers_ns": None, "token_ns": [],
            "end_ns": None, "finish_reason": None, "error": None,
        }  # fmt: skip
        after_ms = CONFIG["abort_after_ms"][index]
        self.abort: dict[str, Any] | None = None
        if after_ms is not None:
            self.abort = {"after_ms": after_ms, "sent_ns": None, "ack_ns": None, "status": None, "outcome": None,
                          "error": None}  # fmt: skip
        self.row = {"index": index, "request_id": self.request_id, "client": self.client, "abort": self.abort}
        self._left = False

    def run(self) -> None:
        """Stream the answer to its end, and wait until the Stop has been answered."""
        text = f"{CONFIG['marker']} [bench:{self.request_id}]"
        request = post(
            "/chat/",
            {
                "model": "mock",
                "messages": [{"role": "user", "content": text}],
                "stream": True,
                "request_id": self.request_id,
            },
        )
        stopper = None
        sock = None
        try:
            sock = connect()
            # Connected first, stamped, then sent: both clocks start when a request leaves, not when TCP begins.
            self.client["sent_ns"] = monotonic_ns()
            sock.sendall(request)
            if self.abort is not None:
                stopper = gevent.spawn_later(self.abort["after_ms"] / 1000, self._stop, sock)
            self._read(Answer(sock))
        except Exception as error:
            if not self._left:
                self.client["error"] = said(error)
        finally:
            self.client["end_ns"] = self.client["end_ns"] or monotonic_ns()
            if sock is not None:
                sock.close()
        if stopper is not None:
            stopper.join()

    def _read(self, answer: Answer) -> None:
        client = self.client
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
                    client["finish_reason"] = choice.get("finish_reason") or client["finish_reason"]

    def _stop(self, chat_sock: Any) -> None:
        abort = self.abort
        assert abort is not None  # noqa: S101 - spawned only then
        if CONFIG["disconnect"]:
            if self.client["finish_reason"] is not None:
                return  # the answer is over: nothing is left to hang up on, and `sent_ns` stays null
            self._left = True
            abort["sent_ns"] = self.client["end_ns"] = monotonic_ns()
            chat_sock.shutdown(socket.SHUT_RDWR)
            return
        request = post("/abort/", {"request_id": self.request_id})
        sock = None
        try:
            sock = connect()
            abort["sent_ns"] = monotonic_ns()
            sock.sendall(request)
            answer = Answer(sock)
            while not answer.message_complete:
                abort["ack_ns"] = answer.receive()
            abort["status"] = answer.status_code
            abort["outcome"] = json.loads(answer.body).get("status")
        except Exception as error:
            abort["error"] = said(error)
        finally:
            if sock is not None:
                sock.close()


indices = itertools.count()
done = itertools.count(1)
ramp = random.Random(CONFIG["seed"])
rows = Path(CONFIG["rows"]).open("w", buffering=1, encoding="utf-8")  # noqa: SIM115 - open as long as the process


def stop_collecting(**_: Any) -> None:
    """No garbage collection during the load: its pauses would pass for latency, and the process lives for seconds."""
    gc.collect()
    gc.freeze()
    gc.disable()


events.test_start.add_listener(stop_collecting)  # type: ignore[no-untyped-call]  # locust leaves it untyped


class Reader(User):
    """Chats one after the other, until the planned number is reached."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Begin somewhere in the ramp, so that streams do not walk in step."""
        gevent.sleep(ramp.uniform(0, CONFIG["ramp_ms"] / 1000))

    @task
    def chat(self) -> None:
        """One chat; whoever ends the last one ends the run."""
        index = next(indices)
        planned = len(CONFIG["abort_after_ms"])
        if index >= planned:
            gevent.sleep(3600)  # the others are still reading
        chat = Chat(index)
        chat.run()
        rows.write(json.dumps(chat.row) + "\n")
        self._report(chat)
        if next(done) == planned:
            gevent.spawn(self.environment.runner.quit)  # not from here: it waits until this user has ended

    def _report(self, chat: Chat) -> None:
        """Tell Locust, so that its own statistics work; milliseconds."""
        client, abort = chat.client, chat.abort
        if client["sent_ns"] is None:
            self._fire("POST", "/chat/", 0, None, client["error"])
            return
        took_ns = client["end_ns"] - client["sent_ns"]
        self._fire("POST", "/chat/", took_ns, client["status"], client["error"])
        if client["token_ns"]:
            self._fire("TTFT", "ttft", client["token_ns"][0] - client["sent_ns"], None, None)
        if abort is not None and abort["ack_ns"] is not None:
            self._fire("POST", "/abort/", abort["ack_ns"] - abort["sent_ns"], abort["status"], abort["error"])

    def _fire(self, kind: str, name: str, took_ns: int, status: int | None, error: str | None) -> None:
        failure = error or (f"HTTP {status}" if status is not None and status >= 500 else None)
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=took_ns / 1e6,
            response_length=0,
            exception=ConnectionError(failure) if failure else None,
            context={},
        )
