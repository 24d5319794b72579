"""What this machine serves on time: the mock and a plain StreamingResponse under the same load, turn by turn."""

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

from mock_llm.load import RAMP_S, TTFT_MS

AIM_LATE_MS = 3.0
_SERVERS = {
    "mock": ("mock_llm", "serve", "--port", "0"),
    "Starlette": ("mock_llm.plain",),
}
_OVERHEAD_S = 1  # starting the load's process, leaving, reading the journal
_BUSY_CLIENT = 0.9


class CapacityError(Exception):
    """The measurement could not be made; the message is one line with the cause."""


@dataclass(frozen=True)
class Turn:
    """One contender's turn. `late` is how late tokens reached the client, `own_p99` how late they were written."""

    contender: str
    tokens_per_s: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    own_p99_ms: float | None
    cpu_us_per_token: float
    client_cpu: float


def measure(*, streams: int, itl_ms: float, seconds: float, rounds: int) -> None:
    """Run the rounds, show the table while it grows, and say whether the mock reached the aim.

    Raises CapacityError when a server or the load did not work.
    """
    offered = streams * 1000 / itl_ms
    turn_s = RAMP_S + seconds + _OVERHEAD_S
    ends = time.monotonic() + turn_s * rounds * len(_SERVERS)
    turns: list[Turn] = []

    def view() -> Group:
        left = rounds * len(_SERVERS) - len(turns)
        progress = f"{left} turns, {max(0, ends - time.monotonic()):.0f} s left\n" if left else "\n"
        return Group(_table(turns, offered), Text(progress, style="dim", end=""))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: the servers below must not outlive us
    console = Console()
    console.print(f"{streams} streams, a token every {itl_ms:g} ms: {offered:,.0f} tokens/s; {rounds} rounds, in turns")
    with ExitStack() as stack:
        ports = {name: stack.enter_context(_running(arguments)) for name, arguments in _SERVERS.items()}
        with Live(get_renderable=view, console=console, refresh_per_second=2):
            for _ in range(rounds):
                for name, port in ports.items():
                    turns.append(_turn(name, port, streams, itl_ms, seconds))
    _verdict(console, turns, offered)


def _turn(contender: str, port: int, streams: int, itl_ms: float, seconds: float) -> Turn:
    is_mock = contender == "mock"
    if is_mock:
        _call(port, "/__mock/journal", "DELETE")
    cpu_ns = _call(port, "/__mock/clock")["cpu_ns"]
    command = [sys.executable, "-m", "mock_llm.load", str(port), str(streams), str(itl_ms), str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60 + 2 * seconds)  # noqa: S603 -- our own load
        load = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        cause = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise CapacityError(f"the load on {contender} failed: {cause}") from None
    cpu_ns = _call(port, "/__mock/clock")["cpu_ns"] - cpu_ns
    if not load["window_tokens"] or load["lost"]:
        raise CapacityError(f"{contender} dropped {load['lost']} of {streams} streams; try fewer --streams")
    return Turn(
        contender=contender,
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


def _table(turns: list[Turn], offered: float) -> Table:
    table = Table(
        "server",
        title="Starlette: a StreamingResponse with json.dumps per token, under uvicorn",
        caption="ms late: read by the client after its deadline (own: written, by the journal); CPU per token",
    )
    for title in ("tokens/s", "kept", "late p50", "p99", "max", "own p99", "CPU us"):
        table.add_column(title, justify="right")
    for turn in turns:
        table.add_row(
            turn.contender,
            f"{turn.tokens_per_s:,.0f}",
            f"{turn.tokens_per_s / offered:.1%}",
            f"{turn.late_p50_ms:,.2f}",
            f"{turn.late_p99_ms:,.2f}",
            f"{turn.late_max_ms:,.2f}",
            "" if turn.own_p99_ms is None else f"{turn.own_p99_ms:.2f}",
            f"{turn.cpu_us_per_token:.1f}",
        )
    return table


def _verdict(console: Console, turns: list[Turn], offered: float) -> None:
    own = [turn for turn in turns if turn.own_p99_ms is not None]
    p99_ms = median(turn.own_p99_ms or 0.0 for turn in own)
    share = min(turn.tokens_per_s for turn in own) / offered
    reached = p99_ms < AIM_LATE_MS and share > 0.99
    console.print(
        f"aim (p99 pacing error under {AIM_LATE_MS:g} ms, all that was offered): {'reached' if reached else 'MISSED'}"
        f" (median p99 {p99_ms:.2f} ms, at least {share:.1%} of offered)"
    )
    if max(turn.client_cpu for turn in turns) > _BUSY_CLIENT:
        console.print("the load's own process was over 90 % busy: the late columns show it too, believe only own")


@contextmanager
def _running(arguments: tuple[str, ...]) -> Iterator[int]:
    """Run `python -m <arguments>` and give the port it says it is ready on."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MOCK_")}  # settings of the shell
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:  # noqa: S603 -- ours
        try:
            ready = process.stdout.readline() if process.stdout else ""
            if not ready.startswith("ready "):
                raise CapacityError(f"python -m {' '.join(arguments)} did not start: it says why above")
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
