"""A target file, compiled for the load: the requests and expressions of its chats and of one way to stop them."""

import uuid
from functools import lru_cache
from typing import Any

import msgspec

from bench.load.order import Order
from bench.record.schema import AbortAnswer
from bench.targets.expressions import search
from bench.targets.model import Target
from bench.targets.requests import Encoder, Finder


class Script:
    """A target file, compiled: all chats of an order share it."""

    def __init__(self, target: Target, way: str) -> None:
        stop, stream = target.stop[way], target.stream
        self.prepare = {
            name: (Encoder(call), Finder(call.value) if call.value else None) for name, call in target.prepare.items()
        }
        self.start = Encoder(target.start) if target.start else None
        self.ids = {name: Finder(value) for name, value in target.start.ids.items()} if target.start else {}
        self.second = Encoder(stream) if stream.request else None
        self.framing = stream.framing
        self.separator = "" if stream.framing == "text" else "\n"
        self.token, self.reason, self.ended, self.aborted, self.error = (
            None if each is None else search(each)
            for each in (stream.token, stream.reason, stream.ended, stream.aborted, stream.error)
        )
        self.kind = stop.kind
        self.stop = Encoder(stop) if stop.request else None
        self.accepted, self.unknown, self.outcome = search(stop.accepted), search(stop.unknown), search(stop.outcome)
        self.retry, self.retry_on_error = search(stop.retry), stop.retry is not None
        self.state = stop.state
        self.state_request = Encoder(stop.state) if stop.state else None
        self.state_value = search(stop.state.value if stop.state else None)
        self.driver = target.driver


@lru_cache(maxsize=4)
def _script(target: bytes, way: str) -> Script:
    return Script(Target.model_validate(msgspec.json.decode(target)), way)


def script_of(order: Order) -> Script:
    """The script of an order; compiled once for all orders of a contender."""
    return _script(msgspec.json.encode(order.target), order.way)


def new_values(order: Order, request_id: str, marker: str, *, stream: bool) -> dict[str, Any]:
    """The values of a chat's templates."""
    text = f"{marker} [bench:{request_id}]"
    return {
        **order.values, "url": order.url, "id": request_id, "uuid": str(uuid.uuid4()), "text": text, "stream": stream,
        "prepare": {}, "ids": {},
    }  # fmt: skip


class Received(AbortAnswer, kw_only=True):
    """The answer to one abort request, and what the target file makes of it."""

    accepted: bool = False
    retry: bool = False

    def read(self, script: Script, status: int, body: Any) -> None:
        """Judge an answer."""
        if isinstance(body, str) and body.lstrip().startswith("<"):
            raise ConnectionError(f"HTTP {status} with a page instead of an answer: {body.strip()[:60]}")
        seen = {"status": status, "body": body}
        self.status, self.accepted, self.retry = status, bool(script.accepted(seen)), bool(script.retry(seen))
        word = "accepted" if self.accepted else "unknown" if script.unknown(seen) else "refused"
        self.outcome = script.outcome(seen) or word
