"""Target files: what is accepted, and the line that names each fault with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.targets import TEMPLATE
from bench.targets.files import TargetError, contenders, environment_of, read_target, shipped

GOOD = """
schema = 1
name = "good"
vars = { leaky = false }
[process]
argv = ["{{python}}"]
[setup.token]
request = "POST /login"
value = { body = "token" }
[start]
request = "POST /chat"
json = '{"message": {{text|tojson}}, "token": {{setup.token|tojson}}}'
ids.run = { header = "X-Run", regex = "run-(.*)" }
[stream]
token = "delta"
[variant.some]
stops = ["cancel"]
[variant.all]
vars = { leaky = true }
[stop.cancel]
request = "POST /stop/{{ids.run}}"
accepted = "status == `200`"
[stop.hangup]
kind = "hangup"
"""
FAULTS = {
    "unknown key": (
        'name = "good"',
        'name = "good"\ncolour = 1',
        "colour: unknown key; docs/targets.md lists the keys",
    ),
    "driver stop without a driver": (
        'kind = "hangup"',
        'kind = "hangup"\n[stop.button]\nkind = "driver"',
        "stop.button: with a driver kind is driver or hangup; without one request or hangup",
    ),
    "unknown nested key": ('token = "delta"', 'tokens = "delta"', "stream.tokens: unknown key; docs/targets.md"),
    "missing": ('name = "good"', "", "name: is missing"),
    "missing request": ('request = "POST /chat"', "", "start.request: is missing"),
    "other schema": ("schema = 1", "schema = 2", "schema: is 2, this program reads 1"),
    "no schema": ("schema = 1", "", "schema: is missing"),
    "not TOML": ("[start]", "[start", "cannot be read: "),
    "no template": ("{{ids.run}}", "{{ids.run", "stop.cancel.request: not a Jinja2 template: "),
    "no filter": ("text|tojson", "text|to_json", "start.json: not a Jinja2 template: No filter named 'to_json'"),
    "unknown variable": ("text|tojson", "message|tojson", "start.json: message is no variable; known are "),
    "unknown setup": ("setup.token|", "setup.key|", "start.json: setup.key is no variable; known are "),
    "unknown id": ("{{ids.run}}", "{{ids.chat}}", "stop.cancel.request: ids.chat is no variable; known are "),
    "no JMESPath": ('"delta"', '"delta["', "stream.token: not a JMESPath expression: "),
    "no regex": ("run-(.*)", "run-(", "start.ids.run.regex: not a regular expression: "),
    "no group": ("run-(.*)", "run-.*", "start.ids.run.regex: a regular expression with one group is needed"),
    "two places": (
        'header = "X-Run", ',
        'header = "X-Run", body = "id", ',
        "start.ids.run: give one of body, event, header",
    ),
    "no method": ("POST /chat", "/chat", "start.request: "),
    "hangup with a request": (
        'kind = "hangup"',
        'request = "POST /x"',
        "stop.hangup: a way of kind hangup is named hangup",
    ),
    "cancel without a request": ('request = "POST /stop/{{ids.run}}"', "", "stop.cancel: kind request needs a request"),
    "unknown stop of a variant": (
        '["cancel"]',
        '["abort"]',
        "variant.some.stops: abort unknown; stops are cancel, hangup",
    ),
    "no start": ("[start]", "[prepare.start]", "start.ids: unknown key"),
    "no file": (
        'argv = ["{{python}}"]',
        'argv = ["x"]\nfiles = { "a" = "none.py" }',
        "process.files.a: there is no file ",
    ),
    "no secret": (
        "{{text|tojson}}",
        "{{env.NO_SUCH|tojson}}",
        "start.json: env.NO_SUCH is not set; export NO_SUCH first",
    ),
}


def write(folder: Path, text: str = GOOD) -> str:
    file = folder / "good.toml"
    file.write_text(text)
    return str(file)


def fault_of(name: str) -> str:
    with pytest.raises(TargetError) as raised:
        contenders(name)
    (line,) = str(raised.value).splitlines()
    return line


@pytest.mark.parametrize("name", FAULTS)
def test_one_line_names_the_file_the_key_and_the_remedy(name: str, tmp_path: Path) -> None:
    old, new, message = FAULTS[name]
    assert GOOD.count(old) == 1
    file = write(tmp_path, GOOD.replace(old, new))
    line = fault_of(file)
    assert line.startswith(f"{file}: ")
    assert message in line


def test_what_a_name_stands_for(tmp_path: Path) -> None:
    file = write(tmp_path)
    assert [each.name for each in contenders(file)] == ["good:some/cancel", "good:all/cancel", "good:all/hangup"]
    assert [each.name for each in contenders(f"{file}:all/hangup")] == ["good:all/hangup"]
    assert contenders(f"{file}:all")[0].service_vars == {"leaky": True}
    assert contenders(f"{file}:some")[0].service_vars == {"leaky": False}


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (":none", "good has no variant none; choose from some, all"),
        ("/abort", "good has no stop abort; choose from cancel, hangup"),
        (":some/hangup", "this variant is not measured with stop hangup"),
    ],
)
def test_unknown_variants_and_stops(suffix: str, message: str, tmp_path: Path) -> None:
    assert fault_of(f"{write(tmp_path)}{suffix}").endswith(message)


def test_an_unknown_target_names_the_shipped_ones() -> None:
    assert fault_of("nobody").endswith(f"give a file ending in .toml, or one of {', '.join(shipped())}")


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_files_are_valid(name: str) -> None:
    target, _file = read_target(name)
    assert target.name == name


def test_the_template_is_valid_as_it_is_and_with_every_comment_taken_away(tmp_path: Path) -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    assert [each.name for each in contenders(write(tmp_path, text))] == ["my-chat/cancel", "my-chat/hangup"]
    lines = [line.removeprefix("# ") if _is_a_key(line) else line for line in text.splitlines()]
    target, file = read_target(write(tmp_path, "\n".join(lines)))
    assert list(target.setup) == ["token"]
    with pytest.raises(TargetError, match="MY_PASSWORD is not set"):
        environment_of(target, file)


def _is_a_key(line: str) -> bool:
    return line.startswith("# ") and (line.startswith("# [") or " = " in line.partition("#")[2].partition("#")[0])


def test_environment_variables_are_read_only_where_templates_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_KEY", "secret")
    monkeypatch.setenv("OTHER", "secret")
    (tmp_path / "config.j2").write_text("key: {{env.CHAT_KEY}}")
    text = GOOD.replace('argv = ["{{python}}"]', 'argv = ["x"]\nfiles = { "config.yaml" = "config.j2" }')
    assert environment_of(*read_target(write(tmp_path, text))) == {"CHAT_KEY": "secret"}
