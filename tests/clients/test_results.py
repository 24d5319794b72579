"""What a run saw becomes a row of docs/clients.md, and a failed installation is reported in one line."""

import json
import sys
from pathlib import Path

import pytest

from tests.clients import environments, results
from tests.clients.rig import Outcome

PAGE = "".join(f"# {name}\n<!-- {name} -->\nold\n<!-- /{name} -->\n" for name in ("aborts", "own-stops", "load-tools"))
SEEN = {"pieces": 5, "finish": "stop", "usage": 5, "aborted": True, "error": None, "stopped_ns": None}
REFUSED = SEEN | {"error": {"type": "APIStatusError", "status": 499, "code": "aborted", "message": "aborted"}}


def outcome(requests: int = 1, **seen: object) -> Outcome:
    row = {"outcome": "cut", "token_ns": [1, 2], "lost_ns": 9_000_000}
    return Outcome(SEEN | seen, [row] * requests, "stopped", abort_ns=2_000_000)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "DATA", tmp_path / "clients.json")
    monkeypatch.setattr(results, "PAGE", tmp_path / "clients.md")
    results.PAGE.write_text(PAGE)
    return results.PAGE


def test_a_complete_run_of_a_client_becomes_a_row(page: Path) -> None:
    cases = dict.fromkeys(results.CASES, outcome()) | {"whole-abort": outcome(requests=2, **REFUSED)}
    results.keep({"openai-python": cases})
    aborts = page.read_text().partition("# own-stops")[0]
    assert "old" not in aborts
    row = aborts.splitlines()[-2]
    for cell in (
        "ends, `stop`, `aborted`",
        "`APIStatusError` 499, code `aborted` (**of a second answer**)",
        "**1 x**",
        "7 ms",
    ):
        assert f"| {cell} |" in row


def test_an_incomplete_run_leaves_the_rows_as_they_were(page: Path) -> None:
    results.keep({"openai-python": dict.fromkeys(results.CASES, outcome())})
    before = page.read_text(), json.loads(results.DATA.read_text())
    results.keep({"openai-python": {"stream-abort": outcome(requests=2)}})
    assert (page.read_text(), json.loads(results.DATA.read_text())) == before


def test_a_client_that_cannot_be_installed_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["environments"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environments.main() == environments.FAILED
    error = capsys.readouterr().err
    assert error == "clients: the clients for Node need npm, which is not on the PATH: install Node.js\n"
