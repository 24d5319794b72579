"""The witness fixture in other people's tests: the examples of docs/witness.md, failing assertions, and xdist."""

import re
import shutil
from pathlib import Path

import pytest

pytest_plugins = "pytester"

DOC = Path(__file__).parents[2] / "docs" / "witness.md"
# The service's own task continues to read the stream after the client has left.
NOT_STOPPING = """
    queue, tasks = asyncio.Queue(), set()

    async def read():
        async for chunk in stream:
            queue.put_nowait(chunk.choices[0].delta.content or "")

    reading = asyncio.create_task(read())

    async def text():
        while not reading.done() or not queue.empty():
            yield await queue.get()

    return StreamingResponse(text())
"""
CHAT = """
import openai

def start(witness, chat_id, **options):
    client = openai.OpenAI(base_url=witness.base_url, api_key="none")
    messages = [{"role": "user", "content": f"[bench:{chat_id}]"}]
    return client, client.chat.completions.create(model="m", messages=messages, stream=True, **options)
"""


def example(name: str) -> str:
    """The code block of docs/witness.md that begins with this file name; its limits suit a busy machine."""
    block = re.search(rf"```\w+\n(?:#|//) {re.escape(name)}\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert block is not None
    return block[1].replace("within_ms=50", "within_ms=1000")


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """With the plugins that it needs: all that are installed here take more than a second."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    plugins = ("mock_llm.pytest_plugin", "pytest_asyncio.plugin", "xdist.plugin")
    return pytester.runpytest_subprocess(*(each for name in plugins for each in ("-p", name)), *arguments)


@pytest.fixture(autouse=True)
def _no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def write(pytester: pytest.Pytester, **files: str) -> None:
    for name, text in files.items():
        (pytester.path / name.replace("__", ".")).write_text(text)


def test_a_fastapi_service_that_stops_passes(pytester: pytest.Pytester) -> None:
    write(pytester, service__py=example("service.py"), test_service__py=example("test_service.py"))
    run(pytester).assert_outcomes(passed=1)


def test_a_fastapi_service_that_does_not_stop_fails_and_the_failure_explains_it(pytester: pytest.Pytester) -> None:
    head, _ = example("service.py").split("\n    async def text()")
    test = example("test_service.py").replace("within_ms=1000", "within_ms=50")
    write(pytester, service__py=f"import asyncio\n{head}{NOT_STOPPING}", test_service__py=test)
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"E +AssertionError: chat 'demo' was not stopped within 50 ms",
            r"E +connection: still open \d+ ms after the stop",
            r"E +written after the stop: \d+ tokens, the last one \d+ ms after the stop",
            r"E +written before it: \d+ of 1000 tokens",
            r"E +received: \d+ ms before the stop, id from the marker",
        ]
    )


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("stops", [True, False])
def test_a_node_service_as_a_process(pytester: pytest.Pytester, stops: bool) -> None:
    service = example("service.mjs")
    if not stops:
        service = service.replace("abort.abort()", "null")
    write(pytester, service__mjs=service, test_node__py=example("test_node.py"))
    run(pytester).assert_outcomes(passed=int(stops), failed=int(not stops))


def test_each_test_sees_only_its_own_chats_also_with_xdist(pytester: pytest.Pytester) -> None:
    test = """
@pytest.mark.parametrize("number", range(6))
def test_own(witness, number):
    assert witness.chats() == []
    before_ns = time.monotonic_ns()
    client, stream = start(witness, "same")
    with client, stream:
        assert witness.wait_for_chat("same").id_from == "marker"
        assert witness.open_streams == ["same"]
        next(stream), next(stream), next(stream)
        assert witness.tokens_after("same", before_ns) >= 1
    assert witness.stopped("same", within_ms=1000).outcome == "cut"
    assert witness.open_streams == []
    assert witness.tokens_after("same", time.monotonic_ns()) == 0

def test_a_background_response_is_stopped_by_its_cancel(witness):
    with openai.OpenAI(base_url=witness.base_url, api_key="none") as client:
        queued = client.responses.create(model="m", input="[bench:background]", background=True)
        assert witness.open_streams == ["background"]
        client.responses.cancel(queued.id)
    assert witness.stopped("background", within_ms=1000).stopped_ns is not None
"""
    write(pytester, test_own__py=f"import time\nimport pytest\n{CHAT}{test}")
    run(pytester, "-n", "2").assert_outcomes(passed=7)


def test_a_chat_that_was_not_received_or_ended_by_itself_fails_with_the_reason(pytester: pytest.Pytester) -> None:
    test = """
def test_not_received(witness):
    client, stream = start(witness, "other")
    with client, stream:
        witness.stopped("demo", within_ms=1)

def test_ended_by_itself(witness):
    client, stream = start(witness, "short", max_tokens=1)
    with client:
        list(stream)
        witness.stopped("short", within_ms=1)

def test_late(witness):
    client, stream = start(witness, "late")
    with client, stream:
        since_ns = witness.wait_for_chat("late").received_ns
    witness.stopped("late", since_ns=since_ns, within_ms=0.001)

async def test_the_sync_form_in_a_loop(witness):
    witness.stopped("demo")

async def test_wait(witness):
    await witness.chat("never", timeout_s=0.01)
"""
    write(pytester, test_reasons__py=CHAT + test)
    result = run(pytester)
    result.assert_outcomes(failed=5)
    result.stdout.re_match_lines_random(
        [
            r"E +the mock received 1 other chats: 'other'",
            r"E +connection: the chat ended by itself \d+ ms before the stop; .*",
            r"E +connection: lost \d+ ms after the stop",
            r"E +RuntimeError: witness.stopped\(\) would block .*: use `await witness.chat_stopped\(...\)`",
            r"E +AssertionError: chat 'never' was not received within 0.01 s",
        ]
    )
