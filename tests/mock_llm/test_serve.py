"""The command line: start, `ready` line, bad usage in one line, clean shutdown."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from mock_llm.serve import allow_many_sockets
from tests.mock_llm.conftest import END, Mock, chat_bytes, read_until


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mock_llm", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=20, env=os.environ | environment, check=False
    )


def test_a_port_in_use_is_one_line_and_exit_4(mock: Mock) -> None:
    done = run("serve", "--port", str(mock.address[1]))
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{mock.address[1]}" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("serve", "--itl-ms", "-1"), {}, "itl_ms: Input should be greater than or equal to 0"),
        (("serve", "--output-tokens", "many"), {}, "--output-tokens"),
        (("serve", "--fault", "nope"), {}, "http_429"),
        (("serve", "--fault-rate", "0.5"), {}, "fault_rate needs a fault"),
        (("serve",), {"MOCK_PORT": "99999"}, "port: Input should be less than or equal to 65535"),
        (("serve", "--host", "203.0.113.7"), {}, "cannot listen on 203.0.113.7"),
        (("serve", "--bogus"), {}, "--bogus"),
        (("capacity", "--rounds", "0"), {}, "--rounds"),
    ],
)
def test_bad_usage_is_one_line_and_exit_4(
    arguments: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    done = run(*arguments, **environment)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_while_streams_are_open(start_mock: Callable[..., Mock], signum: signal.Signals) -> None:
    mock = start_mock("--ttft-ms", "5", "--output-tokens", "10000")
    sockets = [mock.connect() for _ in range(5)]
    for raw in sockets:
        raw.sendall(chat_bytes())
        read_until(raw, b'"content":"')
    started = time.monotonic()
    mock.process.send_signal(signum)
    assert mock.process.wait(10) == 0
    assert time.monotonic() - started < 2
    for raw in sockets:
        raw.close()


def test_a_flag_takes_precedence_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, start_mock: Callable[..., Mock]
) -> None:
    monkeypatch.setenv("MOCK_OUTPUT_TOKENS", "3")
    monkeypatch.setenv("MOCK_ITL_MS", "7")
    mock = start_mock("--itl-ms", "1", "--ttft-ms", "1", "--journal-rows", "2")
    with mock.connect() as raw:
        for number in range(3):
            raw.sendall(chat_bytes(f"x-request-id: env-{number}"))
            read_until(raw, END)
    assert mock.journal("env-0") == [], "the journal is limited to --journal-rows"
    row = mock.ended_row("env-2")
    assert row["planned_tokens"] == 3
    assert (row["token_ns"][2] - row["token_ns"][0]) / 1e6 < 13


def test_an_explicit_fault_ignores_the_servers_rate(start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--fault", "http_500", "--fault-rate", "0", "--ttft-ms", "1", "--output-tokens", "1")
    with mock.connect() as raw:
        raw.sendall(chat_bytes())
        assert read_until(raw, END).startswith(b"HTTP/1.1 200")
        raw.sendall(chat_bytes("x-mock-fault: http_429"))
        assert read_until(raw, b"}}").startswith(b"HTTP/1.1 429")


def test_capacity_measures_both() -> None:
    done = run("capacity", "--streams", "20", "--seconds", "1", "--rounds", "1", COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    mock, starlette = (line for line in done.stdout.splitlines() if line.startswith(("│ mock", "│ Starlette")))
    assert len([cell for cell in mock.split("│") if cell.strip()]) == 8
    assert len([cell for cell in starlette.split("│") if cell.strip()]) == 7, "only the mock has a journal"
    assert "800 tokens/s" in done.stdout
    assert "goal (p99 pacing error under 3 ms" in done.stdout


def test_help_shows_defaults_and_examples() -> None:
    done = run("serve", "--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("--stall-at", "(20)", "Examples", "[mock:itl_ms=5"))


def test_a_file_limit_that_cannot_be_raised_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS reports an unlimited maximum, and rejects it."""

    def refused(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr("resource.setrlimit", refused)
    allow_many_sockets()
