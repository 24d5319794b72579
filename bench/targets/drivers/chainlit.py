"""Chainlit's protocol: one socket.io connection for each chat."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from queue import Empty, Queue
from typing import Any

import socketio

SILENCE_S = 60.0


class Chat:
    """One chat; see bench.targets.driver. An event is `{"event": its name, "data": its argument}`."""

    def __init__(self, url: str, values: Mapping[str, Any]) -> None:
        self._url = url
        self._stream = values["stream"]
        self._received: Queue[dict[str, Any] | None] = Queue()
        self._client = socketio.Client(reconnection=False, handle_sigint=False)
        self._client.on("*", lambda name, data=None: self._received.put({"event": name, "data": data}))
        self._client.on("disconnect", lambda *_reason: self._received.put(None))

    def prepare(self) -> None:
        """Connect, and wait until the server has opened a session."""
        session = {"sessionId": str(uuid.uuid4()), "clientType": "webapp", "userEnv": "{}"}
        self._client.connect(
            self._url, socketio_path="/ws/socket.io", transports=["websocket"], auth=session, wait_timeout=SILENCE_S
        )
        self._client.emit("connection_successful")
        for event in self.events():
            if event["event"] == "task_end":  # the start of the session is a task, too
                return
        raise ConnectionError("Chainlit closed the connection before it opened a session")

    def start(self, text: str) -> None:
        """Send the message."""
        message = {
            "id": str(uuid.uuid4()), "threadId": "", "name": "User", "type": "user_message", "output": text,
            "createdAt": "2026-01-01T00:00:00Z", "metadata": {"stream": self._stream},
        }  # fmt: skip
        self._client.emit("client_message", {"message": message, "fileReferences": []})

    def events(self) -> Iterator[dict[str, Any]]:
        """Events of the server until the connection is closed. Raises TimeoutError after a silence of SILENCE_S."""
        while True:
            try:
                event = self._received.get(timeout=SILENCE_S)
            except Empty:
                raise TimeoutError(f"no event for {SILENCE_S:g} s") from None
            if event is None:
                return
            yield event

    def stop(self) -> None:
        """Press the Stop button; the server does not acknowledge it."""
        self._client.emit("stop")

    def hang_up(self) -> None:
        """Close the connection."""
        self._client.disconnect()

    def close(self) -> None:
        """Close the connection, if it is open."""
        self._client.disconnect()
