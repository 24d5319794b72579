"""The load process: a Locust user that sends the chats of one order after the other.

`CHAT_LOAD` is `<folder>:<number of the process>`. The process makes `awake-<number>` there, reads
`order-<number>-<n>.json` (see order.py), writes the order's rows and then `done-<number>-<n>.json`.
It stays for a whole run: starting Locust takes longer than many cases.
"""

import os
from pathlib import Path

import gevent
from locust import User, constant, task

from bench.load.execute import execute
from bench.load.order import Order
from bench.record.base import decode, encode_line
from bench.record.files import replace_file

FOLDER, _, NUMBER = os.environ["CHAT_LOAD"].rpartition(":")
POLL_S = 0.01


class LoadUser(User):
    """Executes orders until the process is ended."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Accept orders from now on; they are numbered from 0."""
        self._next = 0
        (Path(FOLDER) / f"awake-{NUMBER}").touch()

    @task
    def execute(self) -> None:
        """Wait for the next order, send its chats, write the answer."""
        path = Path(FOLDER) / f"order-{NUMBER}-{self._next}.json"
        while not path.exists():
            gevent.sleep(POLL_S)
        answer = execute(decode(path.read_bytes(), Order, path.name))
        replace_file(path.with_name(path.name.replace("order-", "done-")), encode_line(answer))
        self._next += 1
