"""Execute an order: send its chats in an open or closed loop, and write a row for each to a file."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from typing import IO

import gevent
from gevent.pool import Pool

from bench.load.chat import EARLY_NS, Chat, Volley
from bench.load.loop_lag import LoopProbe
from bench.load.order import Order, OrderedChat
from bench.load.script import Script, script_of
from bench.record.base import encode_line
from bench.record.traces import LoadAnswer
from bench.system.garbage import without_collections


def execute(order: Order) -> LoadAnswer:
    """Send the order's chats, and append their rows to the order's file. Each chat is a greenlet."""
    with without_collections(), LoopProbe() as probe, Path(order.rows).open("ab", buffering=0) as rows:
        script = script_of(order)
        dropped = (_open_loop if order.open_loop else _closed_loop)(order, script, rows)
    return LoadAnswer(dropped, probe.health())


def _open_loop(order: Order, script: Script, rows: IO[bytes]) -> list[str]:
    """Send chats at their moments, whatever became of others. Returns the ids of those dropped beyond `streams`."""
    pool, volley = Pool(order.streams), Volley()
    dropped: list[str] = []
    for planned in order.chats:
        due_ns = order.start_ns + int((planned.at_ms or 0.0) * 1e6)
        gevent.sleep(max(0.0, (due_ns - EARLY_NS - monotonic_ns()) / 1e9))
        if pool.full():
            dropped.append(planned.request_id)
        else:
            pool.spawn(_send, Chat(order, script, planned, due_ns, volley), rows)
    pool.join()
    return dropped


def _closed_loop(order: Order, script: Script, rows: IO[bytes]) -> list[str]:
    """`streams` readers send one chat after the other; the first ones start spread over the ramp."""
    waiting, volley = iter(order.chats), Volley()

    open_chats = Pool()

    def read(chats: Iterator[OrderedChat]) -> None:
        stopped = False
        for planned in chats:
            if planned.at_ms is not None:
                left_ns = order.start_ns + int(planned.at_ms * 1e6) - monotonic_ns()
                gevent.sleep(max(0.0, left_ns / 1e9))
            chat = Chat(order, script, planned, None, volley)
            chat.client.follows_stop = stopped
            if order.frees_early:
                open_chats.spawn(_send, chat, rows)
                chat.freed.wait()
            else:
                _send(chat, rows)
            stopped = chat.abort is not None and chat.abort.sent_ns is not None

    gevent.joinall([gevent.spawn(read, waiting) for _ in range(order.streams)])
    open_chats.join()
    return []


def _send(chat: Chat, rows: IO[bytes]) -> None:
    chat.run()
    rows.write(encode_line(chat.row))
