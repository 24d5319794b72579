"""The table of products: counts and times of each way to stop, and one chat as evidence where a stop was dishonest."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.analysis.summary import summarise
from bench.record.base import decode
from bench.record.schema import AbortSide, CaseRow, ChatRow, ClientSide, StateSeen, WitnessSide
from bench.report.products import EVIDENCE, write_products
from tests.bench import fake_results as fake

MS = 1_000_000
BEGAN = 10_000 * MS
SCENARIO = "flowing-long"
WAYS = ("acme:tuned/cancel", "acme:tuned/hangup", "honest/cancel")


def chat(way: str, index: int, *, missed: bool) -> ChatRow:
    """A chat of 600 tokens, stopped 500 ms after the upstream received it; the stop takes 5 ms, or never happens."""
    sent_ns = BEGAN + 540 * MS
    tokens = [BEGAN + (100 + 20 * number) * MS for number in range(600)]
    hangup = way.endswith("hangup")
    end_ns = sent_ns if hangup else sent_ns + 6 * MS
    return ChatRow(
        strategy=way, scenario=SCENARIO, workers=1, streams=10, block=0, index=index, request_id=f"{way} {index}",
        client=ClientSide(
            sent_ns=BEGAN, status=200, token_ns=[at for at in tokens if at < sent_ns], end_ns=end_ns,
            follows_stop=index > 0,
        ),
        abort=AbortSide(
            after_ms=500, intended_ns=sent_ns, sent_ns=sent_ns, accepted_sent_ns=sent_ns, tries=1,
            ack_ns=None if hangup else sent_ns + 4 * MS, status=None if hangup else 200,
            outcome=None if hangup else "accepted",
            states=[StateSeen(at_ns=sent_ns + 14_000 * MS, state="completed", honest=False)] if missed else None,
        ),
        witness=WitnessSide(
            received_ns=BEGAN + 40 * MS, token_ns=tokens if missed else [at for at in tokens if at < sent_ns],
            planned_tokens=600, done_ns=tokens[-1] if missed else None, lost_ns=None if missed else sent_ns + 5 * MS,
            outcome="finished" if missed else "cut",
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run, and its page: acme misses every stop, honest none."""
    folder = tmp_path_factory.mktemp("run")
    rows = [chat(way, index, missed=way != WAYS[2]) for way in WAYS for index in range(24)]
    cases = [CaseRow(strategy=way, scenario=SCENARIO, workers=1, streams=10, block=0, chats_planned=24) for way in WAYS]
    head = fake.manifest(scenarios=[SCENARIO]) | {
        "targets": {
            "acme:tuned": {
                "stops": {"hangup": {"fast": False}}, "title": "Acme", "version": "1.2.3", "variables": {"fast": True},
                "never": ["hangup"], "docs": "https://acme.example/stop", "note": "A | note.",
            }
        },
        "left_out": ["target gone is not installed"],
    }  # fmt: skip
    fake.write_raw(folder, head, map(msgspec.to_builtins, rows), map(msgspec.to_builtins, cases))
    summarise(folder)
    page = write_products(folder, folder / "products.md")
    return folder, page.read_text()


def row_of(page: str, way: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.startswith((f"| {way} |", f"| {way} *documented* |"))
               and line.count("|") == 13]  # fmt: skip
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_way_to_stop_has_its_counts_and_times(written: tuple[Path, str]) -> None:
    _folder, page = written
    name, n, p50, _p95, never, dishonest, leaked, wasted, queue, *_rest = row_of(page, "honest/cancel")
    assert (name, n, p50, never, dishonest, leaked, wasted) == ("honest/cancel", "24", "5.00", "0", "0", "0", "0")
    assert queue == "40.0"
    name, n, p50, _p95, never, dishonest, leaked, wasted, *_rest = row_of(page, "acme:tuned/cancel")
    assert (n, p50, never, dishonest, leaked, wasted) == ("24", "-", "24", "24", "24", "577")
    name, n, _p50, _p95, never, dishonest, *_rest = row_of(page, "acme:tuned/hangup")
    assert (name, never, dishonest) == ("acme:tuned/hangup *documented*", "24", "0"), "a hang-up promises nothing"


def test_the_first_table_adds_up_all_scenarios(written: tuple[Path, str]) -> None:
    _folder, page = written
    assert "| acme:tuned/cancel | 24 | 24 | 24 | - |" in page
    assert "| honest/cancel | 24 | 0 | 0 | 5.00 |" in page


def test_versions_settings_and_what_was_left_out_are_named(written: tuple[Path, str]) -> None:
    _folder, page = written
    assert "| acme:tuned/cancel | 1.2.3 | fast=True | [page](https://acme.example/stop) | A / note. |" in page
    assert "| acme:tuned/hangup | 1.2.3 | fast=False |" in page, "as this way has it"
    assert "| honest/cancel | - | defaults | - |  |" in page
    assert "Not measured: target gone is not installed" in page


def test_a_dishonest_stop_has_one_chat_as_evidence(written: tuple[Path, str]) -> None:
    folder, page = written
    (line,) = (folder / EVIDENCE).read_bytes().splitlines()
    assert decode(line, ChatRow, EVIDENCE).strategy == "acme:tuned/cancel"
    steps = [line for line in page.split("### acme:tuned/cancel")[1].splitlines() if line.startswith("| ")][1:]
    assert [step.split("|")[2].strip() for step in steps] == [
        "the client sent the chat", "the upstream received its request", "the client sent the stop",
        "the stop was answered: HTTP 200, accepted", "the client's answer ended",
        "the upstream had written its whole answer, 577 of 600 tokens after the stop",
        "the service reported the state completed",
    ]  # fmt: skip


def test_the_chart_is_drawn(written: tuple[Path, str]) -> None:
    folder, page = written
    assert (folder / "charts" / "products.png").stat().st_size > 5000
    svg = (folder / "charts" / "products.svg").read_text()
    assert svg.startswith("<?xml")
    assert "charts/products.png" in page
