"""The clock of a load worker against the witness's: offset, uncertainty, drift; pure.

Offset and round trip of an exchange are NTP's (RFC 5905, section 8).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from bench.record.schema import LoadClock, LoadRow
from bench.record.traces import ClockReading, LoadAnswer

MAX_DRIFT_PPM = 1000.0
"""Crystals differ by up to 100 ppm, and a time daemon slews by up to 500: what moves faster has jumped."""
JUMPED = "the clock of {} moved by {:.3f} ms against the witness within {:.1f} s"


class Exchange(NamedTuple):
    """One request to the witness: sent and answered by the worker's clock, received and responded by the witness's."""

    sent_ns: int
    received_ns: int
    responded_ns: int
    answered_ns: int

    @property
    def round_trip_ns(self) -> int:
        """The time on the way, both ways."""
        return (self.answered_ns - self.sent_ns) - (self.responded_ns - self.received_ns)

    @property
    def offset_ns(self) -> int:
        """The witness's clock less the worker's, if both ways take equally long."""
        return ((self.received_ns - self.sent_ns) + (self.responded_ns - self.answered_ns)) // 2


def reading_of(exchanges: Iterable[Exchange]) -> ClockReading:
    """The exchange with the shortest round trip: what waited least is wrong by at most half of it."""
    best = min(exchanges, key=lambda each: each.round_trip_ns)
    return ClockReading(
        at_ns=(best.sent_ns + best.answered_ns) // 2,
        offset_ns=best.offset_ns,
        uncertainty_ns=max(0, -(-best.round_trip_ns // 2)),
    )


class Conversion:
    """From a worker's clock to the witness's, linear between the readings before and after a case."""

    def __init__(self, before: ClockReading, after: ClockReading) -> None:
        self._before = before
        self.took_ns = max(1, after.at_ns - before.at_ns)
        self.moved_ns = after.offset_ns - before.offset_ns
        noise_ns, drift_ns = before.uncertainty_ns + after.uncertainty_ns, self.took_ns * MAX_DRIFT_PPM / 1e6
        self.jumped = abs(self.moved_ns) > noise_ns + drift_ns
        # When within the case the clock jumped is unknown, so any stamp may be wrong by the whole jump.
        self.uncertainty_ns = max(before.uncertainty_ns, after.uncertainty_ns) + self.jumped * abs(self.moved_ns)
        self._rate = self.moved_ns / self.took_ns

    def offset_ns(self, at_ns: int) -> int:
        """The witness's clock less the worker's at a moment of the worker's clock."""
        return self._before.offset_ns + round((at_ns - self._before.at_ns) * self._rate)

    def describe(self, worker: str) -> LoadClock:
        """The record of this clock; with a jump its `problem` is one line."""
        return LoadClock(
            worker=worker,
            offset_ns=self._before.offset_ns,
            uncertainty_ns=self.uncertainty_ns,
            drift_ppm=round(self._rate * 1e6, 3),
            problem=JUMPED.format(worker, self.moved_ns / 1e6, self.took_ns / 1e9) if self.jumped else None,
        )

    def apply(self, record: msgspec.Struct) -> None:
        """Convert every field `..._ns` of a record and of the records within it."""
        for name in record.__struct_fields__:
            value = getattr(record, name)
            if name.endswith("_ns"):
                setattr(record, name, self._converted(value))
            else:
                for each in value if isinstance(value, list) else (value,):
                    if isinstance(each, msgspec.Struct):
                        self.apply(each)

    def _converted(self, value: Any) -> Any:
        if isinstance(value, list):
            return [each + self.offset_ns(each) for each in value]
        return None if value is None else value + self.offset_ns(value)


def to_witness(rows: Sequence[LoadRow], answer: LoadAnswer, worker: str) -> LoadClock | None:
    """Convert the stamps of a case to the witness's clock, in place; None (nothing to do) for a shared clock."""
    if not answer.clock:
        return None
    conversion = Conversion(answer.clock[0], answer.clock[-1])
    for row in rows:
        conversion.apply(row.client)
        if row.abort is not None:
            conversion.apply(row.abort)
        row.clock_uncertainty_ns = conversion.uncertainty_ns
    for second in answer.health.seconds:
        conversion.apply(second)
    return conversion.describe(worker)
