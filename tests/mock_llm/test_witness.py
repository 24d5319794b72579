"""The journal's rows: cuts, natural ends, pacing, stalls, and clients that do not read."""

import itertools
import time

import pytest

from tests.mock_llm.conftest import END, Mock, chat_bytes, read_to_end, read_until, request_bytes

TOKEN = b'"delta":{"content":"'
CLOSE_SEEN_MS = 20  # generous for a shared machine; the order is tested exactly


def test_a_disconnect_within_a_stream_is_a_cut(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(chat_bytes("x-request-id: cut-1", "x-mock-itl-ms: 5", "x-mock-output-tokens: 1000"))
        read_until(raw, TOKEN, 5)
        closed_ns = time.monotonic_ns()
    row = mock.ended_row("cut-1")
    assert (row["outcome"], row["done_ns"]) == ("cut", None)
    assert 0 < row["lost_ns"] - closed_ns < CLOSE_SEEN_MS * 1e6
    assert 5 <= len(row["token_ns"]) < row["planned_tokens"] == 1000
    assert row["token_ns"][-1] < row["lost_ns"], "no token is written to a lost connection"


def test_nothing_is_written_after_a_cut(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(chat_bytes("x-request-id: cut-2", "x-mock-itl-ms: 2", "x-mock-output-tokens: 1000"))
        read_until(raw, TOKEN, 5)
    tokens = len(mock.ended_row("cut-2")["token_ns"])
    with mock.connect() as raw:  # 40 ms later: twenty tokens would have been due
        raw.sendall(chat_bytes("x-mock-ttft-ms: 40", "x-mock-output-tokens: 1"))
        read_until(raw, END)
    assert len(mock.ended_row("cut-2")["token_ns"]) == tokens


@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_before_the_first_token_and_in_a_stall(mock: Mock, stream: bool) -> None:
    for name, header in (("ttft", "x-mock-ttft-ms: 60000"), ("stall", "x-mock-stall-ms: 60000")):
        request_id = f"silent-{name}-{stream}"
        with mock.connect() as raw:
            raw.sendall(chat_bytes(f"x-request-id: {request_id}", header, "x-mock-stall-at: 3", stream=stream))
            if stream:
                read_until(raw, b"\r\n\r\n" if name == "ttft" else TOKEN, 1 if name == "ttft" else 3)
            else:
                mock.wait_for_row(request_id)
            closed_ns = time.monotonic_ns()
        row = mock.ended_row(request_id)
        assert row["outcome"] == "cut"
        assert 0 < row["lost_ns"] - closed_ns < CLOSE_SEEN_MS * 1e6
        assert len(row["token_ns"]) == (3 if stream and name == "stall" else 0)


def test_closing_an_idle_keep_alive_connection_is_not_a_cut(mock: Mock) -> None:
    with mock.connect() as raw:
        for request_id in ("idle-1", "idle-2"):  # twice over one connection
            raw.sendall(chat_bytes(f"x-request-id: {request_id}"))
            read_until(raw, END)
    for request_id in ("idle-1", "idle-2"):
        row = mock.ended_row(request_id)
        assert (row["outcome"], row["lost_ns"]) == ("finished", None)
        assert len(row["token_ns"]) == row["planned_tokens"] == 12
        stamps = [row["received_ns"], row["headers_ns"], *row["token_ns"], row["done_ns"]]
        assert stamps == sorted(stamps)


def test_tokens_are_never_early_and_do_not_drift(mock: Mock) -> None:
    with mock.connect() as raw:
        settings = ("x-request-id: paced", "x-mock-ttft-ms: 30.5", "x-mock-itl-ms: 3.3", "x-mock-output-tokens: 200")
        raw.sendall(chat_bytes(*settings))
        read_until(raw, END)
    row = mock.ended_row("paced")
    late_ms = [
        (stamp - row["received_ns"]) / 1e6 - 30.5 - 3.3 * position for position, stamp in enumerate(row["token_ns"])
    ]
    assert min(late_ms) >= 0
    assert sorted(late_ms)[len(late_ms) // 2] < 3, "absolute deadlines: delays do not accumulate"
    assert row["late_max_ms"] == pytest.approx(max(late_ms), abs=0.01)
    assert row["late_p99_ms"] == pytest.approx(sorted(late_ms)[197], abs=0.01)


def test_headers_are_sent_immediately(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(chat_bytes("x-request-id: early", "x-mock-ttft-ms: 60000"))
        head = read_until(raw, b"\r\n\r\n")
        row = mock.wait_for_row("early")
    assert b"x-request-id: early" in head
    assert b"text/event-stream" in head
    assert (row["outcome"], row["token_ns"]) == ("open", [])
    assert 0 <= row["headers_ns"] - row["received_ns"] < 50e6


@pytest.mark.parametrize("how", ["header", "marker"])
@pytest.mark.parametrize("stream", [True, False])
def test_late_headers_are_recorded_when_they_are_written(mock: Mock, stream: bool, how: str) -> None:
    request_id = f"late-headers-{stream}-{how}"
    if how == "header":
        request = chat_bytes(f"x-request-id: {request_id}", "x-mock-headers-ms: 80", stream=stream)
    else:
        request = chat_bytes(content=f"say [bench:{request_id}] [mock:headers_ms=80]", stream=stream)
    with mock.connect() as raw:
        sent_ns = time.monotonic_ns()
        raw.sendall(request)
        assert raw.recv(1) == b"H"
        began_ns = time.monotonic_ns()
        read_until(raw, END if stream else b"total_tokens")
    row = mock.ended_row(request_id)
    assert sent_ns < row["received_ns"]
    assert min(began_ns, row["headers_ns"]) - row["received_ns"] >= 80e6, "never early, and nothing before them"
    assert (row["outcome"], len(row["token_ns"])) == ("finished", 12)
    assert row["headers_ns"] <= row["token_ns"][0]
    assert row["late_max_ms"] < 60, "the wait for the headers is not a pacing error"


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_before_late_headers_is_a_cut_at_once(mock: Mock, stream: bool) -> None:
    request_id = f"no-headers-{stream}"
    with mock.connect() as raw:
        raw.sendall(chat_bytes(f"x-request-id: {request_id}", "x-mock-headers-ms: 60000", stream=stream))
        row = mock.wait_for_row(request_id)
        assert (row["outcome"], row["headers_ns"]) == ("open", None)
        raw.setblocking(False)
        with pytest.raises(BlockingIOError):
            raw.recv(1)
        closed_ns = time.monotonic_ns()
    row = mock.ended_row(request_id)
    assert (row["outcome"], row["headers_ns"], row["token_ns"]) == ("cut", None, [])
    assert 0 < row["lost_ns"] - closed_ns < CLOSE_SEEN_MS * 1e6


def test_nothing_is_written_after_a_cut_before_late_headers(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(chat_bytes("x-request-id: gone", "x-mock-headers-ms: 40"))
        mock.wait_for_row("gone")
    with mock.connect() as raw:  # until the headers of the first chat would have been due
        raw.sendall(chat_bytes("x-mock-headers-ms: 60", "x-mock-output-tokens: 1"))
        read_until(raw, END)
    row = mock.ended_row("gone")
    assert (row["outcome"], row["headers_ns"], row["token_ns"]) == ("cut", None, [])


@pytest.mark.parametrize("how", ["header", "marker"])
def test_a_stall_is_a_pause_after_its_number_of_tokens(mock: Mock, how: str) -> None:
    request_id = f"stall-{how}"
    if how == "header":
        request = chat_bytes(f"x-request-id: {request_id}", "x-mock-stall-at: 4", "x-mock-stall-ms: 120")
    else:
        request = chat_bytes(content=f"say [bench:{request_id}] [mock:stall_at=4, stall_ms=120]")
    with mock.connect() as raw:
        raw.sendall(request)
        read_until(raw, END)
    gaps_ms = [(b - a) / 1e6 for a, b in itertools.pairwise(mock.ended_row(request_id)["token_ns"])]
    assert gaps_ms[3] > 110
    assert max(gaps_ms[:3] + gaps_ms[4:]) < 110


def test_a_header_overrides_the_marker_and_the_marker_the_flags(mock: Mock) -> None:
    with mock.connect() as raw:
        marker = "[mock:output_tokens=5,itl_ms=0] [bench:by-marker]"
        raw.sendall(chat_bytes("x-mock-output-tokens: 7", "x-request-id: by-header", content=marker))
        read_until(raw, END)
        raw.sendall(chat_bytes(content=marker))
        read_until(raw, END)
    assert mock.ended_row("by-header")["planned_tokens"] == 7
    assert mock.ended_row("by-marker")["planned_tokens"] == 5
    assert [mock.ended_row(f"by-{each}")["id_from"] for each in ("header", "marker")] == ["header", "marker"]


def test_an_injected_cut_is_marked_as_a_fault(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(chat_bytes("x-request-id: own-cut", "x-mock-fault: cut", "x-mock-output-tokens: 10"))
        read_to_end(raw)
    row = mock.ended_row("own-cut")
    assert (row["outcome"], row["fault"], len(row["token_ns"])) == ("cut", "cut", 5)


def test_a_client_that_does_not_read_blocks_only_its_own_stream(mock: Mock) -> None:
    with mock.connect(receive_buffer=4096) as raw:
        raw.sendall(chat_bytes("x-request-id: blocked", "x-mock-itl-ms: 0", "x-mock-output-tokens: 32000"))
        read_until(raw, TOKEN)
        with mock.connect() as other:  # by its end the blocked stream has filled every buffer
            other.sendall(chat_bytes("x-request-id: free", "x-mock-ttft-ms: 400"))
            read_until(other, END)
        blocked = mock.journal("blocked")[0]
        assert blocked["outcome"] == "open"
        assert len(blocked["token_ns"]) < 32000, "tokens that the kernel does not accept are not written"
        resumed_ns = time.monotonic_ns()
        read_until(raw, END)
    row = mock.ended_row("blocked")
    assert (row["outcome"], len(row["token_ns"])) == ("finished", 32000)
    assert sum(stamp > resumed_ns for stamp in row["token_ns"]) >= 32000 - len(blocked["token_ns"])
    assert row["late_max_ms"] <= (blocked["token_ns"][-1] - row["received_ns"]) / 1e6, (
        "the pause does not count as the mock's delay"
    )


def test_the_journal_can_be_cleared(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(chat_bytes("x-request-id: forgotten", "x-mock-output-tokens: 1"))
        read_until(raw, END)
        assert mock.journal("forgotten")
        assert mock.clear_journal() == 204
        assert mock.journal("forgotten") == []
        raw.sendall(request_bytes("DELETE", "/__mock/journal") + request_bytes("GET", "/__mock/clock"))
        assert b'{"monotonic_ns": ' in read_until(raw, b"cpu_ns"), "204 has no body"


def test_the_clock_is_monotonic_ns(mock: Mock) -> None:
    before_ns = time.monotonic_ns()
    with mock.connect() as raw:
        raw.sendall(request_bytes("GET", "/__mock/clock", "connection: close"))
        answer = read_to_end(raw)
    received_ns, now_ns = (
        int(answer.split(b'"%s": ' % name)[1].split(b",")[0]) for name in (b"received_ns", b"monotonic_ns")
    )
    assert before_ns < received_ns < now_ns < time.monotonic_ns()
