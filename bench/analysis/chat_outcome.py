"""What became of one chat and its abort, and what must never happen to a chat; pure functions of a row."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from bench.record.manifest import ScenarioSettings
from bench.record.schema import AbortSide, ChatRow, ClientSide, WitnessSide
from bench.workload.strategies import hangs_up, is_foreign

Outcome = Literal["plain", "stopped", "missed", "late", "same_worker", "refused", "rejected", "error"]
JSON_NAMES: Mapping[Outcome, str] = {"same_worker": "own", "rejected": "turned_away"}
"""Outcomes that the files of schema 1 count under another name."""
OTHER_WORKER = "other-worker"
CLIENT_CLOSED = 499
"""Our service answers this to a stopped chat that is not streamed."""
LEAK_S = 10.0
"""An upstream of a foreign target that is open for longer after the stop has leaked."""
AFTER_STOP_SLACK_MS = 10.0
"""Answer and stream come over two sockets, which a load process reads in any order within one turn of its loop."""


class ChatOutcome(NamedTuple):
    """The outcome of a chat, the error (or None), and whether it was stopped before the upstream was requested.

    `plain`: no abort was planned. `stopped`: a counted abort ended the upstream. `missed`: a counted abort, yet the
    upstream ran to its natural end (or, of a foreign target, was still open 10 s after the last stop). `late`: the
    stream ended, or was about to, before the abort could act.
    `same_worker`: the abort reached the chat's own worker in a scenario that counts only the others. `refused`: no try
    of the abort was accepted in time (503; or 404 after the end, from a store that had crashed). `rejected`: the chat
    itself was answered with 503, its store being unavailable. `error`: the chat cannot be used.
    """

    outcome: Outcome
    error: str | None = None
    prevented: bool = False


def outcome_of(row: ChatRow, settings: ScenarioSettings) -> ChatOutcome:
    """The outcome of a chat; `settings` are its scenario's."""
    if row.service and row.service.finish_reason == "refused_503":
        return ChatOutcome("rejected")
    hangup = hangs_up(row.strategy, settings.abort_by)
    prevented = _prevented(row, hangup=hangup)
    if error := _unusable(row, prevented=prevented, hangup=hangup):
        return ChatOutcome("error", error)
    return _of_abort(row, row.abort, settings, prevented=prevented) if row.abort else ChatOutcome("plain")


def _of_abort(row: ChatRow, abort: AbortSide, settings: ScenarioSettings, *, prevented: bool) -> ChatOutcome:
    witness, error = row.witness, abort_error(abort)
    stopped = prevented or witness is None or witness.outcome == "cut"
    if witness and not stopped and _too_late(row.client, abort, witness):
        return ChatOutcome("refused" if abort.status == 503 else "late", error)
    if settings.count_only == OTHER_WORKER and _on_same_worker(row):
        return ChatOutcome("same_worker")
    if witness is None or stopped:
        return ChatOutcome("stopped", error, prevented)
    return ChatOutcome(_not_stopped(abort, witness, settings), error)


def abort_error(abort: AbortSide) -> str | None:
    """The error of a failed abort (transport error or HTTP 5xx), or None; a 503 is a refusal and counted as such."""
    if abort.error:
        return f"abort: {abort.error}"
    if abort.status is not None and abort.status >= 500 and abort.status != 503:
        return f"abort: HTTP {abort.status}"
    return None


def tries(abort: AbortSide) -> int:
    """How often the abort was sent."""
    return abort.tries or 1


def wrong_stop(row: ChatRow) -> bool:
    """Whether the chat was stopped (upstream cut, or `finish_reason` abort) before an abort had been sent.

    A chat that failed is an error and no wrong stop: the service closes the upstream of a client that disconnected.
    """
    client, witness = row.client, row.witness
    if client.error or not _is_success(client.status):
        return False
    stops_ns = [client.end_ns] if client.finish_reason == "abort" else []
    if witness and witness.outcome == "cut":
        stops_ns.append(witness.lost_ns)
    sent_ns = row.abort.sent_ns if row.abort else None
    return bool(stops_ns) and (sent_ns is None or min(each or 0 for each in stops_ns) < sent_ns)


def tokens_after_stop(row: ChatRow) -> int:
    """How many tokens the client received after the stop had been reported to it.

    Reported by the chunk with `finish_reason` abort (`client.tokens_after_finish`, counted by the load: one read may
    hold both), or by an abort that was answered `stopped`, which means that the upstream is closed.
    """
    client, abort = row.client, row.abort
    late = client.tokens_after_finish if client.finish_reason == "abort" else 0
    if abort and abort.outcome == "stopped" and abort.ack_ns is not None:
        from_ns = abort.ack_ns + AFTER_STOP_SLACK_MS * 1e6
        late = max(late, sum(token_ns > from_ns for token_ns in client.token_ns))
    return late


