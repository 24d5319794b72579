"""Runs one chat with one client, and joins what the client saw with the mock upstream's journal."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.clients.catalogue import Client
from tests.clients.started import DEADLINE_S, leave, line_of, started

Row = dict[str, Any]
PLANNED_TOKENS = 200
MOCK = ("--ttft-ms", "100", "--itl-ms", "30", "--output-tokens", str(PLANNED_TOKENS))
SHORT_TOKENS = 20
TOKENS_BEFORE_ABORT = 5
QUESTIONS = {"none": f"[mock:output_tokens={SHORT_TOKENS},itl_ms=5]", "early": "[mock:ttft_ms=5000]"}
"""The rest is stopped by then. One that asks again gets a whole answer, late."""
HEADER = {"stream": "X-Chat-Id", "whole": "X-Request-Id"}
"""Names the chat: each client is tried with both headers that may."""
SETTLE_S = 5
LOOK_S = 0.01


@dataclass(frozen=True)
class Outcome:
    """One chat as both of its ends saw it."""

    seen: dict[str, Any]
    """The fields of `programs.contract.Seen`."""
    upstream: list[Row]
    """The journal's rows: more than one when the client, or the service, asked again."""
    abort_status: str | None = None
    """What `POST /abort/` answered."""
    abort_ns: int | None = None
    """CLOCK_MONOTONIC, before it was sent."""

    @property
    def requests(self) -> int:
        """How often the upstream was asked."""
        return len(self.upstream)

    @property
    def end(self) -> str:
        """What became of the first upstream request: `finished`, `cut` or `open`."""
        return str(self.upstream[0]["outcome"]) if self.upstream else "never asked"

    @property
    def tokens(self) -> int:
        """How many tokens the upstream wrote in all; 0 for a whole answer that was cut."""
        return sum(len(row["token_ns"]) for row in self.upstream)

    @property
    def cut_ms(self) -> float | None:
        """How long after the Stop the upstream's connection was lost; None when it was not."""
        stop_ns = self.seen["stopped_ns"] or self.abort_ns
        return (self.upstream[0]["lost_ns"] - stop_ns) / 1e6 if self.end == "cut" and stop_ns else None


@dataclass
class Rig:
    """A running service and its mock upstream."""

    service: str
    mock: str
    http: httpx2.Client
    record: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    """What was seen, by client and by `mode-stop`."""

    def chat(self, client: Client, mode: str, stop: str) -> Outcome:
        """Run a chat, `stream` or `whole`, stopped by `none`, the `client`, an `abort` or an `early` one.

        A stream is stopped after its fifth token, by an early abort before its first.
        Raises AssertionError when the client does not report what it saw, or never reaches the upstream.
        """
        self.clear()
        chat_id = secrets.token_hex(8)
        asked = (HEADER[mode], chat_id, QUESTIONS.get(stop, "Tell me a long story"))
        arguments = [f"{self.service}/v1", mode, "client" if stop == "client" else "none", *asked, client.variant]
        abort_status, abort_ns = None, None
        with started([*client.command(), *arguments]) as program:
            if stop in ("abort", "early"):
                self._wait_for_upstream(program, TOKENS_BEFORE_ABORT if (mode, stop) == ("stream", "abort") else 0)
                abort_ns = time.monotonic_ns()
                answer = self.http.post(f"{self.service}/abort/", json={"request_id": chat_id, "wait_ms": 3000})
                abort_status = answer.raise_for_status().json()["status"]
            elif stop == "client" and mode == "whole":
                self._wait_for_upstream(program, 0)
                assert program.stdin is not None
                program.stdin.write(b"stop\n")
                program.stdin.flush()
            seen = json.loads(line_of(program))
            # Before the client may leave: the end of its process would close the connection, too.
            rows = self._until(lambda: self._all_rows(lambda row: row["outcome"] != "open"), SETTLE_S)
            leave(program)
        outcome = Outcome(seen, rows or self.journal(), abort_status, abort_ns)
        self.record.setdefault(client.name, {})[f"{mode}-{stop}"] = outcome
        return outcome

    def clear(self) -> None:
        """Empty the mock's journal."""
        self.http.delete(f"{self.mock}/__mock/journal").raise_for_status()

    def journal(self) -> list[Row]:
        """Return what the mock was asked since the journal was emptied."""
        rows: list[Row] = self.http.get(f"{self.mock}/__mock/journal").json()["rows"]
        return rows

    def _wait_for_upstream(self, program: subprocess.Popen[bytes], tokens: int) -> None:
        def reached() -> list[Row]:
            assert program.poll() is None, "the client ended before its chat reached the upstream"
            return self._all_rows(lambda row: len(row["token_ns"]) >= tokens)

        assert self._until(reached, DEADLINE_S), f"no chat reached the upstream in {DEADLINE_S} s"

    def _all_rows(self, fit: Callable[[Row], bool]) -> list[Row]:
        rows = self.journal()
        return rows if all(map(fit, rows)) else []

    def _until(self, look: Callable[[], list[Row]], seconds: float) -> list[Row]:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if found := look():
                return found
            time.sleep(LOOK_S)
        return []
