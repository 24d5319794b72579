"""The mock as a package of its own: its wheel in a bare virtual environment, beside services of somebody else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.mock_llm.test_pytest_plugin import NOT_STOPPING, example

ROOT = Path(__file__).parents[3]
PACKAGES = ("pytest-asyncio", "fastapi", "openai", "langchain-openai", "httpx", "uvicorn")


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """Return the standard output of a command that must end with this exit code."""
    ended = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout


def wheel(source: Path, folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    return next(folder.glob("*.whl"))


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.timeout(600)
def test_the_plugin_finds_a_service_that_does_not_stop_in_a_bare_environment(tmp_path: Path) -> None:
    mock = wheel(ROOT / "mock_llm", tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", python.parents[1], cwd=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", f"{mock}[pytest]", *PACKAGES, cwd=tmp_path)
    service, test = example("service.py"), example("test_service.py")
    head, _ = service.split("\n    async def text()")
    stops = write(tmp_path / "stops", service=service, test_service=test, test_langchain=example("test_langchain.py"))
    ignores = write(tmp_path / "ignores", service=f"import asyncio\n{head}{NOT_STOPPING}", test_service=test)
    command = (python, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "--rootdir=.")
    assert "2 passed" in run(*command, cwd=stops)
    failure = run(*command, cwd=ignores, code=1)
    assert "chat 'demo' was not stopped within 1000 ms" in failure
    assert "connection: still open" in failure


def test_both_wheels_contain_the_same_mock(tmp_path: Path) -> None:
    own, root = wheel(ROOT / "mock_llm", tmp_path / "own"), wheel(ROOT, tmp_path / "root")
    names = [
        {name for name in zipfile.ZipFile(path).namelist() if name.startswith("mock_llm/")} for path in (own, root)
    ]
    assert names[0] == names[1]
    assert "mock_llm/pytest_plugin.py" in names[0]
