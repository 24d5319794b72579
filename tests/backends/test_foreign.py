"""Stores of other packages: `BACKEND=module:Class+delivery://address`, and the command that tests one."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import httpx2
import pytest

import backends
from backends import AbortOutcome, BackendUrlError
from tests.conftest import namespace
from tests.server.service import NO_TLS, readyz, serve, until

FOLDER = Path(__file__).parent / "foreign_store"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(FOLDER)}
BAD = {
    "absent.mystore:MyStore": "absent.mystore:MyStore cannot be imported (ModuleNotFoundError: ",
    "foreignpackage.absent:MyStore": "foreignpackage.absent:MyStore cannot be imported (ModuleNotFoundError: ",
    "foreignpackage.good:Absent": "the module foreignpackage.good has no class Absent",
    "foreignpackage.bad:NotAStore": "is not a store: it must be a subclass of backends.base.Store",
    "foreignpackage.bad:NOT_A_CLASS": "is not a store: it must be a subclass of backends.base.Store",
    "foreignpackage.bad:Unfinished": "lacks __aenter__, __aexit__, flag, heartbeat, listen, reassert, register, ",
    "foreignpackage.bad:OtherConstructor": "its constructor takes (url, options, *, notify)",
    "foreignpackage.bad:Talkative+push://me:hidden-secret@host": "cannot be created (ValueError)",
    "foreignpackage.good:SharedStore+pull": "is one of poll, timer, push",
    "redis:hidden-secret": "names no strategy",
}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_a_store_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(BackendUrlError) as refused:
        backends.from_url(name)
    assert BAD[name] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("name", ["absent.mystore:MyStore", "foreignpackage.bad:Unfinished"])
def test_the_service_refuses_it_with_one_line_and_exit_code_4(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "server", "--port", "0", "--backend", name],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip
    assert run.returncode == 4, run.stderr
    assert BAD[name] in run.stderr
    assert run.stderr.count("\n") == 1


async def test_the_workers_of_a_service_open_it() -> None:
    """The workers are processes of their own, and import the class themselves."""
    with serve(workers=2, backend="foreignpackage.good:SharedStore+push://here", PYTHONPATH=str(FOLDER)) as service:
        async with httpx2.AsyncClient(base_url=service.url, verify=NO_TLS) as client:
            await until(readyz(client, 200))


@pytest.mark.parametrize("delivery", ["", "+poll://somewhere", "+timer://somewhere", "+push://somewhere"])
async def test_two_workers_share_it(delivery: str) -> None:
    url, options = f"foreignpackage.good:SharedStore{delivery}", backends.Options(namespace=namespace(), interval_ms=20)
    async with backends.from_url(url, options) as owner, backends.from_url(url, options) as other:
        assert owner.store.name == "shared"
        async with owner.watch("chat", "me") as signal:
            assert await other.abort("chat", "me") is AbortOutcome.ACCEPTED
            if signal.poll is None:
                await signal.wait()
            else:
                assert await signal.poll()


@pytest.mark.parametrize(("name", "passes"), [("SharedStore", True), ("ForgetfulStore", False)])
def test_its_author_can_run_the_conformance_suite(name: str, passes: bool) -> None:
    """The command of docs/backends.md; a store that does not conform fails it."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/backends/test_conformance.py", "-q", "-x", "-p", "no:cacheprovider"],
        capture_output=True, text=True, check=False, timeout=110, cwd=ROOT,
        env=ENVIRONMENT | {"STORE": f"foreignpackage.good:{name}"},
    )  # fmt: skip
    assert run.returncode == (0 if passes else 1), run.stdout
    assert passes or "test_a_second_abort_is_already_aborted[foreign-poll]" in run.stdout
