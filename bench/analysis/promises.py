"""What must never happen to a chat, however fast it was stopped: facts of single rows, counted and never averaged."""

from __future__ import annotations

from typing import Any

AFTER_STOP_SLACK_MS = 10.0
"""Answer and stream come over two sockets, and a load process reads those in any order within one turn of its loop."""


def wrong_stop(row: dict[str, Any]) -> bool:
    """The chat was stopped (upstream cut, or `finish_reason` abort) before anybody had asked for it.

    A chat that failed is an error and no wrong stop: the service closes the upstream of a client that it lost, and
    one that it gave up.
    """
    client, abort, witness = row["client"], row["abort"], row["witness"]
    if client["error"] or client["status"] != 200:
        return False
    stops_ns = [client["end_ns"]] if client["finish_reason"] == "abort" else []
    if witness is not None and witness["outcome"] == "cut":
        stops_ns.append(witness["lost_ns"])
    pressed_ns = None if abort is None else abort["sent_ns"]
    return bool(stops_ns) and (pressed_ns is None or min(stops_ns) < pressed_ns)


def tokens_after_stop(row: dict[str, Any]) -> int:
    """How many tokens the client received after it had been told that the answer was stopped.

    Told by the chunk with `finish_reason` abort (`client.tokens_after_finish`, counted by the load: one read may hold
    both), or by an abort that was answered `stopped`, which says that the upstream is closed.
    """
    client, abort = row["client"], row["abort"]
    late = client.get("tokens_after_finish") or 0 if client["finish_reason"] == "abort" else 0
    confirmed = abort is not None and abort["outcome"] == "stopped" and abort["ack_ns"] is not None
    if confirmed:
        from_ns = abort["ack_ns"] + AFTER_STOP_SLACK_MS * 1e6
        late = max(late, sum(token_ns > from_ns for token_ns in client["token_ns"]))
    return int(late)


def leaked(row: dict[str, Any]) -> bool:
    """The upstream was still open when everything had had time to settle."""
    return row["witness"] is not None and row["witness"]["outcome"] == "open"
