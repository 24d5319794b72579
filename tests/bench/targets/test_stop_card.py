"""The stop cards of services with one feature each, and what is said about those that cannot be measured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.load.driver import Load
from bench.record import settle
from bench.run.foreign.card import CardRow
from bench.run.foreign.check import Checker, describe_target, verify
from bench.run.rig import instrument_for_checks
from bench.run.target_process import Target, started
from bench.system.embedded import temporary_folder
from bench.system.procs import Child, ChildError
from bench.targets.files import Contender, contenders

HERE = Path(__file__).parent
PASSWORD = 'a "strong" one'
Cards = Callable[[str], dict[str, CardRow]]


@dataclass(frozen=True)
class Running:
    """The instrument, and one fake service that all targets attach to."""

    mock: Child
    load: Load
    service: Target
    logs: Path

    def attached(self, contender: Contender) -> contextlib.AbstractContextManager[Target]:
        url = self.service.values["url"]
        return started(contender, mock=self.mock.url, stores={}, log=self.logs / "unused.log", url=url)


def contender(name: str) -> Contender:
    (found,) = contenders(f"{HERE}/{name}")
    return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch, temporary_folder("check") as scratch:
        patch.setenv("FAKE_PASSWORD", PASSWORD)
        first = contender("signed.toml/cancel")
        with (
            instrument_for_checks(scratch, logs) as (mock, load),
            started(first, mock=mock.url, stores={}, log=logs / "fake.log") as service,
        ):
            yield Running(mock, load, service, logs)
            pid = service.service.pid
        assert pid is not None
        assert not Path(f"/proc/{pid}").exists()


@pytest.fixture
def card(running: Running) -> Cards:
    def check(name: str) -> dict[str, CardRow]:
        way = contender(name)
        with running.attached(way) as target:
            checker = Checker(running.mock, running.load, target, way)
            checker.natural()
            assert checker.correlation == "marker"
            return {row.situation: row for row in checker.card()}

    return check


def verdicts(rows: dict[str, CardRow]) -> dict[str, str]:
    return {name: row.verdict for name, row in rows.items() if row.verdict}


def test_a_stop_that_works_in_every_situation(card: Cards) -> None:
    """Sign-in, a request before the chat, the id in a header."""
    rows = card("signed.toml/cancel")
    stopped = ("in the flow", "in a silence", "before the first byte", "not streamed", "a second time")
    assert verdicts(rows) == dict.fromkeys(stopped, "stopped")
    assert {rows[name].answer for name in stopped[:-1]} == {"200 stopping"}
    assert rows["a second time"].answer == "409 refused"
    assert (rows["after the end"].answer, rows["after the end"].upstream) == ("409 refused", "ran to its end")
    assert (rows["an unknown id"].answer, rows["an unknown id"].upstream) == ("404 unknown", "never asked")
    assert rows["natural end"].upstream == "ran to its end"
    assert rows["in the flow"].upstream.startswith("lost after ")
    assert rows["in a silence"].tokens_after == 0


def test_a_client_that_hangs_up(card: Cards) -> None:
    rows = card("signed.toml/hangup")
    assert verdicts(rows) == {
        "in the flow": "stopped",
        "in a silence": "stopped",
        "before the first byte": "stopped",
        "not streamed": "stopped",
    }
    assert {row.answer for row in rows.values()} == {"", "hangup"}


def test_a_second_request_with_ndjson_and_a_delete(card: Cards) -> None:
    found = verdicts(card("second.toml/delete"))
    assert set(found.values()) == {"stopped"}
    assert "not streamed" not in found


def test_a_chat_in_the_background_that_is_queued_before_its_upstream_is_asked(card: Cards) -> None:
    rows = card("background.toml/cancel")
    assert verdicts(rows) == dict.fromkeys(
        ("in the flow", "in a silence", "before the first byte", "a second time"), "stopped"
    )
    assert rows["natural end"].upstream == "ran to its end"


def test_a_way_that_is_documented_not_to_stop(card: Cards) -> None:
    assert verdicts(card("second.toml/hangup")) == {"in the flow": "documented"}


def test_a_dishonest_stop_is_found_by_the_witness_and_its_state_contradicts_it(card: Cards) -> None:
    """A form, the id in the first event, lines with CRLF."""
    rows = card("form.toml/pretend")
    assert verdicts(rows)["in the flow"] == "dishonest, later completed"
    assert rows["in the flow"].upstream == "ran to its end"
    assert rows["an unknown id"].answer == "200 accepted"


def test_the_client_makes_the_id_and_reads_text(card: Cards) -> None:
    assert set(verdicts(card("plain.toml:tidy/cancel")).values()) == {"stopped"}


def test_an_upstream_that_outlives_its_client(card: Cards) -> None:
    assert verdicts(card("plain.toml:leaky/hangup")) == {"in the flow": "not stopped"}


def test_a_driver(card: Cards) -> None:
    assert verdicts(card("driven.toml")) == {"in the flow": "stopped", "in a silence": "stopped"}


def test_a_secret_of_the_environment_is_not_in_the_manifest(running: Running) -> None:
    assert running.service.version == "1.2.3"
    described = describe_target(contender("signed.toml/cancel"), running.service)
    assert "strong" not in repr(described)


WRONG = {
    "a path that matches nothing": (
        "signed.toml/cancel",
        ('token = "delta"', 'token = "choices[0].delta.content"'),
        "stream.token 'choices[0].delta.content' matched no event; the client saw: {'event': 'delta', 'delta': ",
    ),
    "an upstream that is never asked": (
        "plain.toml:tidy/cancel",
        ("POST /plain", "POST /deaf"),
        "a natural chat never reached the upstream at http",
    ),
    "another text": (
        "plain.toml:tidy/cancel",
        ("POST /plain", "POST /fixed"),
        "the client of a natural chat did not read the upstream's text; it saw: : comment event: delta data: ",
    ),
    "a lost marker": (
        "plain.toml:tidy/cancel",
        ("POST /plain", "POST /unmarked"),
        "the upstream was asked without the marker [bench:ID] of the message and without its id in X-Request-Id",
    ),
    "a page instead of an answer": (
        "plain.toml:tidy/cancel",
        ("POST /stop/", "POST /page/"),
        "no chat was stopped; the stop was answered with: ConnectionError: HTTP 200 with a page instead of an answer:",
    ),
    "a route that does not exist": (
        "plain.toml:tidy/cancel",
        ("POST /plain", "POST /typo"),
        "a natural chat never reached the upstream",
    ),
    "no id in the answer": (
        "signed.toml/cancel",
        ("/runs/([0-9a-f]+)", "/jobs/([0-9a-f]+)"),
        "no chat was stopped; the stop was answered with: ConnectionError: the answer of the chat held no id to stop",
    ),
    "a driver that does not exist": (
        "driven.toml/button",
        ("fake_driver:Chat", "fake_driver:Talk"),
        "has no attribute 'Talk'",
    ),
    "a wrong password": (
        "signed.toml/cancel",
        ("POST /login", "POST /nowhere"),
        "setup.token was answered with HTTP 404",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_line_names_what_was_seen_instead(
    name: str, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "SETTLE_S", 0.5)  # of an upstream that is not asked
    way, (old, new), message = WRONG[name]
    with pytest.raises(ChildError) as raised:
        _check(running, changed(tmp_path, way, old, new))
    (line,) = str(raised.value).splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("within_s = 30", "within_s = 0.01", "was not ready after 0.01 s: GET /health had no answer"),
        ("fake_service.py", "fake_driver.py", "died with exit code 0"),
        ("{{python}}", "no-such-program", "not installed (no-such-program is missing): process.argv names a program"),
    ],
)
def test_a_service_that_does_not_start(old: str, new: str, message: str, running: Running, tmp_path: Path) -> None:
    way = changed(tmp_path, "plain.toml:tidy/cancel", old, new)
    with pytest.raises(ChildError) as raised, started(way, mock=running.mock.url, stores={}, log=tmp_path / "log"):
        pass
    assert message in str(raised.value).splitlines()[0]


def changed(folder: Path, way: str, old: str, new: str) -> Contender:
    """A target file with one change, in another folder."""
    name, _, rest = way.partition(".toml")
    text = (HERE / f"{name}.toml").read_text()
    assert old in text
    (folder / f"{name}.toml").write_text(text.replace("{{here}}", str(HERE)).replace(old, new))
    (folder / "fake_driver.py").write_text((HERE / "fake_driver.py").read_text())
    (found,) = contenders(f"{folder}/{name}.toml{rest}")
    return found


def _check(running: Running, way: Contender) -> None:
    with running.attached(way) as target:
        verify(running.mock, running.load, target, way)
