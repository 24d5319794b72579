"""The state of one worker process, shared by its endpoints."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from fastapi import Request
from openai import AsyncOpenAI

from backends import Delivery
from server.low_priority import LowPriorityQueue
from server.ops import metrics
from server.ops.logs import LOG
from server.ops.trace import ChatTrace, Tracer
from server.settings import Settings
from server.start_rate import StartRate

WARN_EVERY_S = 10.0


class AdmissionError(Exception):
    """This worker does not start the chat: HTTP status, detail and headers of the answer."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


@dataclass
class Worker:
    """Settings, strategy, upstream client and tracer of a worker, and its live chats."""

    settings: Settings
    delivery: Delivery
    client: AsyncOpenAI
    tracer: Tracer
    draining: bool = False
    drained: bool = False
    """The drain is over: chats that still ran were stopped, and end with reason `shutdown`."""
    low_priority: LowPriorityQueue = field(default_factory=LowPriorityQueue)
    chats: Counter[str] = field(default_factory=Counter)
    live: int = 0
    max_chats: int = sys.maxsize
    """Limit from the open files (see process.descriptors)."""
    name: str = field(default_factory=lambda: str(os.getpid()))
    """Sent as `X-Worker`, with a chat and with an abort."""
    start_rate: StartRate = field(init=False)
    _warned_s: float = -math.inf

    def __post_init__(self) -> None:
        self.start_rate = StartRate(self.settings.chat_starts_per_owner_s)

    @property
    def strategy(self) -> str:
        """`<store>-<delivery>`, or `none`."""
        return "none" if self.delivery.name == "none" else f"{self.delivery.store.name}-{self.delivery.name}"

    def check_admission(self, owner: str) -> None:
        """Raise AdmissionError if a chat of this owner would not be started now."""
        if self.draining:
            raise AdmissionError(503, "This worker is shutting down")
        if self.live >= self.max_chats:
            raise self._open_files_error()
        if self.chats[owner] >= self.settings.max_chats_per_owner:
            raise AdmissionError(429, "Too many live chats: end one, or wait")
        if wait_s := self.start_rate.wait_s(owner):
            detail = "Chats are started too fast (CHAT_STARTS_PER_OWNER_S): wait"
            raise AdmissionError(429, detail, **{"Retry-After": str(math.ceil(wait_s))})

    @contextmanager
    def admit(self, owner: str) -> Iterator[None]:
        """Count a start and a live chat of this owner during the block. Raises AdmissionError."""
        self.check_admission(owner)
        self.start_rate.take(owner)
        self.chats[owner] += 1
        self.live += 1
        try:
            yield
        finally:
            self.live -= 1
            self.chats[owner] -= 1
            if not self.chats[owner]:
                del self.chats[owner]

    def _open_files_error(self) -> AdmissionError:
        reason = (
            f"No file descriptors for another chat: the limit on open files allows {self.max_chats} per worker. "
            "Try again, or raise the limit (ulimit -n)"
        )
        if monotonic() > self._warned_s + WARN_EVERY_S:
            self._warned_s = monotonic()
            LOG.warning(reason)
        return AdmissionError(503, reason, Connection="close")

    def record_end(self, trace: ChatTrace, *, abort_recorded: bool) -> None:
        """Write the trace, metrics and log line of a chat that has ended; see `metrics.count_abort`."""
        self.tracer.write(trace)
        metrics.count_chat(trace.finish_reason)
        if trace.first_text_ns is not None:
            metrics.TTFT_S.observe((trace.first_text_ns - trace.received_ns) / 1e9)
        metrics.count_abort(trace, recorded=abort_recorded)
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
        """Refuse new chats, and stop the running ones after `drain_s`."""
        if not self.draining:
            self.draining = True
            LOG.info("drain", extra={"live": self.delivery.live, "drain_s": self.settings.drain_s})
            asyncio.get_running_loop().call_later(self.settings.drain_s, self._stop_all)

    def _stop_all(self) -> None:
        self.drained = True
        self.delivery.abort_all()


def worker_of(request: Request) -> Worker:
    """Return the worker that serves this request."""
    worker: Worker = request.app.state.worker
    return worker
