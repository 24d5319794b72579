"""The load: a Locust user that sends the chats of one case after the other, open or closed loop, as it is told.

`CHAT_LOAD` names a folder and this process' number in it (`<folder>:<number>`). Once `awake-<number>` is there, orders
come as `order-<number>-<n>.json`; an answer is the rows in the file that the order names, and `done-<number>-<n>.json`,
see bench/load/driver.py. One process stays for a whole run: starting Locust takes longer than many cases.
"""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from time import monotonic_ns
from typing import IO, Any

import gevent
from gevent.pool import Pool
from locust import User, constant, task

from bench.load.chat import EARLY_NS, Chat, Order
from bench.load.loop_lag import Vitals

FOLDER, _, NUMBER = os.environ["CHAT_LOAD"].rpartition(":")
LOOK_S = 0.01


class Reader(User):
    """Takes orders until the process is ended; its chats are greenlets, whichever loop they are in."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Orders are numbered from 0, and taken from now on."""
        self._next = 0
        (Path(FOLDER) / f"awake-{NUMBER}").touch()

    @task
    def order(self) -> None:
        """One case: wait for its order, send its chats, answer."""
        path = Path(FOLDER) / f"order-{NUMBER}-{self._next}.json"
        while not path.exists():
            gevent.sleep(LOOK_S)
        told = json.loads(path.read_text(encoding="utf-8"))
        order = Order(**told["order"])
        gc.collect()  # and none during the load: its pauses would pass for latency, and a case lives for seconds
        gc.freeze()
        gc.disable()
        with Vitals() as vitals, Path(told["rows"]).open("w", buffering=1, encoding="utf-8") as rows:
            dropped = self._open(told, order, rows) if told["loop"] == "open" else self._closed(told, order, rows)
        gc.enable()
        gc.unfreeze()
        scratch = path.with_name(f".{path.name}.part")
        scratch.write_text(json.dumps({"dropped": dropped, "health": vitals.seen()}))
        scratch.replace(path.with_name(path.name.replace("order-", "done-")))
        self._next += 1

    def _open(self, told: dict[str, Any], order: Order, rows: IO[str]) -> list[str]:
        """Chats leave at their moments, whatever became of others; beyond `streams` at a time they are dropped.

        Gives the ids of those.
        """
        pool = Pool(told["streams"])
        dropped: list[str] = []
        for planned in told["chats"]:
            due_ns = told["start_ns"] + int(planned["at_ms"] * 1e6)
            gevent.sleep(max(0.0, (due_ns - EARLY_NS - monotonic_ns()) / 1e9))
            if pool.full():
                dropped.append(planned["request_id"])
                continue
            pool.spawn(self._chat, Chat(order, planned, due_ns), rows)
        pool.join()
        return dropped

    def _closed(self, told: dict[str, Any], order: Order, rows: IO[str]) -> list[str]:
        """`streams` readers, one chat after the other each; the first ones start spread over the ramp."""
        waiting = iter(told["chats"])

        def read() -> None:
            for planned in waiting:
                if planned["at_ms"] is not None:
                    left_ns = told["start_ns"] + int(planned["at_ms"] * 1e6) - monotonic_ns()
                    gevent.sleep(max(0.0, left_ns / 1e9))
                self._chat(Chat(order, planned, None), rows)

        gevent.joinall([gevent.spawn(read) for _ in range(told["streams"])])
        return []

    def _chat(self, chat: Chat, rows: IO[str]) -> None:
        chat.run()
        rows.write(json.dumps(chat.row) + "\n")
        self._report(chat)

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
