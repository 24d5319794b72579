"""Load tools find the service, and the mock itself, in order: they ask `GET /health` first."""

from pathlib import Path

import pytest

from tests.clients.load_tools import LOAD_TOOLS, REQUESTS, LoadTool
from tests.clients.rig import Outcome, Rig

MISSING = "`make clients LOAD_TOOLS=1` installs this load tool"


@pytest.mark.timeout(300)  # each starts a dozen processes
@pytest.mark.parametrize("target", ["service", "mock"])
@pytest.mark.parametrize(
    "tool",
    [
        pytest.param(tool, id=tool.name, marks=pytest.mark.skipif(not tool.installed, reason=MISSING))
        for tool in LOAD_TOOLS
    ],
)
def test_a_load_tool_starts_with_its_defaults(rig: Rig, tool: LoadTool, target: str, tmp_path: Path) -> None:
    rig.clear()
    tool.run(getattr(rig, target), tmp_path)
    rows = rig.journal()
    rig.record.setdefault(tool.name, {})[target] = Outcome({}, rows)
    assert [row["outcome"] for row in rows] == ["finished"] * REQUESTS
