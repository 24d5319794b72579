"""The worker of a fleet: executes orders of the master, keeps the rows on disk, and ships them after each case."""

import sys
from itertools import count
from pathlib import Path
from time import monotonic_ns
from typing import Any
from urllib.parse import urlsplit

import gevent
import msgspec
from gevent.queue import Queue
from locust.exception import RPCError, RPCSendError
from locust.runners import WorkerRunner

from bench.load.execute import execute
from bench.load.fleet.clock import Exchange, reading_of
from bench.load.fleet.protocol import Hello, Welcome, hello
from bench.load.fleet.shipping import PARCEL, RECEIPT, Channel, ship
from bench.load.order import Order
from bench.load.script import script_of
from bench.load.wire import Answer, connect, error_text
from bench.record.base import encode_line
from bench.record.traces import ClockReading
from bench.targets.requests import document_of

EXCHANGES = 100
APART_S = 0.001
TIMEOUT_S = 5.0


class Worker:
    """Serves one master until Locust ends the process; `folder` holds the rows until the master has them."""

    def __init__(self, runner: WorkerRunner, folder: Path) -> None:
        self._runner, self._folder = runner, folder
        self._queues: dict[str, Queue[bytes]] = {kind: Queue() for kind in ("welcome", "order", "start")}
        self._channel = Channel(self._transmit, self._deliver)
        runner.register_message(PARCEL, lambda msg, **_: self._channel.receive(msg.data))
        runner.register_message(RECEIPT, lambda msg, **_: self._channel.acknowledge(msg.data))
        gevent.spawn(self._run)

    def _transmit(self, name: str, message: dict[str, Any]) -> None:
        try:
            self._runner.send_message(name, message)
        except (RPCError, RPCSendError) as error:  # sent again until its receipt arrives
            sys.stderr.write(f"{error}\n")

    def _deliver(self, kind: str, body: bytes) -> None:
        if kind == "refused":
            sys.stderr.write(f"bench: {body.decode()}\n")
        else:
            self._queues[kind].put(body)

    def _run(self) -> None:
        try:
            welcome = msgspec.json.decode(self._queues["welcome"].get(), type=Welcome)
            own = hello(welcome.clock, _first_reading(welcome.witness))
            self._channel.send("hello", encode_line(own))
            for number in count():
                order = msgspec.json.decode(self._queues["order"].get(), type=Order)
                self._execute(order, self._folder / f"rows-{number}.jsonl", welcome, own)
        except Exception as error:
            self._channel.send("failed", error_text(error).encode())
            raise

    def _execute(self, order: Order, rows: Path, welcome: Welcome, own: Hello) -> None:
        readings = self._read(welcome, own)
        script_of(order)
        self._channel.send("ready")
        start_ns = int(self._queues["start"].get())
        if readings:
            order.clock_offset_ns = readings[0].offset_ns
        order.start_ns, order.rows = start_ns - order.clock_offset_ns, str(rows)
        rows.touch()
        answer = execute(order)
        answer.clock = [*readings, *self._read(welcome, own)]
        answer.rows = ship(rows, self._channel)
        self._channel.send("answer", encode_line(answer))
        rows.unlink()

    def _read(self, welcome: Welcome, own: Hello) -> list[ClockReading]:
        return [] if own.shared else [read_clock(welcome.witness)]


def _first_reading(witness: str) -> ClockReading:
    try:
        return read_clock(witness)
    except OSError as error:
        why = f"the witness at {witness} cannot be reached from here ({error}); start the master with --host ADDRESS"
        raise ConnectionError(why) from error


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
