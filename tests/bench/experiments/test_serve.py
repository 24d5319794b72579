"""`python -m bench serve` as a person uses it: the pasted lines work, Ctrl-C ends all of it, a taken port is said."""

import shlex
import signal
import socket
import subprocess

import openai
import psutil
import pytest

from bench.experiments.serve import strategy_of
from bench.system.http import request_json
from bench.workload.scenario import PlanError
from tests.bench.command import Bench
from tests.bench.served import address, serving


def pasted(line: str, *more: str) -> list[str]:
    return [*shlex.split(line), "--silent", "--max-time", "20", *more]


def the_official_client_starts_and_stops_a_chat(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "Tell me a long story"}],
            stream=True,
            extra_headers={"X-Request-Id": "story"},
        )
        chunks = iter(stream)
        assert next(chunks).choices[0].finish_reason is None
        answer = request_json(url, "/abort/", "POST", {"request_id": "story", "wait_ms": 5000})
        assert answer["status"] == "stopped"
        last = list(chunks)[-1]
        assert last.choices[0].finish_reason in ("stop", "length")
        assert (last.model_extra or {})["aborted"] is True


def test_the_greeting_can_be_pasted_clients_work_and_ctrl_c_ends_everything() -> None:
    with serving("--backend", "redis") as (process, lines):
        started = psutil.Process(process.pid).children(recursive=True)
        start, stop = [line for line in lines if line.startswith("curl")]
        with subprocess.Popen(pasted(start), stdout=subprocess.PIPE, text=True) as chat:
            assert chat.stdout is not None
            assert chat.stdout.readline().startswith("data: ")
            answer = subprocess.run(pasted(stop), capture_output=True, text=True, check=True).stdout
            assert '"stopped"' in answer
            assert '"finish_reason":"abort"' in chat.stdout.read()
        the_official_client_starts_and_stops_a_chat(address(lines))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "stopped" in said
        assert '"demo"' in said  # the service's own log was shown
        gone, alive = psutil.wait_procs(started, timeout=10)
        assert gone
        assert not alive


def test_memory_runs_one_worker_and_an_empty_key_is_no_key() -> None:
    with serving("--backend", "memory", OPENAI_API_KEY="", OPENAI_BASE_URL="") as (_, lines):
        greeting = " ".join(lines)
        assert "note: the memory store" in greeting
        assert "(memory-push, 1 worker;" in greeting
        assert "upstream: our mock" in greeting
        assert request_json(address(lines), "/v1/models")["data"]  # and the service asks that mock


def test_an_upstream_of_yours_needs_no_mock() -> None:
    with serving("--backend", "memory", OPENAI_BASE_URL="http://127.0.0.1:9/v1") as (_, lines):
        assert "upstream: http://127.0.0.1:9/v1" in " ".join(lines)


def test_an_empty_address_is_openais_own() -> None:
    with serving("--backend", "memory", OPENAI_API_KEY="a-key", OPENAI_BASE_URL="") as (_, lines):
        assert "upstream: https://api.openai.com/v1" in " ".join(lines)


def test_a_taken_port_is_one_line_and_bad_usage(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = bench("serve", "--port", port)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert port in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize(
    ("backend", "strategy"), [("redis", "redis-push"), ("postgres", "postgres-push"), ("redis-poll", "redis-poll")]
)
def test_a_store_alone_means_push(backend: str, strategy: str) -> None:
    assert strategy_of(backend) == strategy


def test_an_unknown_backend_names_the_choices() -> None:
    with pytest.raises(PlanError, match="choose from memory, postgres, redis"):
        strategy_of("mysql")
