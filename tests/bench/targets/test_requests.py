"""Templates, requests and expressions of target files."""

from __future__ import annotations

import json
import string
from typing import Any
from urllib.parse import parse_qs

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.targets.expressions import search
from bench.targets.model import Request, Value
from bench.targets.requests import Encoder, Finder
from bench.targets.templates import RenderError, render

NAMES = st.sampled_from(["a", "b", "c", "delta"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(string.ascii_lowercase, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
STEPS = st.lists(NAMES.map(lambda name: f".{name}") | st.integers(-3, 3).map(lambda index: f"[{index}]"), max_size=3)
PATHS = st.builds(lambda first, steps: first + "".join(steps), NAMES, STEPS)
OTHERS = ["a[].b", "a == b", "a && b", "length(keys(@))", "a.*", "a | b", "[a, b]", "type(a)"]


@given(path=PATHS | st.sampled_from(OTHERS), document=st.dictionaries(NAMES, DOCUMENTS) | DOCUMENTS)
def test_a_compiled_expression_finds_what_jmespath_finds(path: str, document: Any) -> None:
    def result(find: Any) -> Any:
        try:
            return find(document)
        except jmespath.exceptions.JMESPathError as error:
            return type(error)

    assert result(search(path)) == result(jmespath.compile(path).search)


@pytest.mark.parametrize(
    "text",
    ["{{ ''.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ text.__init__.__globals__ }}", "{{ nobody }}", "{{ 1/0 }}",
     "{{ range(10**9)|list }}", "{{ setup.nobody }}", "{{ text + 1 }}"],
)  # fmt: skip
def test_what_a_template_may_not_do_is_one_line(text: str) -> None:
    with pytest.raises(RenderError) as raised:
        render(text, {"text": "hello", "setup": {}})
    assert len(str(raised.value).splitlines()) == 1


def encoded(values: dict[str, Any] | None = None, **request: Any) -> tuple[str, list[str], str]:
    """Request line, headers and body."""
    data = Encoder(Request.model_validate(request)).encode("host:1", values or {})
    head, _, body = data.decode().partition("\r\n\r\n")
    line, *headers = head.split("\r\n")
    return line, headers, body


def test_a_value_cannot_add_a_header_or_end_the_request_line() -> None:
    evil = "x HTTP/1.1\r\nEvil: 1\r\n\r\nGET /"
    line, headers, body = encoded({"id": evil}, request="GET /runs/{{id}}", headers={"X-Id": "{{id}}"})
    assert line == "GET /runs/x%20HTTP/1.1%0D%0AEvil:%201%0D%0A%0D%0AGET%20/ HTTP/1.1"
    assert headers == ["Host: host:1", "Connection: close", "X-Id: x HTTP/1.1 Evil: 1 GET /"]
    assert body == ""


def test_a_query_stays_as_it_is_written() -> None:
    assert encoded(request="GET /events?id=a%20b&after=-1")[0] == "GET /events?id=a%20b&after=-1 HTTP/1.1"


def test_json_is_checked_after_rendering() -> None:
    text = 'a "b"\n'
    _line, headers, body = encoded({"text": text}, request="POST /", json='{"m": {{text|tojson}}}')
    assert json.loads(body) == {"m": text}
    assert headers[2:] == ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    with pytest.raises(RenderError, match="the json of a request is not JSON after rendering"):
        encoded({"text": text}, request="POST /", json='{"m": {{text}}}')


def test_a_form_is_encoded() -> None:
    _line, headers, body = encoded({"text": "a&b=ü +"}, request="POST /", form={"m": "{{text}}", "n": "1"})
    assert parse_qs(body) == {"m": ["a&b=ü +"], "n": ["1"]}
    assert "Content-Type: application/x-www-form-urlencoded" in headers


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("DELETE", None), ("POST", "Content-Length: 0")])
def test_only_methods_with_a_body_announce_one(method: str, length: str | None) -> None:
    _line, headers, body = encoded(request=f"{method} /")
    assert body == ""
    assert [each for each in headers if each.startswith("Content-Length")] == ([length] if length else [])


def test_a_content_type_of_the_file_replaces_ours() -> None:
    _line, headers, _body = encoded(request="POST /", json="{}", headers={"content-type": "application/x-json"})
    assert [each for each in headers if each.lower().startswith("content-type")] == ["content-type: application/x-json"]


def test_values_are_found_in_headers_and_documents() -> None:
    of_header = Finder(Value(header="X-Run", regex="runs/([a-z]+)"))
    assert of_header.in_headers(lambda _name: "/t/runs/abc/1") == "abc"
    assert of_header.in_headers(lambda _name: "/t") is None
    assert of_header.in_headers(lambda _name: None) is None
    assert Finder(Value(body="run.id")).in_document({"run": {"id": 7}}) == 7
    assert Finder(Value(event="run.id")).in_document("text") is None
