"""A worker accepts several connections in one iteration of its event loop."""

import socket

import pytest
import uvicorn

from server.process import bounded_server
from server.process.bounded_server import ACCEPTS_PER_ITERATION, BoundedServer
from server.process.listeners import open_listeners


async def test_libuv_gets_further_descriptors_of_the_same_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[socket.socket] = []

    async def startup(_self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        given.extend(sockets)

    monkeypatch.setattr(bounded_server, "PLENTIFUL_LIMIT", 0)
    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    await BoundedServer(uvicorn.Config("unused")).startup([listener])
    assert given[0] is listener
    assert len({one.fileno() for one in given}) == ACCEPTS_PER_ITERATION
    assert {one.getsockname() for one in given} == {listener.getsockname()}
    for one in given:
        one.close()
