"""The master of a fleet: passes orders from a folder to the workers, and writes their rows and answers there.

The folder is that of order.py; besides, the driver waits for `ready-<number>-<n>` of every worker, and then writes
`start-<number>-<n>` with the moment (the witness's clock). `awake-<number>` holds the worker's Hello, and `failed` why
the load cannot go on: a worker was lost, failed, or runs other code.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import msgspec
from locust.exception import RPCError, RPCSendError
from locust.runners import STATE_MISSING, MasterRunner

from bench.load.fleet.protocol import FAILED, FOLDER, SIZE, WITNESS, Hello, Welcome, clock_id, code_id, worker_name
from bench.load.fleet.shipping import PARCEL, RECEIPT, Channel
from bench.record.base import encode_line
from bench.record.files import replace_file
from bench.record.traces import LoadAnswer

POLL_S = 0.01
HELLO_S = 30.0


class Peer:
    """One worker, seen by the master."""

    def __init__(self, master: Master, client: str, number: int) -> None:
        self._master, self.client, self._number = master, client, number
        self._orders, self._rows = 0, 0
        self.hello: Hello | None = None
        self.name = worker_name(number, client.rpartition("_")[0])
        self.channel = Channel(partial(master.transmit, client), self._deliver)
        gevent.spawn(self._welcome)

    def _welcome(self) -> None:
        welcome = Welcome(self._number, self._master.witness, clock_id())
        gevent.spawn(self.channel.send, "welcome", encode_line(welcome))
        gevent.sleep(HELLO_S)
        if self.hello is None:
            self._master.fail(f"{self.name} did not answer within {HELLO_S:g} s: install the same commit on both")

    def _deliver(self, kind: str, body: bytes) -> None:
        match kind:
            case "hello":
                self._greet(body)
            case "ready":
                self._path("ready").touch()
                gevent.spawn(self._start)
            case "rows":
                with self._path("rows", ".jsonl").open("ab") as rows:
                    rows.write(body)
                self._rows += body.count(b"\n")
            case "answer":
                self._end(body)
            case "failed":
                self._master.fail(f"{self.name} failed: {body.decode()}")

    def _greet(self, body: bytes) -> None:
        own = code_id()
        code = msgspec.json.decode(body).get("code")
        if code != own:
            why = f"{self.name} runs another version (code {code}, here {own}): install the same commit on both"
            gevent.spawn(self.channel.send, "refused", why.encode())
            self._master.fail(why)
            return
        self.hello = msgspec.json.decode(body, type=Hello)
        replace_file(self._master.folder / f"awake-{self._number}", body)
        gevent.spawn(self._serve)

    def _serve(self) -> None:
        """Send the next order when it is there; its answer begins the wait for the one after it."""
        path = self._path("order", ".json")
        while not path.exists():
            gevent.sleep(POLL_S)
        self._rows = 0
        self.channel.send("order", path.read_bytes())

    def _start(self) -> None:
        path = self._path("start")
        while not path.exists():
            gevent.sleep(POLL_S)
        self.channel.send("start", path.read_bytes())

    def _end(self, body: bytes) -> None:
        sent = msgspec.json.decode(body, type=LoadAnswer).rows
        if sent != self._rows:
            self._master.fail(f"{self.name} sent {sent} rows, and {self._rows} arrived")
        done = self._path("done", ".json")
        self._orders += 1
        replace_file(done, body)
        gevent.spawn(self._serve)

    def _path(self, name: str, suffix: str = "") -> Path:
        return self._master.folder / f"{name}-{self._number}-{self._orders}{suffix}"


class Master:
    """Serves the driver's folder until Locust ends the process."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self.folder, self.witness = Path(os.environ[FOLDER]), os.environ[WITNESS]
        self._size = int(os.environ[SIZE])
        self._peers: dict[str, Peer] = {}
        self._failed = False
        runner.register_message(PARCEL, self._parcel)
        runner.register_message(RECEIPT, self._receipt)
        gevent.spawn(self._watch)

    def transmit(self, client: str, name: str, message: dict[str, Any]) -> None:
        """Send a message to a worker, or lose it."""
        with suppress(RPCError, RPCSendError):  # sent again until its receipt arrives
            self._runner.send_message(name, message, client_id=client)

    def fail(self, why: str) -> None:
        """End all workers, and the load with this reason; the first one counts."""
        if not self._failed:
            self._failed = True
            gevent.spawn(self._end, why)  # after what has been spawned to be sent before

    def _end(self, why: str) -> None:
        with suppress(RPCError, RPCSendError):
            self._runner.send_message("quit")
        replace_file(self.folder / FAILED, why.encode())  # the driver now ends this process

    def _parcel(self, msg: Any, **_: Any) -> None:
        if peer := self._peers.get(msg.node_id):
            peer.channel.receive(msg.data)

    def _receipt(self, msg: Any, **_: Any) -> None:
        if peer := self._peers.get(msg.node_id):
            peer.channel.acknowledge(msg.data)

    def _watch(self) -> None:
        """Welcome workers until there are enough, and look for lost ones: three heartbeats of 1 s are missing."""
        while True:
            clients = self._runner.clients
            for client in list(clients):
                if client not in self._peers and len(self._peers) < self._size:
                    self._peers[client] = Peer(self, client, len(self._peers))
            for peer in self._peers.values():
                if peer.client not in clients or clients[peer.client].state == STATE_MISSING:
                    self.fail(f"{peer.name} was lost: its process, its machine or the network between has ended")
            gevent.sleep(0.05)
