"""The clock of a load worker: offset, uncertainty, drift and jumps, and stamps by the witness's clock."""

from __future__ import annotations

import random

import pytest

from bench.load.fleet.clock import MAX_DRIFT_PPM, Conversion, Exchange, reading_of, to_witness
from bench.record.schema import AbortSide, ClientSide, LoadRow, SecondAbort, StateSeen
from bench.record.traces import ClockReading, LoadAnswer, ProcessHealth, Second

SECOND = 1_000_000_000
AHEAD = 5000 * SECOND


def reading(at_ns: int, offset_ns: int, uncertainty_ns: int = 20_000) -> ClockReading:
    return ClockReading(at_ns=at_ns, offset_ns=offset_ns, uncertainty_ns=uncertainty_ns)


def burst(offset_ns: int, seed: int) -> list[Exchange]:
    """100 exchanges; each way takes 20 us and waits for up to 2 ms, often on one side only."""
    dice = random.Random(seed)
    found = []
    for number in range(100):
        sent_ns = number * 1_000_000
        there, back = (20_000 + int(dice.random() ** 3 * dice.choice((0, 2_000_000))) for _ in range(2))
        received_ns = sent_ns + there + offset_ns
        found.append(Exchange(sent_ns, received_ns, received_ns + 5_000, sent_ns + there + 5_000 + back))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_error_of_an_offset_is_at_most_half_the_shortest_round_trip(seed: int) -> None:
    found = reading_of(burst(AHEAD, seed))
    assert abs(found.offset_ns - AHEAD) <= found.uncertainty_ns < 100_000


def test_the_offset_of_a_single_exchange() -> None:
    exchange = Exchange(sent_ns=0, received_ns=1_000 + 30, responded_ns=1_000 + 50, answered_ns=80)
    assert (exchange.round_trip_ns, exchange.offset_ns) == (60, 1_000)
    assert reading_of([exchange]) == reading(40, 1_000, 30)


def test_an_offset_that_drifts_is_interpolated() -> None:
    conversion = Conversion(reading(0, AHEAD), reading(10 * SECOND, AHEAD + 400_000))
    assert [conversion.offset_ns(second * SECOND) - AHEAD for second in (0, 5, 10)] == [0, 200_000, 400_000]
    described = conversion.describe("worker 1 on b")
    assert (described.drift_ppm, described.uncertainty_ns, described.problem) == (40.0, 20_000, None)


def test_a_clock_that_jumps_is_one_line_and_makes_its_stamps_as_uncertain_as_the_jump() -> None:
    described = Conversion(reading(0, AHEAD), reading(SECOND, AHEAD + 50_000_000)).describe("worker 2 on b")
    assert described.problem == "the clock of worker 2 on b moved by 50.000 ms against the witness within 1.0 s"
    assert described.uncertainty_ns == 50_020_000


@pytest.mark.parametrize(("over", "jumped"), [(-1_000, False), (1_000, True)])
def test_what_moves_faster_than_any_clock_drifts_has_jumped(over: int, jumped: bool) -> None:
    moved_ns = int(SECOND * MAX_DRIFT_PPM / 1e6) + 2 * 20_000 + over
    assert Conversion(reading(0, 0), reading(SECOND, -moved_ns)).jumped is jumped


def answer(*clock: ClockReading) -> LoadAnswer:
    return LoadAnswer([], ProcessHealth(pid=1, seconds=[Second(from_ns=1, to_ns=2)]), clock=list(clock))


def full_row() -> LoadRow:
    """Every field that is a moment has one, and none is zero."""
    client = ClientSide(intended_ns=1, sent_ns=2, headers_ns=3, token_ns=[4, 5], end_ns=6)
    again = SecondAbort(sent_ns=10, ack_ns=11)
    states = [StateSeen(at_ns=12, state="stopped", honest=True)]
    abort = AbortSide(
        after_ms=1.0, intended_ns=7, sent_ns=8, ack_ns=9, accepted_sent_ns=8, tries=1, again=again, states=states
    )
    return LoadRow(index=0, request_id="a", client=client, abort=abort)


def test_every_stamp_of_a_row_is_converted() -> None:
    row, given = full_row(), answer(reading(0, AHEAD), reading(SECOND, AHEAD))
    described = to_witness([row], given, "worker 1 on b")
    assert described is not None
    assert row.clock_uncertainty_ns == described.uncertainty_ns == 20_000
    client, abort = row.client, row.abort
    assert abort is not None
    assert abort.again is not None
    assert abort.states is not None
    stamps = [
        *(client.intended_ns, client.sent_ns, client.headers_ns, *client.token_ns, client.end_ns),
        *(abort.intended_ns, abort.sent_ns, abort.ack_ns, abort.again.sent_ns, abort.again.ack_ns),
        abort.states[0].at_ns,
    ]
    assert stamps == [AHEAD + number for number in range(1, 13)]
    assert abort.accepted_sent_ns == AHEAD + 8
    assert (given.health.seconds[0].from_ns, given.health.seconds[0].to_ns) == (AHEAD + 1, AHEAD + 2)


def test_stamps_that_are_absent_stay_absent() -> None:
    row = LoadRow(index=0, request_id="a", client=ClientSide(token_ns=[]))
    to_witness([row], answer(reading(0, AHEAD), reading(SECOND, AHEAD)), "worker 1 on b")
    assert row.client == ClientSide(token_ns=[])


def test_nothing_is_converted_where_the_clock_is_the_witness_s() -> None:
    row = full_row()
    assert to_witness([row], answer(), "worker 1 on a") is None
    assert row == full_row()
