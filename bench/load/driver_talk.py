"""A conversation through a driver that a target file names."""

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
        super().__init__()
        self._path, self._url, self._values = script.driver or "", order.url, values
        self._text = values["text"]
        self._driver: Driver | None = None
        self.has_ids.set()

    def prepare(self) -> None:
        """Import the driver, also from the folder of the target file, and connect."""
        here = self._values["here"]
        if here not in sys.path:
            sys.path.append(here)
        module, _, name = self._path.partition(":")
        self._driver = getattr(importlib.import_module(module), name)(self._url, self._values)
        self.driver.prepare()

    @property
    def driver(self) -> Driver:
        """The driver, once prepared."""
        if self._driver is None:
            raise RuntimeError("the driver is not prepared")
        return self._driver

    def stop(self) -> None:
        """Stop the answer."""
        self.driver.stop()

    def hang_up(self) -> None:
        """Leave."""
        self.driver.hang_up()

    def close(self) -> None:
        """Free what the driver holds."""
        if self._driver is not None:
            self._driver.close()

    def send(self) -> int:
        """Start the chat."""
        sent_ns = monotonic_ns()
        self.driver.start(self._text)
        self.status = 200
        return sent_ns

    def events(self) -> Iterator[tuple[int, Any]]:
        """Events of the driver."""
        for event in self.driver.events():
            self.last_ns = monotonic_ns()
            yield self.last_ns, event


def talk_of(order: Order, script: Script, values: dict[str, Any]) -> Talk:
    """The conversation of a chat."""
    return DriverTalk(order, script, values) if script.driver else HttpTalk(order, script, values)
