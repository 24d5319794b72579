"""What became of one chat and its abort: a row of chats.jsonl.gz in, its kind out; pure, no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from bench.workload.strategies import hangs_up

Outcome = Literal["plain", "stopped", "missed", "late", "same_worker", "refused", "rejected", "error"]
OTHER_WORKER = "other-worker"
JSON_NAMES: Mapping[Outcome, str] = {"same_worker": "own", "rejected": "turned_away"}
"""Outcomes that the files of schema 1 count under another name."""
Row = Any  # ChatRow, once it is read by attributes


class ChatOutcome(NamedTuple):
    """The kind of a chat, what failed in words (or None), and whether it was stopped before the upstream was asked.

    outcome: `plain` no abort was planned or the row has none; `stopped` a counted abort ended the upstream; `missed` a
    counted abort, yet the upstream ran to its natural end; `late` the stream had ended (or was about to, when a
    repeated press got through) before the abort could act; `same_worker` the abort landed on the chat's own worker in a
    scenario that counts only the others; `refused` no press of the abort was accepted in time, all got a 503,
    or, from a store that had died, a 404 when the stream had ended;
    `rejected` the service answered the chat itself with 503, its store being away; `error` the chat cannot be used.
    """

    outcome: Outcome
    error: str | None = None
    prevented: bool = False


def outcome_of(row: Row, settings: Mapping[str, Any]) -> ChatOutcome:
    """Tell the kind of a chat; `settings` are its scenario's, as the manifest keeps them."""
    if (row.get("service") or {}).get("finish_reason") == "refused_503":
        return ChatOutcome("rejected")
    leaver = hangs_up(row["strategy"], settings)
    prevented = _prevented(row, leaver=leaver)
    cause = _unusable(row, prevented=prevented, leaver=leaver)
    if cause:
        return ChatOutcome("error", cause)
    return ChatOutcome("plain") if row["abort"] is None else _outcome_of_abort(row, settings, prevented=prevented)


def _outcome_of_abort(row: Row, settings: Mapping[str, Any], *, prevented: bool) -> ChatOutcome:
    abort, witness = row["abort"], row["witness"]
    stopped = prevented or witness["outcome"] == "cut"
    if not stopped and _too_late(row["client"], abort, witness):
        return ChatOutcome("refused" if abort["status"] == 503 else "late", abort_error(abort))
    if settings.get("count_only") == OTHER_WORKER and _on_own_worker(row):
        return ChatOutcome("same_worker")
    if stopped:
        return ChatOutcome("stopped", abort_error(abort), prevented)
    margin_ms, store_died = settings.get("abort_margin_ms") or 0.0, bool(settings.get("fault"))
    return ChatOutcome(_not_stopped(abort, witness, margin_ms, store_died=store_died), abort_error(abort))


def abort_error(abort: Row) -> str | None:
    """The failed abort in words (transport error or HTTP 5xx), or None; a 503 is an honest no, and counted as such."""
    if abort["error"]:
        return f"abort: {abort['error']}"
    if abort["status"] is not None and abort["status"] >= 500 and abort["status"] != 503:
        return f"abort: HTTP {abort['status']}"
    return None


def tries(abort: Row) -> int:
    """How often the abort was pressed."""
    return abort.get("tries") or 1


def _prevented(row: Row, *, leaver: bool) -> bool:
    """True when the abort was obeyed before the upstream was asked: the witness never heard of the chat.

    Tokens come from an upstream that was asked: then the witness has lost its row, and nothing is known.
    """
    client, abort = row["client"], row["abort"]
    if row["witness"] is not None or client["token_ns"] or abort is None or abort["sent_ns"] is None:
        return False
    if leaver:
        return client["status"] is None
    remembered = (row.get("service") or {}).get("abort_outcome") == "remembered"
    accepted = abort.get("accepted_sent_ns") is not None or abort["status"] == 200 or remembered
    return accepted and client["finish_reason"] == "abort" and abort["sent_ns"] <= client["end_ns"]


def _unusable(row: Row, *, prevented: bool, leaver: bool) -> str | None:
    """Why nothing may be derived from this chat, or None when it can be used."""
    client, abort, witness = row["client"], row["abort"], row["witness"]
    aborted = abort is not None and abort["sent_ns"] is not None
    left_early = leaver and aborted and client["status"] is None
    if client["error"]:
        return str(client["error"])
    if client["status"] != 200 and not left_early:
        return "no answer" if client["status"] is None else f"HTTP {client['status']}"
    if witness is None:
        return None if prevented else "the upstream never saw it"
    if witness["outcome"] == "open":
        return "the upstream was still open when the witness was read"
    # A cut that no abort explains is a wrong-chat stop or a crash; it must not pass for a stop.
    if witness["outcome"] == "cut" and not (aborted and abort["sent_ns"] <= witness["lost_ns"]):
        return "the upstream was cut without an abort"
    return None


def _too_late(client: Row, abort: Row, witness: Row) -> bool:
    """True when the stream's natural end came first, at the client or at the witness."""
    sent_ns = abort["sent_ns"]
    if sent_ns is None:  # planned, but the stream was over before its moment came
        return True
    natural_end = client["finish_reason"] not in (None, "abort") and client["end_ns"] <= sent_ns
    return bool(natural_end or (witness["done_ns"] is not None and witness["done_ns"] <= sent_ns))


def _not_stopped(abort: Row, witness: Row, margin_ms: float, *, store_died: bool) -> Outcome:
    """Why an abort in time did not stop: every press was refused, the accepted one came too late, or it was missed.

    Most first presses keep the scenario's margin to the end; one at the last token does not, nor may one that is
    repeated until the store is back: within the margin no delivery is held to have had its chance.
    """
    accepted_ns, done_ns = abort.get("accepted_sent_ns"), witness["done_ns"]
    again = tries(abort) > 1
    if store_died and abort["status"] == 404 and done_ns is not None and abort["ack_ns"] > done_ns - margin_ms * 1e6:
        # It waited for a store that was away, and heard at the end that there is no such chat: no promise was made.
        return "refused" if abort["ack_ns"] >= done_ns else "late"
    if accepted_ns is None:
        return "refused" if abort["status"] == 503 or again else "missed"
    if done_ns is not None and accepted_ns > done_ns - margin_ms * 1e6:
        return "refused" if accepted_ns >= done_ns else "late"
    return "missed"


def _on_own_worker(row: Row) -> bool:
    """True when the worker that answered the abort is the one that held the chat."""
    service = row.get("service") or {}
    return service.get("pid") is not None and service["pid"] == service.get("abort_pid")
