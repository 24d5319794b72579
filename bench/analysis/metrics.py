"""What one chat measured: a row of chats.jsonl.gz in, its outcome and metrics out; pure, no files."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.analysis import chat_outcome
from bench.analysis.chat_outcome import Outcome, abort_error
from bench.record.manifest import ScenarioSettings
from bench.record.schema import AbortSide, ChatRow
from bench.workload.strategies import hangs_up, is_foreign

NS_PER_MS = 1e6
UNITS = {
    "wasted_tokens": "tokens",
    "server_cpu_us_per_token": "µs/token",
    "store_ops_per_token": "operations/token",
    "store_ops_per_chat": "operations/chat",
    "upstream_open_s": "s",
    "chats_per_s": "chats/s",
    "tokens_per_s": "tokens/s",
}
"""Metrics that are not here end in their unit: `_ms`."""
NO_SETTINGS = ScenarioSettings()
PartsNs = tuple[int | None, ...]
"""The parts of a stop in ns, in the order of waterfall.PARTS."""


@dataclass(frozen=True, slots=True)
class ChatMetrics:
    """The metrics of one chat; `None` (or empty) where one does not apply. Times are milliseconds.

    `error` may also be set on a usable chat whose abort failed (transport, or HTTP 5xx other than 503). `prevented`: it
    was stopped before the upstream was requested, so nothing was wasted and there is no `upstream_stop_ms`.
    `*_intended_ms` count from the moment at which the load planned to send, the others from the moment it did; an abort
    that was repeated counts from the first try. `parts_ns`: see split_ns. Of foreign targets only: `queue_ms`, from the
    client's request to the witness's receipt; `next_ttft_ms`, the TTFT of a chat that follows a stop on the same
    client; `upstream_open_s`, how long the upstream stayed open after the stop, 10 s at most.
    `clock_ms`: uncertainty of the client's stamps against the witness's; `clock_tokens`: tokens within it of the abort.
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
    queue_ms: float | None = None
    next_ttft_ms: float | None = None
    upstream_open_s: float | None = None
    dishonest: bool = False
    wrong_stop: bool = False
    tokens_after_stop: int = 0
    leaked: bool = False
    clock_ms: float = 0.0
    clock_tokens: int = 0

    @property
    def counted(self) -> bool:
        """Whether the chat's abort was in time and not refused, so that it counts in `aborts`."""
        return self.outcome in ("stopped", "missed")


def measure(row: ChatRow, settings: ScenarioSettings | None = None) -> ChatMetrics:
    """Derive the metrics of one chat; `settings` are its scenario's.

    A counted abort was sent before the client saw the natural end and before the witness wrote it. Stop times exist
    only for stops that happened: a missed abort is a count, never a latency, but the tokens it let through are wasted.
    """
    settings = settings or NO_SETTINGS
    found = chat_outcome.outcome_of(row, settings)
    counted = found.outcome in ("stopped", "missed")
    return ChatMetrics(
        **found._asdict(),
        **({} if found.outcome in ("error", "rejected") else _reading(row, found.outcome)),
        **(_stop(row, settings, stopped=found.outcome == "stopped", prevented=found.prevented) if counted else {}),
        dishonest=chat_outcome.dishonest(row, found.outcome),
        wrong_stop=chat_outcome.wrong_stop(row),
        tokens_after_stop=chat_outcome.tokens_after_stop(row),
        leaked=chat_outcome.leaked(row),
        clock_ms=row.clock_uncertainty_ns / NS_PER_MS,
        clock_tokens=_uncertain_tokens(row) if counted and row.clock_uncertainty_ns else 0,
    )


