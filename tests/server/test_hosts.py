"""Allowed hosts: protection against DNS rebinding, and against pages of other sites."""

import socket

import pytest
from pydantic import SecretStr, ValidationError

from server.http.hosts import HEALTH_PATHS, AllowedHosts
from server.settings import Settings

CHAT = b'{"model":"m","messages":[{"role":"user","content":"[mock:output_tokens=1]"}]}'
EVIL = "evil.example"


def asked(url: str, method: str, target: str, *headers: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """One whole answer to a request of exactly these lines."""
    host, port = url.removeprefix("http://").split(":")
    lines = [f"{method} {target} HTTP/{version}", *headers, "Connection: close", f"Content-Length: {len(body)}", "", ""]
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer


def status(answer: bytes) -> int:
    return int(answer.split()[1])


JSON = "Content-Type: application/json"


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["127.0.0.1:8000"], 200),
        (["127.8.9.1"], 200),
        (["localhost"], 200),
        (["LocalHost.:80"], 200),
        (["app.localhost"], 200),
        (["[::1]:8000"], 200),
        (["[::ffff:127.0.0.1]"], 200),
        (["chat.example.com:443"], 200),
        (["a.b.EXAMPLE.org"], 200),
        ([EVIL], 421),
        (["127.0.0.1.evil.example"], 421),
        (["localhost.evil.example"], 421),
        (["example.org.evil.example"], 421),
        (["notexample.org"], 421),
        (["0.0.0.0:8000"], 421),
        (["192.168.1.2"], 421),
        (["[2001:db8::1]"], 421),
        (["127.0.0.1@evil.example"], 421),
        (["evil.example@127.0.0.1"], 421),
        (["127.0.0.1, evil.example"], 421),
        (["127.0.0.1 evil.example"], 421),
        (["\xff"], 421),
        ([""], 421),
        ([], 421),
        (["127.0.0.1", EVIL], 421),
        ([EVIL, "127.0.0.1"], 421),
    ],
    ids=str,
)
def test_a_keyless_service_answers_to_its_own_names_only(service_url: str, hosts: list[str], expected: int) -> None:
    answer = asked(service_url, "POST", "/chat/", JSON, *(f"Host: {host}" for host in hosts), body=CHAT)
    assert status(answer) == expected
    if expected == 421 and hosts:
        assert b"ALLOWED_HOSTS" in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/abort/"), ("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/"), ("GET", "/docs"),
     ("GET", "/openapi.json"), ("GET", "/page/page.js"), ("OPTIONS", "/chat/"), ("POST", "/chat"), ("GET", "/none")],
)  # fmt: skip
def test_no_path_but_health_answers_to_another_name(service_url: str, method: str, path: str) -> None:
    answer = asked(service_url, method, path, f"Host: {EVIL}", JSON, body=b'{"request_id":"x"}')
    assert status(answer) == 421
    assert b'"invalid_request_error"' in answer


@pytest.mark.parametrize("path", sorted(HEALTH_PATHS))
def test_health_answers_to_any_name(service_url: str, path: str) -> None:
    assert status(asked(service_url, "GET", path, f"Host: {EVIL}")) == 200
    assert status(asked(service_url, "GET", path, version="1.0")) == 200


@pytest.mark.parametrize(("target", "host", "expected"), [(EVIL, "127.0.0.1", 421), ("127.0.0.1", "127.0.0.1", 200)])
def test_the_host_in_the_request_line_counts_too(service_url: str, target: str, host: str, expected: int) -> None:
    answer = asked(service_url, "POST", f"http://{target}:80/chat/", f"Host: {host}", JSON, body=CHAT)
    assert status(answer) == expected


@pytest.mark.parametrize("path", ["/chat/", "/abort/", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data", None],
)
def test_what_another_site_may_post_without_asking_is_not_read(
    service_url: str, path: str, content_type: str | None
) -> None:
    """A form or a fetch of another site's page gets no preflight with these types."""
    more = [f"Content-Type: {content_type}"] if content_type else []
    body = CHAT if path != "/abort/" else b'{"request_id":"x"}'
    origin = f"Origin: https://{EVIL}"
    assert status(asked(service_url, "POST", path, "Host: localhost", origin, *more, body=body)) == 422


KEYS = SecretStr("a-key")


@pytest.mark.parametrize(
    ("settings", "host", "allowed"),
    [
        (Settings(), EVIL, False),
        (Settings(api_keys=KEYS), EVIL, True),
        (Settings(open_to_network=True), EVIL, True),
        (Settings(api_keys=KEYS, allowed_hosts="a.example"), EVIL, False),
        (Settings(api_keys=KEYS, allowed_hosts="a.example"), "a.example", True),
        (Settings(open_to_network=True, allowed_hosts="a.example:443, b.example"), "b.example:99", True),
        (Settings(allowed_hosts="*"), EVIL, True),
        (Settings(allowed_hosts="[fe80::1]"), "[FE80::1]:80", True),
    ],
)
def test_when_the_host_is_checked(settings: Settings, host: str, allowed: bool) -> None:
    scope = {"path": "/chat/", "headers": [(b"host", host.encode())]}
    assert (AllowedHosts(settings).rejection_reason(scope) is None) == allowed


@pytest.mark.parametrize("name", ["https://a.example", "a.example/path", "a b"])
def test_a_host_that_is_none_is_no_setting(name: str) -> None:
    with pytest.raises(ValidationError, match="is not a host name"):
        Settings(allowed_hosts=name)
