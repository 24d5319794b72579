"""Single chats: when in a gap Stop was pressed, which press was accepted, whose chat is the median one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from bench.analysis.moments import median_chats, read_timelines
from bench.analysis.reading import read_run
from bench.report.charts.timeline import stamps
from bench.report.render import render
from tests.bench import fake_blocks, fake_results


def test_a_moment_is_counted_from_the_last_token_before_the_abort(tmp_path: Path) -> None:
    folder = fake_results.write(tmp_path, strategies=["redis-push"], scenarios=["flowing", "first-token"], chats=20)
    moments = read_timelines(read_run(folder), ()).moments
    assert len(moments) == 40
    for each in moments:
        if each.key.scenario == "first-token":
            assert each.since_token_ms is None
        else:
            assert each.since_token_ms is not None
            assert 0 <= each.since_token_ms <= fake_results.ITL_MS


def test_the_press_that_was_accepted_counts_and_a_refused_one_has_none(tmp_path: Path) -> None:
    folder = fake_blocks.write(tmp_path, strategies=["redis-push"], scenarios=["outage"], chats=60, blocks=3)
    run = read_run(folder)
    moments = [each for each in read_timelines(run, ()).moments if each.key.scenario == "outage"]
    refused = [each for each in moments if each.accepted_ns is None]
    again = [each for each in moments if each.accepted_ns and each.accepted_ns > each.sent_ns]
    assert len(refused) == sum(chat.measured.outcome == "refused" for chat in run.chats) > 0
    assert again
    assert all(each.lost_ns is None and not each.counted for each in refused)
    assert all(each.lost_ns and each.lost_ns > (each.accepted_ns or 0) for each in again)


def test_who_hangs_up_asks_nobody(tmp_path: Path) -> None:
    folder = fake_blocks.write(tmp_path, strategies=["disconnect"], scenarios=["flowing"], chats=10, blocks=1)
    moments = [each for each in read_timelines(read_run(folder), ()).moments if each.key.strategy == "disconnect"]
    assert len(moments) == 10
    assert all(each.accepted_ns == each.sent_ns for each in moments)


def test_the_median_chat_is_the_one_in_the_middle(tmp_path: Path) -> None:
    folder = fake_results.write(tmp_path, strategies=["redis-push", "none"], scenarios=["flowing"], chats=11)
    run = read_run(folder)
    chosen = median_chats(run, {chat.key for chat in run.chats})
    stops = {chat.request_id: chat.measured.upstream_stop_ms for chat in run.chats if chat.key.strategy == "redis-push"}
    below = sum((stop or 0) < (stops[chosen["redis-push"]] or 0) for stop in stops.values())
    assert below == 5
    waste = {chat.request_id: chat.measured.wasted_tokens for chat in run.chats if chat.key.strategy == "none"}
    assert sum((count or 0) < (waste[chosen["none"]] or 0) for count in waste.values()) <= 5


def test_a_chat_that_never_reached_the_upstream_is_not_chosen_and_the_report_is_drawn(tmp_path: Path) -> None:
    folder = fake_results.write(tmp_path, strategies=["redis-push", "none"], scenarios=["first-token"], chats=5)
    with gzip.open(folder / "chats.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        if row["strategy"] == "redis-push":  # all obeyed before the upstream was asked
            row["witness"] = None
            row["client"] |= {"token_ns": [], "finish_reason": "abort"}
    with gzip.open(folder / "chats.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    run = read_run(folder)
    assert {chat.measured.prevented for chat in run.chats if chat.key.strategy == "redis-push"} == {True}
    assert set(median_chats(run, {chat.key for chat in run.chats})) == {"none"}
    render(folder)


def test_a_lane_is_told_from_the_abort_on(tmp_path: Path) -> None:
    folder = fake_blocks.write(tmp_path, strategies=["redis-push"], scenarios=["flowing"], chats=5, blocks=1)
    run = read_run(folder)
    (id_,) = median_chats(run, {chat.key for chat in run.chats if chat.key.scenario == "flowing"}).values()
    lane = stamps(read_timelines(run, {id_}).rows[id_])
    order = [lane[name][0] for name in ("recorded", "signal", "closed", "lost", "end")]
    assert order == sorted(order)
    assert order[0] > 0
    assert lane["lost"][0] == pytest.approx(next(c.measured.upstream_stop_ms for c in run.chats if c.request_id == id_))
    assert any(token < 0 for token in lane["tokens"])


def test_a_file_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    folder = fake_results.write(tmp_path, strategies=["redis-push"], scenarios=["flowing"], chats=40)
    run = read_run(folder)
    whole = (folder / "chats.jsonl.gz").read_bytes()
    (folder / "chats.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    assert 0 < len(read_timelines(run, ()).moments) < 40


def test_a_chat_without_an_abort_is_no_moment_however_it_is_written(tmp_path: Path) -> None:
    folder = fake_results.write(tmp_path, strategies=["redis-push"], scenarios=["steady"], chats=3)
    run = read_run(folder)
    with gzip.open(folder / "chats.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    with gzip.open(folder / "chats.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    assert read_timelines(run, ()).moments == []
