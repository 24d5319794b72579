"""API keys: which requests and aborts they allow; limits per key and per request."""

import json
import os
import select
import socket
import subprocess
import sys
from contextlib import nullcontext, suppress

import httpx2
import pytest
from pydantic import SecretStr, ValidationError

from server.http.security import ANONYMOUS, ApiKeys
from server.settings import SettingError, Settings
from server.strategy import open_delivery
from tests.server.guarded import ALICE, BOB
from tests.server.harness import application
from tests.server.service import question


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}])
@pytest.mark.parametrize("path", ["/chat/", "/abort/", "/v1/chat/completions"])
async def test_without_a_key_nothing_is_done(
    guarded_service: httpx2.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = await guarded_service.post(path, json=question(request_id="x"), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_cannot_stop_another_keys_chat(guarded_service: httpx2.AsyncClient, request_id: str) -> None:
    body = question("[mock:ttft_ms=60000]", request_id=request_id)
    async with guarded_service.stream("POST", "/chat/", json=body, headers=ALICE) as answer:
        foreign = await guarded_service.post("/abort/", json={"request_id": request_id}, headers=BOB)
        unknown = await guarded_service.post("/abort/", json={"request_id": "no-such-chat"}, headers=ALICE)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json()["detail"] == unknown.json()["detail"]
        own = await guarded_service.post("/abort/", json={"request_id": request_id}, headers=ALICE)
        assert own.json()["status"] == "accepted"
        await answer.aread()


async def test_live_chats_per_owner_are_bounded(guarded_service: httpx2.AsyncClient, request_id: str) -> None:
    def body(number: int) -> dict[str, object]:
        return question("[mock:ttft_ms=60000]", request_id=f"{request_id}-{number}")

    async with (
        guarded_service.stream("POST", "/chat/", json=body(1), headers=ALICE) as first,
        guarded_service.stream("POST", "/chat/", json=body(2), headers=ALICE) as second,
    ):
        third = await guarded_service.post("/chat/", json=body(3), headers=ALICE)
        assert third.status_code == 429
        assert third.headers["retry-after"]
        other = await guarded_service.post("/chat/", json=question("[mock:output_tokens=1]"), headers=BOB)
        assert other.status_code == 200
        for number in (1, 2):
            await guarded_service.post("/abort/", json={"request_id": f"{request_id}-{number}"}, headers=ALICE)
        await first.aread()
        await second.aread()
    again = await guarded_service.post("/chat/", json=question("[mock:output_tokens=1]"), headers=ALICE)
    assert again.status_code == 200


async def test_headers_are_bounded(guarded_service: httpx2.AsyncClient) -> None:
    answer = await guarded_service.get("/healthz", headers={"X-Long": "x" * 40_000})
    assert answer.status_code == 431


@pytest.mark.parametrize("start", [b"GET /healthz HTTP/1.1\r\nX-Long: ", b"GET /healthz?", b"\r\n"])
def test_a_head_without_end_is_cut_off(guarded_url: str, start: bytes) -> None:
    """Sent piece by piece, never complete; what was taken of it is about the bound, not what was offered."""
    host, port = guarded_url.removeprefix("http://").split(":")
    piece, most = b"x" * 4096 if start.strip() else b"\r\n" * 2048, 64 * 1024 * 1024
    answer, sent = b"", 0
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(start)
        try:
            while sent < most:
                connection.sendall(piece)
                sent += len(piece)
                if select.select([connection], [], [], 0)[0]:
                    answer += connection.recv(65536)
                    break
        except OSError:  # reset: it closed on what we were still sending
            answer = answer or b"HTTP/1.1 431 "
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert sent < most


def test_a_head_without_end_does_not_spoil_the_answer_before_it(guarded_url: str) -> None:
    host, port = guarded_url.removeprefix("http://").split(":")
    body = json.dumps(question("[mock:itl_ms=5,output_tokens=30000]")).encode()
    head = "POST /chat/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer alice-key\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = connection.recv(4096)
        with suppress(OSError):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"x" * 100_000)
            while more := connection.recv(65536):
                answer += more
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b" 431 " not in answer


def test_heads_within_the_bound_may_come_slowly_and_again(guarded_url: str) -> None:
    """Each request has the bound for itself, and a body is not counted."""
    host, port = guarded_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        answers = connection.makefile("rb")
        for _ in range(4):
            body = b" " * 100_000
            head = b"POST /abort/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Long: %b\r\n\r\n"
            whole = head % (len(body), b"x" * 24_000) + body
            for start in range(0, len(whole), 1000):
                connection.sendall(whole[start : start + 1000])
            assert answers.readline().startswith(b"HTTP/1.1 401 ")
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)


async def test_other_origins_are_not_let_in(guarded_service: httpx2.AsyncClient) -> None:
    answer = await guarded_service.post("/chat/", json={}, headers=ALICE | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_keys_are_kept_as_hashes_only() -> None:
    keys = ApiKeys(Settings(api_keys=SecretStr("alice-key,bob-key")))
    alice, bob = keys.owner("alice-key"), keys.owner("bob-key")
    assert alice != bob
    assert None not in (alice, bob)
    assert keys.owner("alice") is keys.owner(None) is None
    assert "alice-key" not in repr(vars(keys)) + str(alice)
    assert ApiKeys(Settings()).owner(None) == ANONYMOUS


async def test_a_worker_keeps_no_key_in_its_settings() -> None:
    given = Settings(api_keys=SecretStr("alice-key,bob-key"))
    async with application(given) as app:
        assert app.state.worker.settings.keys == ()
        assert app.state.keys.owner("alice-key") is not None
    assert given.keys == ("alice-key", "bob-key")


def test_keys_that_are_set_but_hold_none_are_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "server", "--host", "0.0.0.0", "--port", "0"],
        capture_output=True, text=True, check=False, env=os.environ | {"API_KEYS": " , "},
    )  # fmt: skip
    assert run.returncode == 4
    assert run.stderr == "server: setting api_keys: is set, but contains no key\n"
    with pytest.raises(ValidationError, match="contains no key"):
        Settings(api_keys=SecretStr(","))


def test_no_keys_at_all_are_none() -> None:
    assert Settings(api_keys=SecretStr("")).keys == ()


def test_the_stores_patience_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABORT_KEEPALIVE_S", "1.5")
    monkeypatch.setenv("ABORT_COMMAND_TIMEOUT_S", "0.7")
    options = open_delivery(Settings()).store.options
    assert (options.keepalive_s, options.command_timeout_s) == (1.5, 0.7)


def test_an_open_service_must_be_asked_for() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "server", "--host", "0.0.0.0", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 4
    assert run.stderr.count("\n") == 1
    assert "API_KEYS" in run.stderr


@pytest.mark.parametrize(
    ("settings", "exposed"),
    [
        (Settings(host="::"), True),
        (Settings(host="chat.example.com"), True),
        (Settings(host="0.0.0.0", open_to_network=True), False),
        (Settings(host="0.0.0.0", api_keys=SecretStr("a-key")), False),
        (Settings(host="localhost"), False),
        (Settings(host="::1"), False),
        (Settings(host="127.0.0.9"), False),
    ],
)
def test_which_services_are_exposed(settings: Settings, exposed: bool) -> None:
    with pytest.raises(SettingError, match="API_KEYS") if exposed else nullcontext():
        settings.check_exposure()
