"""The commits that the gate must find, each a small edit of the service's own code; and one that it must not find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STOP_TIMES = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms")
DOCS = "README.md"
RECORD = "await self._ask().flag(request_id, owner, remember=may_remember)\n"
"""Where an abort is recorded. The edits stay within the line, so that they do not depend on how deep it stands."""


class FaultError(Exception):
    """The service's code has changed, so that an edit no longer fits; the message is one line."""


@dataclass(frozen=True)
class Fault:
    """One edit: in `file` (in the checkout) `before`, which stands there once, becomes `after`.

    `shown_by`: the rules and metrics of which one at least must make the gate say worse. `needs`: words that the names
    of the strategies must contain for the fault to show at all.
    """

    name: str
    sentence: str
    file: str
    before: str
    after: str
    shown_by: tuple[str, ...]
    needs: str

    def apply(self, checkout: Path) -> None:
        """Edit the checkout. Raises FaultError."""
        path = checkout / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text.count(self.before) != 1:
            where = f"{text.count(self.before)} places in {self.file} that it could edit"
            raise FaultError(f"the fault {self.name!r} finds {where}, not one: mend it in bench/prove_faults.py")
        path.write_text(text.replace(self.before, self.after), encoding="utf-8")


FAULTS = (
    Fault(
        name="delay",
        sentence="adds 5 ms to the stop path",
        file="backends/delivery.py",
        before=f"outcome, chat = {RECORD}",
        after=f"await asyncio.sleep(0.005); outcome, chat = {RECORD}",
        shown_by=STOP_TIMES,
        needs="-push",
    ),
    Fault(
        name="poll",
        sentence="polls instead of pushing",
        file="backends/__init__.py",
        before="            return PushDelivery(store)\n",
        after="            return PollDelivery(store)\n",
        shown_by=("upstream_stop_ms", "client_stop_ms", "wasted_tokens"),
        needs="-push",
    ),
    Fault(
        name="drop",
        sentence="drops 1 % of aborts",
        file="backends/delivery.py",
        before=f"outcome, chat = {RECORD}",
        after=f"outcome, chat = (AbortOutcome.ACCEPTED, None) if secrets.randbelow(100) == 0 else {RECORD}",
        shown_by=("missed",),
        needs="-push",
    ),
    Fault(
        name="leak",
        sentence="leaks the upstream on disconnect",
        file="server/chat.py",
        before="            gone = True\n            self._stop()\n",
        after="            gone = True\n",
        shown_by=("missed", "leaked"),
        needs="disconnect",
    ),
)


def change_docs(checkout: Path) -> None:
    """A change that no stop can notice."""
    with (checkout / DOCS).open("a", encoding="utf-8") as text:
        text.write("\nOne more sentence.\n")
