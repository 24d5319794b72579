"""Measure the offset of this process's clock: a burst of two-way exchanges with the witness."""

from time import monotonic_ns
from urllib.parse import urlsplit

import gevent

from bench.load.fleet.clock import Exchange, reading_of
from bench.load.wire import Answer, connect
from bench.record.traces import ClockReading
from bench.targets.requests import document_of

EXCHANGES = 100
APART_S = 0.001
TIMEOUT_S = 5.0


def read_clock(witness: str) -> ClockReading:
    """Exchange stamps with the mock at this URL. Raises OSError where it cannot be reached.

    `/__mock/clock` is stamped when its bytes are read from the socket. A burst takes 0.15 s on a LAN.
    """
    request = f"GET /__mock/clock HTTP/1.1\r\nHost: {urlsplit(witness).netloc}\r\n\r\n".encode()
    sock = connect(witness, TIMEOUT_S)
    try:
        exchanges = []
        for _ in range(EXCHANGES):
            answer = Answer(sock, framing="none")
            sent_ns = monotonic_ns()
            sock.sendall(request)
            answered_ns = 0
            while not answer.message_complete:
                answered_ns = answer.receive()
            found = document_of(answer.body)
            exchanges.append(Exchange(sent_ns, found["received_ns"], found["monotonic_ns"], answered_ns))
            gevent.sleep(APART_S)
        return reading_of(exchanges)
    finally:
        sock.close()
