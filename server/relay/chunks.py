"""chat.completion.chunk events: their text, finish_reason or error, and those that end an aborted chat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from server import sse
from server.sse import Event, events_in

# What a chunk with choices holds, and a usage or filter chunk does not. Inside a text the quotes would be escaped.
DELTA, REASON, ERROR = b'"delta"', b'"finish_reason"', b"error"
REASON_CHARS = 64
"""A finish_reason of the upstream is cut to this many characters in logs, traces and spans."""
FAILED = "the upstream failed in the middle of its answer"
NO_TEXT = "length"
"""OpenAI's word for an answer that was cut short: after `stop` without a text pydantic-ai asks, and pays, again."""


class MalformedChunkError(Exception):
    """The upstream sent an event that is no chunk of a chat, or that states an error."""


def payloads(events: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects in whole events."""
    return (payload for one in events_in(events) if isinstance(payload := one.json(), dict))


def text_of(events: bytes) -> str:
    """The text that whole chat.completion.chunk events carry. Raises `MalformedChunkError`."""
    try:
        return "".join(_texts(events))
    except (AttributeError, TypeError):
        raise MalformedChunkError("the upstream sent a malformed chunk") from None


def _texts(events: bytes) -> Iterator[str]:
    for one in events_in(events):
        if one.data == b"[DONE]":
            continue
        payload = one.json()
        if payload.get("error"):
            raise MalformedChunkError(FAILED)
        for choice in payload.get("choices") or ():
            yield (choice.get("delta") or {}).get("content") or ""


def before_text(events: bytes) -> tuple[int, bool]:
    """How many events come before the first that carries text, and whether one does.

    A tool call, a refusal and reasoning count as text; a role does not.
    """
    count = 0
    for one in events_in(events):
        payload = one.json()
        choices = payload.get("choices") if isinstance(payload, dict) else None
        if isinstance(choices, list) and any(map(_has_text, choices)):
            return count, True
        count += one.data != b"[DONE]"
    return count, False


def _has_text(choice: object) -> bool:
    delta = choice.get("delta") if isinstance(choice, dict) else None
    return isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")


def finish_reason_of(events: bytes) -> str | None:
    """The last finish_reason that whole events carry; None if they carry none, or none that can be read."""
    reasons = [finish_reason_in(payload) for payload in payloads(events)]
    return next(filter(None, reversed(reasons)), None)


def finish_reason_in(completion: dict[str, Any]) -> str | None:
    """The last finish_reason of one chat.completion or chunk; None if it has none that can be read."""
    choices = completion.get("choices")
    if not isinstance(choices, list):
        return None
    given = [choice.get("finish_reason") for choice in choices if isinstance(choice, dict)]
    return next((reason[:REASON_CHARS] for reason in reversed(given) if reason and isinstance(reason, str)), None)


def failure_in(events: bytes) -> tuple[bytes, Any] | None:
    """The first error that whole events state, and the events before it; None if they state none."""
    if ERROR not in events:
        return None
    before: list[bytes] = []
    for block in sse.blocks_in(events):
        for one in events_in(block):
            if (error := _error_in(one)) is not None:
                return b"".join(before), error
        before.append(block)
    return None


def _error_in(one: Event) -> Any:
    payload = one.json()
    if not isinstance(payload, dict):
        return one.data.decode("utf-8", "replace") if one.name == "error" else None
    return error_in(payload) or (payload if one.name == "error" else None)


def error_in(payload: dict[str, Any]) -> Any:
    """What an object that the upstream sent states as its error; None if it states none."""
    return payload.get("error") or (payload if payload.get("object") == "error" else None)


def abort_events(
    last_events: bytes, body: dict[str, Any], request_id: str, *, reason: str, delivered: int, texts: int
) -> bytes:
    """The events that end an aborted answer, `[DONE]` excluded: a continuation of the last events.

    `delivered` chunks were sent to the client, `texts` of them with text. On `/v1`, where `reason` is one of OpenAI's
    own, an extension field says `aborted`, and an answer without any text ends with NO_TEXT. A client that asked for
    usage gets the upstream's figures if the last chunk held any, else an estimate: one token for each chunk of text,
    none for the prompt.
    """
    last = next(payloads(last_events), {})
    head = {
        "id": last.get("id", f"chatcmpl-{request_id}"),
        "object": "chat.completion.chunk",
        "created": last.get("created", int(time.time())),
        "model": last.get("model", body["model"]),
    }
    native = reason == "abort"
    reason = reason if native or (texts and not _is_thinking(last)) else NO_TEXT
    final: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}
    extension = {"delivered_chunks": delivered} | ({} if native else {"aborted": True})
    events = sse.event({**head, "choices": [final], **extension})
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        usage, estimated = last.get("usage"), {}
        if not isinstance(usage, dict):
            usage, estimated = _usage(texts), {"usage_estimated": True}
        events += sse.event({**head, "choices": [], "usage": usage, **estimated})
    return events


def _is_thinking(chunk: dict[str, Any]) -> bool:
    """Whether the answer is still in its reasoning: that comes before the text."""
    choices = chunk.get("choices")
    deltas = (
        [choice.get("delta") for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    )
    keys = {key for delta in deltas if isinstance(delta, dict) for key, value in delta.items() if value}
    return bool(keys & {"reasoning", "reasoning_content"}) and not keys & {"content", "tool_calls", "refusal"}


def _usage(texts: int) -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": texts, "total_tokens": texts}
