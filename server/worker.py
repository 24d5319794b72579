"""What one worker process holds for its whole life, and what its endpoints share."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from fastapi import Request
from openai import AsyncOpenAI

from backends import Delivery
from server.ops import metrics
from server.ops.logs import LOG
from server.ops.trace import ChatTrace, Tracer
from server.settings import Settings

WARN_EVERY_S = 10.0


class TooManyChatsError(Exception):
    """This owner has as many live chats on this worker as the settings allow."""


class OpenFilesError(Exception):
    """As many chats are live on this worker as its limit on open files allows; the message says so."""


class DrainingError(Exception):
    """This worker is shutting down and starts nothing new."""


@dataclass
class Worker:
    """Settings, strategy, upstream client and tracer of a worker, and how many chats each owner has on it."""

    settings: Settings
    delivery: Delivery
    client: AsyncOpenAI
    tracer: Tracer
    draining: bool = False
    drained: bool = False
    """The chats that still ran at the end of the drain have been stopped: each ends with reason `shutdown`."""
    chats: Counter[str] = field(default_factory=Counter)
    live: int = 0
    most_chats: int = sys.maxsize
    """What the limit on open files allows (see descriptors)."""
    name: str = field(default_factory=lambda: str(os.getpid()))
    """Sent as `X-Worker`: which process holds a chat, and which one took its abort."""
    _warned_s: float = -inf

    @property
    def strategy(self) -> str:
        """`<store>-<delivery>`, or `none`."""
        return "none" if self.delivery.name == "none" else f"{self.delivery.store.name}-{self.delivery.name}"

    @contextmanager
    def admitted(self, owner: str) -> Iterator[None]:
        """Count a chat of this owner while it lives.

        Raises `DrainingError`, `OpenFilesError` or `TooManyChatsError`.
        """
        if self.draining:
            raise DrainingError
        if self.live >= self.most_chats:
            raise self._no_files()
        if self.chats[owner] >= self.settings.max_chats_per_owner:
            raise TooManyChatsError
        self.chats[owner] += 1
        self.live += 1
        try:
            yield
        finally:
            self.live -= 1
            self.chats[owner] -= 1
            if not self.chats[owner]:
                del self.chats[owner]

    def _no_files(self) -> OpenFilesError:
        reason = (
            f"No file descriptors for another chat: the limit on open files allows {self.most_chats} per worker. "
            "Try again, or raise the limit (ulimit -n)"
        )
        if monotonic() > self._warned_s + WARN_EVERY_S:
            self._warned_s = monotonic()
            LOG.warning(reason)
        return OpenFilesError(reason)

    def account(self, trace: ChatTrace) -> None:
        """Trace, metrics and log line of a chat that is over."""
        self.tracer.write(trace)
        metrics.count_chat(trace.finish_reason)
        if trace.first_text_ns is not None:
            metrics.TTFT_S.observe((trace.first_text_ns - trace.received_ns) / 1e9)
        if trace.signal_ns is not None and trace.upstream_closed_ns is not None:
            metrics.STOP_S.observe((trace.upstream_closed_ns - trace.signal_ns) / 1e9)
        LOG.info(
            "chat",
            extra={
                "request_id": trace.request_id,
                "finish_reason": trace.finish_reason,
                "chunks": trace.chunks,
                "took_ms": round(((trace.ended_ns or 0) - trace.received_ns) / 1e6, 3),
            },
        )

    def drain(self) -> None:
        """Start nothing new, and stop what still runs after `drain_s`."""
        if not self.draining:
            self.draining = True
            LOG.info("drain", extra={"live": self.delivery.live, "drain_s": self.settings.drain_s})
            asyncio.get_running_loop().call_later(self.settings.drain_s, self._stop_all)

    def _stop_all(self) -> None:
        self.drained = True
        self.delivery.abort_all()


def worker_of(request: Request) -> Worker:
    """The worker that answers this request."""
    worker: Worker = request.app.state.worker
    return worker