def dishonest(row: ChatRow, outcome: Outcome) -> bool:
    """Whether the service accepted a stop request and its upstream ran to the end."""
    accepted = row.abort is not None and row.abort.accepted_sent_ns is not None
    return outcome == "missed" and accepted and not hangs_up(row.strategy, "request")


def leaked(row: ChatRow) -> bool:
    """Whether the upstream was still open when the run had settled; of a foreign target, 10 s after its stop."""
    witness = row.witness
    if witness is None or (is_foreign(row.strategy) and not (row.abort and row.abort.sent_ns)):
        return False
    open_s = upstream_open_s(row)
    return witness.outcome == "open" or (is_foreign(row.strategy) and open_s is not None and open_s >= LEAK_S)


def upstream_open_s(row: ChatRow) -> float | None:
    """How long the upstream stayed open after the stop, in seconds, 10 at most; None without a stop or an upstream."""
    witness, sent_ns = row.witness, row.abort.sent_ns if row.abort else None
    if witness is None or sent_ns is None:
        return None
    end_ns = witness.lost_ns or witness.done_ns
    return LEAK_S if end_ns is None else min(LEAK_S, max(0.0, (end_ns - sent_ns) / 1e9))


def _is_success(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def _prevented(row: ChatRow, *, hangup: bool) -> bool:
    """Whether the abort was obeyed before the upstream was requested, so that there is no witness.

    Tokens come from an upstream that was requested: then the witness's row was lost, and nothing is known.
    """
    client, abort = row.client, row.abort
    if row.witness or client.token_ns or abort is None or abort.sent_ns is None:
        return False
    if hangup:
        return client.status is None
    remembered = row.service is not None and row.service.abort_outcome == "remembered"
    accepted = abort.accepted_sent_ns is not None or abort.status == 200 or remembered
    return accepted and client.finish_reason == "abort" and abort.sent_ns <= (client.end_ns or 0)


def _unusable(row: ChatRow, *, prevented: bool, hangup: bool) -> str | None:
    """Why nothing may be derived from this chat, or None when it can be used."""
    client, witness = row.client, row.witness
    sent_ns = row.abort.sent_ns if row.abort else None
    left_early = hangup and sent_ns is not None and client.status is None
    foreign = is_foreign(row.strategy)
    stopped_whole = client.status == CLIENT_CLOSED and sent_ns is not None  # its body is an error object
    # What a foreign service answers once it was asked to stop is its own way to end; the witness decides.
    if client.error and not stopped_whole and not (foreign and sent_ns is not None):
        return client.error
    known = _is_success(client.status) or left_early or stopped_whole or (foreign and sent_ns is not None and witness)
    if not known:
        return "no answer" if client.status is None else f"HTTP {client.status}"
    if witness is None:
        return None if prevented else "the upstream never saw it"
    if witness.outcome == "open" and not (foreign and sent_ns is not None):
        return "the upstream was still open when the witness was read"
    # A cut that no abort explains is a stop of the wrong chat or a crash; it must not pass for a stop.
    if witness.outcome == "cut" and (sent_ns is None or sent_ns > (witness.lost_ns or 0)):
        return "the upstream was cut without an abort"
    return None


def _too_late(client: ClientSide, abort: AbortSide, witness: WitnessSide) -> bool:
    """Whether the stream's natural end came first, at the client or at the witness."""
    sent_ns = abort.sent_ns
    if sent_ns is None:  # planned, but the stream had ended before
        return True
    natural = client.finish_reason not in (None, "abort") and (client.end_ns or 0) <= sent_ns
    return natural or (witness.done_ns is not None and witness.done_ns <= sent_ns)


def _not_stopped(abort: AbortSide, witness: WitnessSide, settings: ScenarioSettings) -> Outcome:
    """Why an abort in time did not stop: every try was refused, the accepted one came too late, or it was missed.

    An abort that is accepted within the scenario's margin to the natural end has no time to act.
    """
    accepted_ns, done_ns, ack_ns = abort.accepted_sent_ns, witness.done_ns, abort.ack_ns
    within_ns = None if done_ns is None else done_ns - settings.abort_margin_ms * 1e6
    if settings.fault and abort.status == 404 and done_ns and within_ns and ack_ns and ack_ns > within_ns:
        # It waited for a store that had crashed and was answered at the end: nothing was promised.
        return "refused" if ack_ns >= done_ns else "late"
    if accepted_ns is None:
        return "refused" if abort.status == 503 or tries(abort) > 1 else "missed"
    if done_ns and within_ns and accepted_ns > within_ns:
        return "refused" if accepted_ns >= done_ns else "late"
    return "missed"


def _on_same_worker(row: ChatRow) -> bool:
    """Whether the worker that answered the abort is the one that held the chat."""
    return row.service is not None and row.service.pid is not None and row.service.pid == row.service.abort_pid
