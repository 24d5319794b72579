"""The load process of `capacity`: reads many streams with asyncio protocols and timestamps each token.

Started as `python -m mock_llm.capacity_load PORT STREAMS ITL_MS SECONDS`; prints one JSON line, see `_run`.
"""

import asyncio
import json
import re
import sys
import time
from array import array
from typing import Any, cast

from mock_llm.serve import allow_many_sockets, loop_factory

RAMP_S = 1.0
TTFT_MS = 50.0
_RECEIVED = re.compile(rb"x-mock-received-ns: (\d+)\r")
_NEEDLE = b'"delta":{"content":"'
_BODY = b'{"model":"mock-gpt","stream":true,"messages":[{"role":"user","content":"go"}]}'
_NS = 1_000_000_000


class _Reader(asyncio.Protocol):
    """One stream: counts its tokens and, within the window, records the delay of each in ns."""

    def __init__(self, request: bytes, itl_ns: int, window: tuple[int, int], late_ns: "array[int]") -> None:
        self._request = request
        self._itl_ns = itl_ns
        self._from_ns, self._to_ns = window
        self._late_ns = late_ns
        self._tail = b""
        self._due_ns = 0
        self.tokens = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take the time, then count the tokens."""
        now_ns = time.monotonic_ns()
        block = self._tail + data
        if not self._due_ns and (received := _RECEIVED.search(block)) is not None:
            # Relative to the server's own timestamp: a late accept must not shift the whole stream.
            self._due_ns = int(received[1]) + round(TTFT_MS * 1e6)
        self._tail = block[1 - len(_NEEDLE) :]
        for _ in range(block.count(_NEEDLE)):
            if self._from_ns <= now_ns < self._to_ns:
                self._late_ns.append(now_ns - self._due_ns)
            self._due_ns += self._itl_ns
            self.tokens += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the cause does not matter
        """Record a stream that ended too early."""
        self.lost = True

    def close(self) -> None:
        """Abort the connection."""
        self._transport.abort()


async def _run(port: int, streams: int, itl_ms: float, seconds: float) -> dict[str, Any]:
    """Return tokens (all), window_tokens, late_ms (p50, p99, max; the window's) and cpu (share of one core)."""
    loop = asyncio.get_running_loop()
    tokens = round((RAMP_S + seconds + 5) * 1e3 / itl_ms)
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\nx-mock-ttft-ms: %d\r\nx-mock-itl-ms: %b\r\nx-mock-output-tokens: %d\r\n\r\n%b"
        % (len(_BODY), TTFT_MS, str(itl_ms).encode(), tokens, _BODY)
    )
    start_ns = time.monotonic_ns()
    window = (start_ns + round((RAMP_S + 0.2) * _NS), start_ns + round((RAMP_S + 0.2 + seconds) * _NS))
    late_ns: array[int] = array("q")
    readers = []
    for position in range(streams):
        # Spread over the ramp, so that the tokens of all streams are not due at the same time.
        await asyncio.sleep(max(0.0, (start_ns + position * RAMP_S * _NS / streams - time.monotonic_ns()) / _NS))
        reader = _Reader(request, round(itl_ms * 1e6), window, late_ns)
        await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", port)  # type: ignore[misc]
        readers.append(reader)
    cpu_s, wall_s = time.process_time(), time.monotonic()
    await asyncio.sleep((window[1] - time.monotonic_ns()) / _NS)
    cpu = (time.process_time() - cpu_s) / (time.monotonic() - wall_s)
    lost = sum(reader.lost for reader in readers)
    for reader in readers:
        reader.close()
    late = sorted(late_ns)
    at = {"p50": len(late) // 2, "p99": len(late) * 99 // 100, "max": len(late) - 1}
    return {
        "tokens": sum(reader.tokens for reader in readers),
        "window_tokens": len(late),
        "late_ms": {name: late[position] / 1e6 if late else None for name, position in at.items()},
        "cpu": cpu,
        "lost": lost,
    }


def main() -> None:
    """Run the load and print its result as JSON."""
    port, streams, itl_ms, seconds = sys.argv[1:]
    allow_many_sockets()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        result = runner.run(_run(int(port), int(streams), float(itl_ms), float(seconds)))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
