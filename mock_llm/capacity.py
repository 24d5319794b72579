"""Measure the capacity of this machine: the mock and a plain StreamingResponse, alternately under the same load."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mock_llm.capacity_load import RAMP_S, TTFT_MS

GOAL_LATE_MS = 3.0
_SERVERS = {
    "mock": ("mock_llm", "serve", "--port", "0"),
    "Starlette": ("mock_llm.starlette_server",),
}
_OVERHEAD_S = 1  # estimate: starting the load process and reading the journal
_BUSY_CLIENT = 0.9


class CapacityError(Exception):
    """The measurement failed; the message is one line with the cause."""


@dataclass(frozen=True)
class Sample:
    """One measurement of one server. `late`: delay of tokens at the client; `own_p99_ms`: delay when written."""

    server: str
    tokens_per_s: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    own_p99_ms: float | None
    cpu_us_per_token: float
    client_cpu: float


def measure(*, streams: int, itl_ms: float, seconds: float, rounds: int) -> None:
    """Run the rounds, show the growing table, and print whether the mock met the goal.

    Raises CapacityError if a server or the load failed.
    """
    offered = streams * 1000 / itl_ms
    sample_s = RAMP_S + seconds + _OVERHEAD_S
    ends = time.monotonic() + sample_s * rounds * len(_SERVERS)
    samples: list[Sample] = []

    def view() -> Group:
        left = rounds * len(_SERVERS) - len(samples)
        progress = f"{left} measurements, {max(0, ends - time.monotonic()):.0f} s left\n" if left else "\n"
        return Group(_table(samples, offered), Text(progress, style="dim", end=""))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the stack like Ctrl-C, which ends the servers
    console = Console()
    console.print(
        f"{streams} streams, a token every {itl_ms:g} ms: {offered:,.0f} tokens/s; {rounds} rounds, alternating"
    )
    with ExitStack() as stack:
        ports = {name: stack.enter_context(_running(arguments)) for name, arguments in _SERVERS.items()}
        with Live(get_renderable=view, console=console, refresh_per_second=2):
            for _ in range(rounds):
                for name, port in ports.items():
                    samples.append(_measure_one(name, port, streams, itl_ms, seconds))
    _print_result(console, samples, offered)


def _measure_one(server: str, port: int, streams: int, itl_ms: float, seconds: float) -> Sample:
    is_mock = server == "mock"
    if is_mock:
        _call(port, "/__mock/journal", "DELETE")
    cpu_ns = _call(port, "/__mock/clock")["cpu_ns"]
    command = [sys.executable, "-m", "mock_llm.capacity_load", str(port), str(streams), str(itl_ms), str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60 + 2 * seconds)  # noqa: S603 -- our own load
        load = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        cause = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise CapacityError(f"the load on {server} failed: {cause}") from None
    cpu_ns = _call(port, "/__mock/clock")["cpu_ns"] - cpu_ns
    if not load["window_tokens"] or load["lost"]:
        raise CapacityError(f"{server} dropped {load['lost']} of {streams} streams; try fewer --streams")
    return Sample(
        server=server,
        tokens_per_s=load["window_tokens"] / seconds,
        late_p50_ms=load["late_ms"]["p50"],
        late_p99_ms=load["late_ms"]["p99"],
        late_max_ms=load["late_ms"]["max"],
        own_p99_ms=_own_p99_ms(_call(port, "/__mock/journal")["rows"], itl_ms) if is_mock else None,
        cpu_us_per_token=cpu_ns / 1e3 / load["tokens"],
        client_cpu=load["cpu"],
    )


def _own_p99_ms(rows: list[dict[str, Any]], itl_ms: float) -> float:
    late: list[float] = sorted(
        stamp / 1e6 - (row["received_ns"] / 1e6 + TTFT_MS + position * itl_ms)
        for row in rows
        for position, stamp in enumerate(row["token_ns"])
    )
    return late[len(late) * 99 // 100]


def _table(samples: list[Sample], offered: float) -> Table:
    table = Table(
        "server",
        title="Starlette: a StreamingResponse with json.dumps per token, under uvicorn",
        caption="late: ms from a token's deadline until the client read it (own: until it was written); CPU per token",
    )
    for title in ("tokens/s", "kept", "late p50", "p99", "max", "own p99", "CPU us"):
        table.add_column(title, justify="right")
    for sample in samples:
        table.add_row(
            sample.server,
            f"{sample.tokens_per_s:,.0f}",
            f"{sample.tokens_per_s / offered:.1%}",
            f"{sample.late_p50_ms:,.2f}",
            f"{sample.late_p99_ms:,.2f}",
            f"{sample.late_max_ms:,.2f}",
            "" if sample.own_p99_ms is None else f"{sample.own_p99_ms:.2f}",
            f"{sample.cpu_us_per_token:.1f}",
        )
    return table


def _print_result(console: Console, samples: list[Sample], offered: float) -> None:
    own = [sample for sample in samples if sample.own_p99_ms is not None]
    p99_ms = median(sample.own_p99_ms or 0.0 for sample in own)
    share = min(sample.tokens_per_s for sample in own) / offered
    met = p99_ms < GOAL_LATE_MS and share > 0.99
    console.print(
        f"goal (p99 pacing error under {GOAL_LATE_MS:g} ms, over 99 % of the offered rate): "
        f"{'met' if met else 'MISSED'} (median p99 {p99_ms:.2f} ms, at least {share:.1%} of the offered rate)"
    )
    if max(sample.client_cpu for sample in samples) > _BUSY_CLIENT:
        console.print(
            f"the load process used over {_BUSY_CLIENT:.0%} of a core, which adds to the late columns: use only own p99"
        )


@contextmanager
def _running(arguments: tuple[str, ...]) -> Iterator[int]:
    """Run `python -m <arguments>` and yield the port of its `ready` line."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MOCK_")}  # defaults only
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:  # noqa: S603 -- ours
        try:
            ready = process.stdout.readline() if process.stdout else ""
            if not ready.startswith("ready "):
                raise CapacityError(f"python -m {' '.join(arguments)} did not start; its error is printed above")
            yield int(ready.rpartition(":")[2])
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _call(port: int, path: str, method: str = "GET") -> Any:
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=60) as answer:
            return json.loads(answer.read() or "null")
    except (URLError, OSError, ValueError) as error:
        raise CapacityError(f"{path} did not answer: {error}") from None
