"""A conversation through a driver that a target file names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any

from bench.load.order import Order
from bench.load.script import Script
from bench.load.talk import HttpTalk, Talk
from bench.targets.driver import Driver


class DriverTalk(Talk):
    """A conversation through a driver of the target file; see bench/targets/driver.py."""

    def __init__(self, order: Order, script: Script, values: dict[str, Any]) -> None:
        module, _, name = (script.driver or "").partition(":")
        if order.values["here"] not in sys.path:
            sys.path.append(order.values["here"])
        self._driver: Driver = getattr(importlib.import_module(module), name)(order.url, values)
        super().__init__()
        self._text = values["text"]
        self.has_ids.set()

    def prepare(self) -> None:
        """Connect."""
        self._driver.prepare()

    def stop(self) -> None:
        """Stop the answer."""
        self._driver.stop()

    def hang_up(self) -> None:
        """Leave."""
        self._driver.hang_up()

    def close(self) -> None:
        """Free what the driver holds."""
        self._driver.close()

    def send(self) -> int:
        """Start the chat."""
        sent_ns = monotonic_ns()
        self._driver.start(self._text)
        self.status = 200
        return sent_ns

    def events(self) -> Iterator[tuple[int, Any]]:
        """Events of the driver."""
        for event in self._driver.events():
            self.last_ns = monotonic_ns()
            yield self.last_ns, event


def talk_of(order: Order, script: Script, values: dict[str, Any]) -> Talk:
    """The conversation of a chat."""
    return DriverTalk(order, script, values) if script.driver else HttpTalk(order, script, values)
