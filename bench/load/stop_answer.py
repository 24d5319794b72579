"""The answer to a stop request, judged by the expressions of the target file."""

from __future__ import annotations

from typing import Any

from bench.load.script import Script
from bench.record.schema import AbortAnswer


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