def split_ns(row: ChatRow, settings: ScenarioSettings) -> PartsNs:
    """The six parts of one stop in nanoseconds, None where one of a part's two stamps is missing.

    The stamps are those of three processes, each taken when its process gets to it: the owner may see the signal before
    the store's answer is back at the aborting worker. So each stamp counts as no later than what it led to: the running
    minimum, from the witness backwards, never before the abort was sent. What overlaps is given to the later part. The
    first five parts are never negative and add up to `upstream_stop_ms` exactly, all six to `client_stop_ms`: the
    client's end leads to nothing, so the last part is negative when the client saw the end first.
    An abort that was repeated counts from the first try: the waiting is part of `sent_to_received`.
    """
    sent_ns = row.abort.sent_ns if row.abort else None
    lost_ns = row.witness.lost_ns if row.witness else None
    if sent_ns is None or lost_ns is None:
        return (None,) * 6
    service = row.service
    stamps = (
        (service.upstream_closed_ns, service.signal_ns, service.abort_recorded_ns, service.abort_received_ns)
        if service
        else (None,) * 4
    )
    envelope: list[int | None] = []
    bound_ns = lost_ns
    for stamp_ns in stamps:
        if stamp_ns is not None:
            bound_ns = max(sent_ns, min(stamp_ns, bound_ns))
        envelope.append(None if stamp_ns is None else bound_ns)
    parts = [
        None if begin is None or end is None else end - begin
        for begin, end in pairwise([sent_ns, *reversed(envelope), lost_ns])
    ]
    # A client that disconnects ends its own stream: when that was says nothing about the service.
    own_end = hangs_up(row.strategy, settings.abort_by) or row.client.end_ns is None
    return (*parts, None if own_end else (row.client.end_ns or 0) - lost_ns)


def _reading(row: ChatRow, outcome: Outcome) -> dict[str, Any]:
    """What the client received until it aborted, if it did; pauses of the upstream are part of `itl_ms`."""
    client, tokens = row.client, row.client.token_ns
    sent_ns = None if row.abort is None or outcome in ("plain", "late") else row.abort.sent_ns
    before = tokens if sent_ns is None else [token_ns for token_ns in tokens if token_ns <= sent_ns]
    foreign = (
        {}
        if not is_foreign(row.strategy)
        else {
            "queue_ms": _ms(client.sent_ns, row.witness.received_ns) if row.witness else None,
            "next_ttft_ms": _ms(client.sent_ns, tokens[0]) if tokens and client.follows_stop else None,
        }
    )
    return {
        **foreign,
        "ttft_ms": _ms(client.sent_ns, tokens[0]) if tokens else None,
        "ttft_intended_ms": _ms(client.intended_ns, tokens[0]) if tokens else None,
        "itl_ms": tuple((later - earlier) / NS_PER_MS for earlier, later in pairwise(before)),
    }


def _stop(row: ChatRow, settings: ScenarioSettings, *, stopped: bool, prevented: bool) -> dict[str, Any]:
    """How a counted abort went."""
    client, abort, witness = row.client, row.abort, row.witness
    if abort is None or abort.sent_ns is None:
        return {}
    cut = witness if stopped and not prevented else None
    # A client that disconnects ends its own stream: that it saw an end says nothing about the service.
    own_end = hangs_up(row.strategy, settings.abort_by)
    return {
        "upstream_open_s": chat_outcome.upstream_open_s(row) if is_foreign(row.strategy) else None,
        "upstream_stop_ms": _ms(abort.sent_ns, cut.lost_ns) if cut else None,
        "upstream_stop_intended_ms": _ms(abort.intended_ns, cut.lost_ns) if cut else None,
        "client_stop_ms": _ms(abort.sent_ns, client.end_ns) if stopped and not own_end else None,
        "abort_ack_ms": _ack_ms(abort),
        "wasted_tokens": sum(token_ns > abort.sent_ns for token_ns in witness.token_ns) if witness else 0,
        "parts_ns": split_ns(row, settings) if cut else None,
    }


def _uncertain_tokens(row: ChatRow) -> int:
    """Tokens written so close to the abort that the clocks leave open whether before or after it."""
    if row.witness is None or row.abort is None or row.abort.sent_ns is None:
        return 0
    sent_ns, within_ns = row.abort.sent_ns, row.clock_uncertainty_ns
    return sum(abs(token_ns - sent_ns) <= within_ns for token_ns in row.witness.token_ns)


def _ack_ms(abort: AbortSide) -> float | None:
    """From the try that was accepted to its answer; how fast an error came is no acknowledgement."""
    if abort.status == 503 or abort_error(abort):
        return None
    return _ms(abort.sent_ns if chat_outcome.tries(abort) == 1 else abort.accepted_sent_ns, abort.ack_ns)


def _ms(start_ns: int | None, end_ns: int | None) -> float | None:
    return None if start_ns is None or end_ns is None else (end_ns - start_ns) / NS_PER_MS
