"""A driver of a target file: the route /plain of the fake service, by the standard library's HTTP client."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit


class Chat:
    """One chat; see bench.targets.driver."""

    def __init__(self, url: str, values: Mapping[str, Any]) -> None:
        self._netloc, self._id = urlsplit(url).netloc, values["id"]
        self._chat = http.client.HTTPConnection(self._netloc)

    def prepare(self) -> None:
        self._chat.connect()

    def start(self, text: str) -> None:
        self._chat.request("POST", "/plain", json.dumps({"message": text, "id": self._id}))

    def events(self) -> Iterator[Mapping[str, Any]]:
        answer = self._chat.getresponse()
        while data := answer.read1():
            yield {"text": data.decode()}

    def stop(self) -> None:
        other = http.client.HTTPConnection(self._netloc)
        other.request("POST", f"/stop/{self._id}")
        other.getresponse().read()
        other.close()

    def hang_up(self) -> None:
        self._chat.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._chat.close()
