"""The journal: one row per chat request, with a timestamp per token and the time the connection was lost."""

from array import array
from bisect import bisect_right
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

# 16 bytes each (timestamp and deadline): limits the memory when a few rows have very long responses.
_MAX_TOKENS = 8_000_000


def _stamps() -> "array[int]":
    return array("q")


@dataclass(slots=True, eq=False)
class Row:
    """One request. All times are CLOCK_MONOTONIC ns; None if the event did not occur."""

    id: str
    model: str
    stream: bool
    received_ns: int
    planned_tokens: int
    id_from: str = ""  # header (X-Request-Id), marker ([bench:ID]); empty: neither was there
    fault: str | None = None
    background: bool = False  # continues without its connection, until it is cancelled
    cancelled_ns: int | None = None
    headers_ns: int | None = None
    done_ns: int | None = None
    lost_ns: int | None = None
    token_ns: "array[int]" = field(default_factory=_stamps)
    due_ns: "array[int]" = field(default_factory=_stamps)
    resumed_ns: "array[int]" = field(default_factory=_stamps)

    @property
    def outcome(self) -> str:
        """`finished` (the natural end was written), `cut` (the connection was lost before it) or `open`.

        A background response is cut when it is cancelled, not when its connection is lost.
        """
        if self.done_ns is not None:
            return "finished"
        return "open" if (self.cancelled_ns if self.background else self.lost_ns) is None else "cut"

    def late_ns(self) -> list[int]:
        """Return the pacing error of each token in ns, except tokens delayed by a client that was not reading."""
        return [
            stamp - due
            for stamp, due in zip(self.token_ns, self.due_ns, strict=False)
            if not self._was_blocked(due, stamp)
        ]

    def _was_blocked(self, due_ns: int, stamp_ns: int) -> bool:
        later = bisect_right(self.resumed_ns, due_ns)
        return later < len(self.resumed_ns) and self.resumed_ns[later] <= stamp_ns

    def as_json(self) -> dict[str, Any]:
        """Return the row for /__mock/journal (pacing errors in ms, None without a token)."""
        late = sorted(self.late_ns())
        return {
            "id": self.id,
            "id_from": self.id_from,
            "model": self.model,
            "stream": self.stream,
            "received_ns": self.received_ns,
            "headers_ns": self.headers_ns,
            "token_ns": self.token_ns.tolist(),
            "planned_tokens": self.planned_tokens,
            "done_ns": self.done_ns,
            "lost_ns": self.lost_ns,
            "background": self.background,
            "cancelled_ns": self.cancelled_ns,
            "outcome": self.outcome,
            "fault": self.fault,
            "late_p99_ms": late[-(-99 * len(late) // 100) - 1] / 1e6 if late else None,
            "late_max_ms": late[-1] / 1e6 if late else None,
        }


class Journal:
    """The newest rows, limited in number and in tokens; dropped rows are counted."""

    def __init__(self, max_rows: int, max_tokens: int = _MAX_TOKENS) -> None:
        self._max_rows = max_rows
        self._max_tokens = max_tokens
        self._rows: deque[Row] = deque()
        self._by_id: defaultdict[str, list[Row]] = defaultdict(list)
        self._tokens = 0
        self.dropped = 0

    def add(self, row: Row) -> None:
        """Add `row`, which its response continues to fill; drop the oldest rows over the limits."""
        self._rows.append(row)
        self._by_id[row.id].append(row)
        self._tokens += row.planned_tokens
        while len(self._rows) > 1 and (len(self._rows) > self._max_rows or self._tokens > self._max_tokens):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self._rows.popleft()
        self._tokens -= oldest.planned_tokens
        self.dropped += 1
        same_id = self._by_id[oldest.id]
        del same_id[0]
        if not same_id:
            del self._by_id[oldest.id]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def rows(self, request_id: str | None = None, prefix: str = "") -> list[Row]:
        """Return rows, oldest first: of one request id (a retry has the same one), or of all that begin with `prefix`.

        One id takes the same time however many rows there are, so a client may poll for it.
        """
        if request_id is not None:
            return list(self._by_id.get(request_id, ()))
        return [row for row in self._rows if row.id.startswith(prefix)]

    def clear(self) -> None:
        """Delete all rows; responses in progress are no longer recorded."""
        self._rows.clear()
        self._by_id.clear()
        self._tokens = self.dropped = 0
