"""A fleet whose workers make rows instead of sending chats, over a connection that loses every seventh message once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any

import gevent

from bench.load.fleet import worker
from bench.load.fleet.locustfile import Idle, begin
from bench.load.fleet.master import Master
from bench.load.fleet.shipping import PARCEL
from bench.load.order import Order
from bench.record.base import encode_line
from bench.record.schema import AbortSide, ClientSide, LoadRow
from bench.record.traces import LoadAnswer, ProcessHealth

__all__ = ["Idle", "begin"]


def make_rows(order: Order) -> LoadAnswer:
    """Write as many rows as the order has streams, each with the 36 tokens of a usual chat."""
    name = Path(order.rows).parent.name
    with Path(order.rows).open("ab") as rows:
        for number in range(order.streams):
            now_ns = monotonic_ns()
            client = ClientSide(sent_ns=now_ns, token_ns=[now_ns + 20_000_000 * each for each in range(36)])
            abort = AbortSide(after_ms=700.0, sent_ns=now_ns + 700_000_000, ack_ns=now_ns + 702_000_000, status=200)
            row = LoadRow(index=number, request_id=f"{name}-{number}", client=client, abort=abort)
            rows.write(encode_line(row))
            if number % 100 == 0:
                gevent.sleep(0)  # heartbeats
    return LoadAnswer([], ProcessHealth(pid=0))


def lossy(transmit: Callable[..., None]) -> Callable[..., None]:
    """Lose every seventh rows, acknowledgement or other message when it is sent first."""
    lost: set[Any] = set()

    def maybe(self: Any, *message: Any) -> None:
        *_to, name, content = message
        key = (id(self), *message[:-1], content["number"])
        if content["number"] % 7 == 3 and key not in lost and (name == PARCEL or content["number"] % 2):
            lost.add(key)
        else:
            transmit(self, *message)

    return maybe


worker.execute = make_rows  # type: ignore[attr-defined]
worker.Worker._transmit = lossy(worker.Worker._transmit)  # type: ignore[method-assign]
Master.transmit = lossy(Master.transmit)  # type: ignore[method-assign]
