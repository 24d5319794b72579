"""What one chat measured: a row of chats.jsonl.gz in, its outcome and metrics out; pure, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.analysis.chat_outcome import Outcome, Row, abort_error, outcome_of, tries
from bench.analysis.promises import leaked, tokens_after_stop, wrong_stop
from bench.analysis.waterfall import PartsNs, split_ns
from bench.workload.strategies import hangs_up

NS_PER_MS = 1e6
UNITS = {
    "wasted_tokens": "tokens",
    "server_cpu_us_per_token": "µs/token",
    "store_ops_per_token": "operations/token",
    "store_ops_per_chat": "operations/chat",
    "chats_per_s": "chats/s",
    "tokens_per_s": "tokens/s",
}
"""Metrics that are not here end in their unit: `_ms`."""


@dataclass(frozen=True, slots=True)
class ChatMetrics:
    """The metrics of one chat; `None` (or empty) where one does not apply. Times are milliseconds.

    `error` holds the cause in words and may also be set on a usable chat whose abort failed (transport, or HTTP 5xx
    other than 503). `prevented`: a stop that came before the upstream was asked, so
    nothing was wasted and there is no `upstream_stop_ms`. `*_intended_ms` count from the moment at which the load
    meant to send, the others from the moment it did; an abort that was pressed again counts from the first press.
    `parts_ns`: see bench.analysis.waterfall. The last three are promises broken, see bench.analysis.promises.
    """

    outcome: Outcome
    error: str | None = None
    prevented: bool = False
    upstream_stop_ms: float | None = None
    upstream_stop_intended_ms: float | None = None
    client_stop_ms: float | None = None
    abort_ack_ms: float | None = None
    wasted_tokens: int | None = None
    ttft_ms: float | None = None
    ttft_intended_ms: float | None = None
    itl_ms: tuple[float, ...] = ()
    parts_ns: PartsNs | None = None
    wrong_stop: bool = False
    tokens_after_stop: int = 0
    leaked: bool = False

    @property
    def counted(self) -> bool:
        """True when the chat's abort was in time and not refused, so that it counts in `aborts`."""
        return self.outcome in ("stopped", "missed")


def measure(row: Row, settings: Any = None) -> ChatMetrics:
    """Derive the metrics of one chat row; raises KeyError or TypeError when the row is not of schema 1.

    `settings` are the scenario's as the manifest keeps them. A counted abort was sent before the client saw the
    natural end and before the witness wrote it. Stop times exist only for stops that happened: a missed abort is a
    count, never a latency, but the tokens it let through are wasted. Stalls are part of `itl_ms`: the gaps are what
    the reader of the stream lived through.
    """
    settings = settings or {}
    found = outcome_of(row, settings)
    return ChatMetrics(
        **found._asdict(),
        **({} if found.outcome in ("error", "rejected") else _reading(row, found.outcome)),
        **(
            _stop(row, settings, found.outcome, prevented=found.prevented)
            if found.outcome in ("stopped", "missed")
            else {}
        ),
        wrong_stop=wrong_stop(row),
        tokens_after_stop=tokens_after_stop(row),
        leaked=leaked(row),
    )


def _reading(row: Row, outcome: Outcome) -> dict[str, Any]:
    """What the reader of a stream saw until it was aborted, if it was."""
    client, abort = row["client"], row["abort"]
    tokens: list[int] = client["token_ns"]
    undisturbed = outcome in ("plain", "late") or abort["sent_ns"] is None
    before = tokens if undisturbed else [token_ns for token_ns in tokens if token_ns <= abort["sent_ns"]]
    return {
        "ttft_ms": _ms(client["sent_ns"], tokens[0]) if tokens else None,
        "ttft_intended_ms": _ms(client.get("intended_ns"), tokens[0]) if tokens else None,
        "itl_ms": tuple((later - earlier) / NS_PER_MS for earlier, later in pairwise(before)),
    }


def _stop(row: Row, settings: Mapping[str, Any], outcome: Outcome, *, prevented: bool) -> dict[str, Any]:
    """How a counted abort went."""
    client, abort, witness = row["client"], row["abort"], row["witness"]
    sent_ns: int = abort["sent_ns"]
    stopped, cut = outcome == "stopped", outcome == "stopped" and not prevented
    # The client who hangs up ends its own stream: that it saw an end says nothing about the service.
    own_end = hangs_up(row["strategy"], settings)
    return {
        "upstream_stop_ms": _ms(sent_ns, witness["lost_ns"]) if cut else None,
        "upstream_stop_intended_ms": _ms(abort.get("intended_ns"), witness["lost_ns"]) if cut else None,
        "client_stop_ms": _ms(sent_ns, client["end_ns"]) if stopped and not own_end else None,
        "abort_ack_ms": _ack_ms(abort),
        "wasted_tokens": 0 if prevented else sum(token_ns > sent_ns for token_ns in witness["token_ns"]),
        "parts_ns": split_ns(row, settings) if cut else None,
    }


def _ack_ms(abort: Row) -> float | None:
    """From the press that was accepted to its answer; how fast an error came says nothing about that."""
    if abort["ack_ns"] is None or abort["status"] == 503 or abort_error(abort):
        return None
    return _ms(abort["sent_ns"] if tries(abort) == 1 else abort.get("accepted_sent_ns"), abort["ack_ns"])


def _ms(start_ns: int | None, end_ns: int) -> float | None:
    return None if start_ns is None else (end_ns - start_ns) / NS_PER_MS
