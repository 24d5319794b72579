"""chat.completion.chunk events: read their text, finish_reason and error; build those that end an aborted chat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from server import sse
from server.sse import Event, parse_events

# Found in a chunk with choices, but not in a usage or filter chunk. Inside a text the quotes would be escaped.
DELTA, REASON, ERROR = b'"delta"', b'"finish_reason"', b"error"
MAX_REASON_CHARS = 64
"""An upstream's finish_reason is truncated to this length in logs, traces and spans."""
FAILED_MIDWAY = "the upstream failed in the middle of its answer"
NO_TEXT_REASON = "length"
"""finish_reason of an answer aborted before its first text: after `stop` without text pydantic-ai sends it again."""


class MalformedChunkError(Exception):
    """The upstream sent an event that is not a chat chunk, or one that holds an error."""


def payloads(events: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in whole events."""
    return (payload for one in parse_events(events) if isinstance(payload := one.json(), dict))


def text_of(events: bytes) -> str:
    """Return the text in whole chat.completion.chunk events. Raises `MalformedChunkError`."""
    try:
        return "".join(_texts(events))
    except (AttributeError, TypeError):
        raise MalformedChunkError("the upstream sent a malformed chunk") from None


def _texts(events: bytes) -> Iterator[str]:
    for one in parse_events(events):
        if one.data == b"[DONE]":
            continue
        payload = one.json()
        if payload.get("error"):
            raise MalformedChunkError(FAILED_MIDWAY)
        for choice in payload.get("choices") or ():
            yield (choice.get("delta") or {}).get("content") or ""


def events_before_text(events: bytes) -> tuple[int, bool]:
    """Count the events before the first that carries text; the flag is false if none does.

    A tool call, a refusal and reasoning count as text; a role does not.
    """
    count = 0
    for one in parse_events(events):
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
    """Return the last finish_reason in whole events; None if there is none, or none that is valid."""
    reasons = [finish_reason_of_payload(payload) for payload in payloads(events)]
    return next(filter(None, reversed(reasons)), None)


def finish_reason_of_payload(completion: dict[str, Any]) -> str | None:
    """Return the last finish_reason of one chat.completion or chunk; None if there is none that is valid."""
    choices = completion.get("choices")
    if not isinstance(choices, list):
        return None
    reasons = [choice.get("finish_reason") for choice in choices if isinstance(choice, dict)]
    return next((reason[:MAX_REASON_CHARS] for reason in reversed(reasons) if reason and isinstance(reason, str)), None)


def first_error(events: bytes) -> tuple[bytes, Any] | None:
    """Return the events before the first error in whole events, and that error; None if there is no error."""
    if ERROR not in events:
        return None
    before: list[bytes] = []
    for block in sse.split_events(events):
        for one in parse_events(block):
            if (error := _error_in(one)) is not None:
                return b"".join(before), error
        before.append(block)
    return None


def _error_in(one: Event) -> Any:
    payload = one.json()
    if not isinstance(payload, dict):
        return one.data.decode("utf-8", "replace") if one.name == "error" else None
    return error_of_payload(payload) or (payload if one.name == "error" else None)


def error_of_payload(payload: dict[str, Any]) -> Any:
    """Return the error inside an object from the upstream; None if there is none."""
    return payload.get("error") or (payload if payload.get("object") == "error" else None)


def abort_events(
    last_events: bytes, body: dict[str, Any], request_id: str, *, reason: str, delivered: int, text_chunks: int
) -> bytes:
    """Build the events that end an aborted answer, without `[DONE]`; id and model are those of the last events.

    `delivered` chunks were sent to the client, `text_chunks` of them with text. On `/v1`, where `reason` is one of
    OpenAI's own, the extension field `aborted` is added, and an answer without text ends with NO_TEXT_REASON. With
    `include_usage` the usage is the upstream's if the last chunk held any, else one token per chunk of text.
    """
    last = next(payloads(last_events), {})
    head = {
        "id": last.get("id", f"chatcmpl-{request_id}"),
        "object": "chat.completion.chunk",
        "created": last.get("created", int(time.time())),
        "model": last.get("model", body["model"]),
    }
    native = reason == "abort"
    reason = reason if native or (text_chunks and not _is_reasoning(last)) else NO_TEXT_REASON
    final: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}
    extension = {"delivered_chunks": delivered} | ({} if native else {"aborted": True})
    events = sse.format_event({**head, "choices": [final], **extension})
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        usage, estimated = last.get("usage"), {}
        if not isinstance(usage, dict):
            usage, estimated = _usage(text_chunks), {"usage_estimated": True}
        events += sse.format_event({**head, "choices": [], "usage": usage, **estimated})
    return events


def _is_reasoning(chunk: dict[str, Any]) -> bool:
    """Whether the chunk holds reasoning and no text yet."""
    choices = chunk.get("choices")
    deltas = (
        [choice.get("delta") for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    )
    keys = {key for delta in deltas if isinstance(delta, dict) for key, value in delta.items() if value}
    return bool(keys & {"reasoning", "reasoning_content"}) and not keys & {"content", "tool_calls", "refusal"}


def _usage(text_chunks: int) -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": text_chunks, "total_tokens": text_chunks}
