"""The load of `relay`: many streams read by bare asyncio protocols in a process of its own, every chunk stamped.

Started as `python -m bench.experiments.relay.stream_load '<Load as JSON>'`. Prints `open` and
`closed` when the measured window does, then one JSON line, see `_run`. Stamps are CLOCK_MONOTONIC, as the witness's.
"""

import asyncio
import json
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

import uvloop

NEEDLES = {"sse": b'"delta":{"content":"', "text": b" "}
"""What occurs once per chunk: in OpenAI's events, and in bare text (each of the mock's words starts with a space)."""
TTFT_MS = 50.0
SETTLE_S = 0.5
"""Between the last stream's start and the window: first chunks cost more than later ones."""
START_DEADLINE_S = 5.0
"""A relay with more to do than it can takes its time to answer the last of the streams."""
END_DEADLINE_S = 10.0
NS = 1_000_000_000


@dataclass(frozen=True)
class Load:
    """What to send where. `abort`: after the window stop all streams at once, otherwise just leave."""

    port: int
    streams: int
    itl_ms: float
    window_s: float
    needle: str = "sse"
    ramp_s: float = 1.0
    id_prefix: str = "relay"
    abort: bool = False

    def as_argument(self) -> str:
        """The command line's one argument."""
        return json.dumps(asdict(self))

    @property
    def tokens(self) -> int:
        """An answer long enough that none ends by itself."""
        return round((self.ramp_s + SETTLE_S + self.window_s + START_DEADLINE_S + END_DEADLINE_S) * 1000 / self.itl_ms)


class _Window:
    """The gaps between chunks, in ns, that fell into the measured time."""

    def __init__(self) -> None:
        self.from_ns = self.to_ns = 0
        self.gaps_ns: array[int] = array("q")


class _Reader(asyncio.Protocol):
    """One stream; a chunk that came in the same read as the one before it has a gap of 0."""

    def __init__(self, request: bytes, needle: bytes, window: _Window) -> None:
        self._request = request
        self._needle = needle
        self._window = window
        self._tail = b""
        self._last_ns = 0
        self.status = 0
        self.ended_ns = 0
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Stamp first, then count what came."""
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

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended does not matter here
        """Stamp the end."""
        self.ended_ns = time.monotonic_ns()
        if not self.ended.done():
            self.ended.set_result(None)


async def _run(load: Load) -> dict[str, Any]:
    """Hold the streams; gives what came in the window.

    chunks (number), chunks_per_s, added_itl_ms (p50, p99, max of gap - itl_ms), client_cpu (share of one core),
    errors (streams that were refused, or ended before we ended them), silent (streams that have no answer yet) and,
    with `abort`, stop_ms (one per stream: from the moment of the first abort until the client saw the end) and
    unstopped (streams that did not end).
    """
    window = _Window()
    readers: list[_Reader] = []
    start_ns = time.monotonic_ns()
    for position in range(load.streams):
        # Spread over the ramp, so that the streams' chunks do not all fall due in the same instant.
        due_ns = start_ns + position * load.ramp_s * NS / load.streams
        await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / NS))
        readers.append(await _connect(load, position, window))
    await asyncio.wait([reader.started for reader in readers], timeout=START_DEADLINE_S)
    await asyncio.sleep(SETTLE_S)
    window.from_ns = time.monotonic_ns()
    window.to_ns = window.from_ns + round(load.window_s * NS)
    cpu_s = time.process_time()
    _say("open")
    await asyncio.sleep((window.to_ns - time.monotonic_ns()) / NS)
    _say("closed")
    cpu_s = time.process_time() - cpu_s
    errors = sum(reader.status not in (0, 200) or reader.ended.done() for reader in readers)
    silent = sum(not reader.status and not reader.ended.done() for reader in readers)
    stopped = await _abort_all(load, readers) if load.abort else {}
    for reader in readers:
        reader.transport.abort()
    gaps = sorted(window.gaps_ns)
    at = {"p50": len(gaps) // 2, "p99": len(gaps) * 99 // 100, "max": len(gaps) - 1}
    return {
        "chunks": len(gaps),
        "chunks_per_s": len(gaps) / load.window_s,
        "added_itl_ms": {name: gaps[place] / 1e6 - load.itl_ms if gaps else None for name, place in at.items()},
        "client_cpu": cpu_s / load.window_s,
        "errors": errors,
        "silent": silent,
        **stopped,
    }


async def _connect(load: Load, position: int, window: _Window) -> _Reader:
    marker = f"[mock:ttft_ms={TTFT_MS:g},itl_ms={load.itl_ms:g},output_tokens={load.tokens}]"
    messages = [{"role": "user", "content": f"go on {marker}"}]
    body = {"model": "mock", "stream": True, "messages": messages, "request_id": f"{load.id_prefix}-{position}"}
    request = _request("/chat/", body)
    loop = asyncio.get_running_loop()
    reader = partial(_Reader, request, NEEDLES[load.needle], window)
    return (await loop.create_connection(reader, "127.0.0.1", load.port))[1]


async def _abort_all(load: Load, readers: list[_Reader]) -> dict[str, Any]:
    """Stop every stream at the same moment, each by a request of its own, and wait until they have ended."""
    loop = asyncio.get_running_loop()
    unmeasured = _Window()
    start_ns = time.monotonic_ns()
    requests = [_request("/abort/", {"request_id": f"{load.id_prefix}-{place}"}) for place in range(load.streams)]
    stoppers = [
        loop.create_connection(partial(_Reader, request, b"{", unmeasured), "127.0.0.1", load.port)
        for request in requests
    ]
    await asyncio.gather(*stoppers)
    await asyncio.wait([reader.ended for reader in readers], timeout=END_DEADLINE_S)
    ended = [reader for reader in readers if reader.ended.done()]
    return {
        "abort_sent_ns": start_ns,
        "stop_ms": [(reader.ended_ns - start_ns) / 1e6 for reader in ended],
        "unstopped": len(readers) - len(ended),
    }


def _request(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the load that the one argument describes."""
    _say(json.dumps(uvloop.run(_run(Load(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
