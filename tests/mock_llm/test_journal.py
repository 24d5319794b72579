"""The journal: its limits, and one id or the ids of one run among many rows."""

from timeit import repeat

import pytest

from mock_llm.journal import Journal, Row
from tests.mock_llm.conftest import END, Mock, chat_bytes, read_until


def journal_of(*ids: str, max_rows: int = 100_000) -> Journal:
    journal = Journal(max_rows)
    for id_ in ids:
        journal.add(Row(id_, "m", True, 0, 1))
    return journal


def test_the_journal_is_limited_in_rows_and_tokens() -> None:
    journal = Journal(max_rows=3, max_tokens=100)
    for number in range(5):
        journal.add(Row(f"r{number}", "m", True, 0, 10))
    assert ([row.id for row in journal.rows()], journal.dropped) == (["r2", "r3", "r4"], 2)
    journal.add(Row("long", "m", True, 0, 85))
    assert [row.id for row in journal.rows()] == ["r4", "long"]
    journal.add(Row("longer", "m", True, 0, 1000))
    assert [row.id for row in journal.rows()] == ["longer"]


def test_rows_with_the_same_id_are_dropped_oldest_first() -> None:
    journal = journal_of("again", "other", "again", "again", max_rows=3)
    newest = journal.rows()
    assert [row.id for row in newest] == ["other", "again", "again"]
    assert journal.rows("again") == newest[1:]
    journal.add(Row("last", "m", True, 0, 1))
    assert journal.rows("other") == []
    journal.clear()
    assert (journal.rows(), journal.rows("again"), len(journal)) == ([], [], 0)


def test_a_look_up_of_one_id_does_not_depend_on_the_number_of_rows() -> None:
    few, many = journal_of(*map(str, range(10))), journal_of(*map(str, range(20_000)))
    few_s = min(repeat(lambda: few.rows("7"), number=100, repeat=20))
    many_s = min(repeat(lambda: many.rows("7"), number=100, repeat=20))
    assert many_s < 20 * few_s, "a scan of all rows takes 1,000 times as long"


def send(mock: Mock, *ids: str) -> None:
    with mock.connect() as raw:
        for id_ in ids:
            raw.sendall(chat_bytes(content=f"say [bench:{id_}] [mock:output_tokens=1]"))
            read_until(raw, END)


@pytest.mark.parametrize("id_", ["a+b", "a%2Bb", "a&id=b", "a#b", "a/b?c=d;e", "100%"])
def test_an_encoded_id_is_found(mock: Mock, id_: str) -> None:
    mock.clear_journal()
    send(mock, id_)
    assert [row["id"] for row in mock.journal(id_)] == [id_]
    assert mock.journal("") == [], "an empty id is not all ids"


def test_tokens_of_an_http_error_do_not_count_against_the_limit(mock: Mock) -> None:
    mock.clear_journal()
    refused = chat_bytes("x-mock-fault: http_500", "x-mock-output-tokens: 32768")
    with mock.connect() as raw:
        for _ in range(250):  # 8.2 million tokens, had they been planned
            raw.sendall(refused)
            read_until(raw, b"server_error")
    journal = mock.journal_answer()
    assert (len(journal["rows"]), journal["dropped"]) == (250, 0)


def test_rows_of_other_runs_are_left_out_and_counted(mock: Mock) -> None:
    mock.clear_journal()
    send(mock, "run2-1", "run1-zombie", "run2-2", "run2-1")
    found = mock.journal_answer(prefix="run2-")
    assert ([row["id"] for row in found["rows"]], found["others"]) == (["run2-1", "run2-2", "run2-1"], 1)
    assert mock.journal_answer(id="run2-1")["others"] == 2
    everything = mock.journal_answer()
    assert (len(everything["rows"]), everything["others"]) == (4, 0)


def test_tokens_delayed_by_the_client_have_no_pacing_error() -> None:
    row = Row("r", "m", True, 0, 4)
    row.due_ns.extend([10, 20, 30, 40])
    row.token_ns.extend([11, 91, 92, 93])  # the client read again at 90
    row.resumed_ns.append(90)
    assert row.late_ns() == [1]
    row.due_ns[3], row.token_ns[3] = 95, 99
    assert row.late_ns() == [1, 4]
