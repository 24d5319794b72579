"""What one chat measured: a row of chats.jsonl.gz in, its kind and metrics out; pure, no files."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Kind = Literal["plain", "stopped", "missed", "late", "error"]
NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics of one chat; `None` (or empty) where one does not apply.

    kind: `plain` no abort was planned or the row has none; `stopped` a counted abort ended the upstream; `missed` a
    counted abort, yet the upstream ran to its natural end; `late` the stream had ended before the abort was sent;
    `error` the chat cannot be used. `error` holds the cause in words and may also be set on a usable chat whose
    abort failed (HTTP 5xx or transport). Times are milliseconds.
    """

    kind: Kind
    error: str | None = None
    upstream_stop_ms: float | None = None
    client_stop_ms: float | None = None
    abort_ack_ms: float | None = None
    wasted_tokens: int | None = None
    ttft_ms: float | None = None
    itl_ms: tuple[float, ...] = ()

    @property
    def counted(self) -> bool:
        """True when the chat's abort was in time, so that it counts in `aborts`."""
        return self.kind in ("stopped", "missed")


def measure(row: dict[str, Any]) -> Measured:
    """Derive the metrics of one chat row; raises KeyError or TypeError when the row is not of schema 1.

    A counted abort was sent before the client saw the natural end and before the witness wrote it. Stop times exist
    only for stops that happened: a missed abort is a count, never a latency, but the tokens it let through are wasted.
    Stalls are part of `itl_ms`: the gaps are what the reader of the stream lived through.
    """
    cause = _unusable(row)
    if cause:
        return Measured(kind="error", error=cause)
    client, abort, witness = row["client"], row["abort"], row["witness"]
    tokens: list[int] = client["token_ns"]
    ttft_ms = _ms(client["sent_ns"], tokens[0]) if tokens else None
    if abort is None:
        return Measured(kind="plain", ttft_ms=ttft_ms, itl_ms=_gaps_ms(tokens))
    abort_error = _abort_error(abort)
    if _too_late(client, abort, witness):
        return Measured(kind="late", error=abort_error, ttft_ms=ttft_ms, itl_ms=_gaps_ms(tokens))
    sent_ns: int = abort["sent_ns"]
    stopped = witness["outcome"] == "cut"
    # The disconnecting client ends its own stream: that it saw an end says nothing about the service.
    own_end = row["strategy"] == "disconnect"
    return Measured(
        kind="stopped" if stopped else "missed",
        error=abort_error,
        upstream_stop_ms=_ms(sent_ns, witness["lost_ns"]) if stopped else None,
        client_stop_ms=_ms(sent_ns, client["end_ns"]) if stopped and not own_end else None,
        abort_ack_ms=_ms(sent_ns, abort["ack_ns"]) if abort["ack_ns"] is not None and not abort_error else None,
        wasted_tokens=sum(token_ns > sent_ns for token_ns in witness["token_ns"]),
        ttft_ms=ttft_ms,
        itl_ms=_gaps_ms([token_ns for token_ns in tokens if token_ns <= sent_ns]),
    )


def _unusable(row: dict[str, Any]) -> str | None:
    """Why nothing may be derived from this chat, or None when it can be used."""
    client, abort, witness = row["client"], row["abort"], row["witness"]
    aborted = abort is not None and abort["sent_ns"] is not None
    left_early = row["strategy"] == "disconnect" and aborted and client["status"] is None
    if client["error"]:
        return str(client["error"])
    if client["status"] != 200 and not left_early:
        return "no answer" if client["status"] is None else f"HTTP {client['status']}"
    if witness is None:
        return "the upstream never saw it"
    if witness["outcome"] == "open":
        return "the upstream was still open when the witness was read"
    # A cut that no abort explains is a wrong-chat stop or a crash; it must not pass for a stop.
    if witness["outcome"] == "cut" and not (aborted and abort["sent_ns"] <= witness["lost_ns"]):
        return "the upstream was cut without an abort"
    return None


def _abort_error(abort: dict[str, Any]) -> str | None:
    """The failed abort in words (transport error or HTTP 5xx), or None."""
    if abort["error"]:
        return f"abort: {abort['error']}"
    if abort["status"] is not None and abort["status"] >= 500:
        return f"abort: HTTP {abort['status']}"
    return None


def _too_late(client: dict[str, Any], abort: dict[str, Any], witness: dict[str, Any]) -> bool:
    """True when the stream's natural end came first, at the client or at the witness."""
    sent_ns = abort["sent_ns"]
    if sent_ns is None:  # planned, but the stream was over before its moment came
        return True
    natural_end = client["finish_reason"] not in (None, "abort") and client["end_ns"] <= sent_ns
    return bool(natural_end or (witness["done_ns"] is not None and witness["done_ns"] <= sent_ns))


def _gaps_ms(token_ns: list[int]) -> tuple[float, ...]:
    return tuple(_ms(earlier, later) for earlier, later in pairwise(token_ns))


def _ms(start_ns: int, end_ns: int) -> float:
    return (end_ns - start_ns) / NS_PER_MS
