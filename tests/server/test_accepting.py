"""A worker accepts several connections in one iteration of its event loop."""

from server.process.bounded_server import ACCEPTS_PER_ITERATION, _copies
from server.process.listeners import open_listeners


def test_each_socket_gets_further_descriptors_of_the_same_queue() -> None:
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    copies = _copies([listener], ACCEPTS_PER_ITERATION)
    assert copies[0] is listener
    assert len({one.fileno() for one in copies}) == ACCEPTS_PER_ITERATION
    assert {one.getsockname() for one in copies} == {listener.getsockname()}
    for one in copies:
        one.close()
