"""The load of `relay`: many streams read by bare asyncio protocols in a process of its own, every chunk stamped.

`python -m bench.experiments.relay.stream_load '<Load as JSON>'` prints `open` and `closed` at the ends of the measured
window, then one JSON line, see `_run`. Stamps are CLOCK_MONOTONIC, as the witness's.
"""

import asyncio
import json
import sys
import time
from array import array
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import uvloop

from bench.system.garbage import without_collections

NEEDLES = {"sse": b'"delta":{"content":"', "text": b" "}
"""Text that occurs once per chunk: in OpenAI's events, and in bare text (the mock's words start with a space)."""
TTFT_MS = 50.0
SETTLE_S = 0.5
"""Pause between the last stream's start and the window: first chunks cost more than later ones."""
START_DEADLINE_S, END_DEADLINE_S = 5.0, 10.0
NS = 1_000_000_000


@dataclass(frozen=True)
class Load:
    """The streams to open. `ending`: what happens to all of them at once after the window.

    `abort`: each is stopped by its own request, on its own connection; `hang-up`: their connections are closed. Both
    are timed; without an ending the connections are closed, too.
    """

    port: int
    streams: int
    itl_ms: float
    window_s: float
    needle: str = "sse"
    ramp_s: float = 1.0
    id_prefix: str = "relay"
    ending: str = ""

    def request(self, position: int) -> bytes:
        """The request of a stream: an answer long enough that none ends by itself."""
        lasts_s = self.ramp_s + SETTLE_S + self.window_s + START_DEADLINE_S + END_DEADLINE_S
        tokens = round(lasts_s * 1000 / self.itl_ms)
        marker = f"[mock:ttft_ms={TTFT_MS:g},itl_ms={self.itl_ms:g},output_tokens={tokens}]"
        messages = [{"role": "user", "content": f"go on {marker}"}]
        body = {"model": "mock", "stream": True, "messages": messages, "request_id": f"{self.id_prefix}-{position}"}
        return _post("/chat/", body)


@dataclass
class _Window:
    """The gaps between chunks, in ns, within the measured time."""

    from_ns: int = 0
    to_ns: int = 0
    gaps_ns: "array[int]" = field(default_factory=lambda: array("q"))


class _Reader(asyncio.Protocol):
    """One stream; a chunk from the same read as the one before it has a gap of 0."""

    def __init__(self, request: bytes, needle: bytes, window: _Window) -> None:
        self._request, self._needle, self._window = request, needle, window
        self._tail, self._last_ns = b"", 0
        self.status = self.ended_ns = 0
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Stamp, then count the chunks."""
        now_ns = time.monotonic_ns()
        block = self._tail + data
        if not self.status:
            head, end, block = block.partition(b"\r\n\r\n")
            if not end:
                self._tail = head
                return
            self.status = int(head[9:12])
            self.started.set_result(None)
        keep = len(self._needle) - 1
        self._tail = block[-keep:] if keep else b""
        if count := block.count(self._needle):
            if self._window.from_ns <= now_ns < self._window.to_ns and self._last_ns:
                self._window.gaps_ns.append(now_ns - self._last_ns)
                self._window.gaps_ns.extend([0] * (count - 1))
            self._last_ns = now_ns

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Stamp the end."""
        self.ended_ns = time.monotonic_ns()
        if not self.ended.done():
            self.ended.set_result(None)


async def _run(load: Load) -> dict[str, Any]:
    """Hold the streams; returns the counts of the window.

    chunks, chunks_per_s, added_itl_ms (p50, p99, max of gap - itl_ms), client_cpu (share of one core), errors (streams
    refused, or ended before we ended them), silent (streams without an answer) and, with an `ending`, end_sent_ns (the
    first abort or hang-up), stop_ms (per aborted stream: from then to the end at the client) and unstopped (aborted
    streams that did not end).
    """
    window = _Window()
    readers: list[_Reader] = []
    start_ns = time.monotonic_ns()
    for position in range(load.streams):
        # Spread over the ramp, so that the streams' chunks are not all due at the same instant.
        due_ns = start_ns + position * load.ramp_s * NS / load.streams
        await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / NS))
        readers.append(await _open(load.port, load.request(position), NEEDLES[load.needle], window))
    await asyncio.wait([reader.started for reader in readers], timeout=START_DEADLINE_S)
    await asyncio.sleep(SETTLE_S)
    window.from_ns = time.monotonic_ns()
    window.to_ns = window.from_ns + round(load.window_s * NS)
    cpu_s = time.process_time()
    _print("open")
    await asyncio.sleep((window.to_ns - time.monotonic_ns()) / NS)
    _print("closed")
    cpu_s = time.process_time() - cpu_s
    errors = sum(reader.status not in (0, 200) or reader.ended.done() for reader in readers)
    silent = sum(not reader.status and not reader.ended.done() for reader in readers)
    stopped = await _end_all(load, readers) if load.ending else {}
    for reader in readers:
        reader.transport.abort()
    gaps_ms = np.quantile(window.gaps_ns, (0.5, 0.99, 1)) / 1e6 - load.itl_ms if window.gaps_ns else [None] * 3
    return {
        "chunks": len(window.gaps_ns),
        "chunks_per_s": len(window.gaps_ns) / load.window_s,
        "added_itl_ms": dict(zip(("p50", "p99", "max"), gaps_ms, strict=True)),
        "client_cpu": cpu_s / load.window_s,
        "errors": errors,
        "silent": silent,
        **stopped,
    }


async def _open(port: int, request: bytes, needle: bytes, window: _Window) -> _Reader:
    reader = partial(_Reader, request, needle, window)
    return (await asyncio.get_running_loop().create_connection(reader, "127.0.0.1", port))[1]


async def _end_all(load: Load, readers: list[_Reader]) -> dict[str, Any]:
    """End all streams at once; after aborts, wait until they have ended."""
    requests = [_post("/abort/", {"request_id": f"{load.id_prefix}-{place}"}) for place in range(load.streams)]
    start_ns = time.monotonic_ns()
    if load.ending == "hang-up":
        for reader in readers:
            reader.transport.abort()
        return {"end_sent_ns": start_ns, "stop_ms": [], "unstopped": 0}
    await asyncio.gather(*(_open(load.port, request, b"{", _Window()) for request in requests))
    await asyncio.wait([reader.ended for reader in readers], timeout=END_DEADLINE_S)
    stop_ms = [(reader.ended_ns - start_ns) / 1e6 for reader in readers if reader.ended.done()]
    return {"end_sent_ns": start_ns, "stop_ms": stop_ms, "unstopped": len(readers) - len(stop_ms)}


def _post(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with without_collections():
        outcome = uvloop.run(_run(Load(**json.loads(sys.argv[1]))))
    _print(json.dumps(outcome))
