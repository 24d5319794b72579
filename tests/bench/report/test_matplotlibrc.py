"""A report is drawn the same way on every machine, whatever matplotlib has been told by its user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DRAW = """
import sys
from pathlib import Path
from bench.report.charts.canvas import figure
with figure(Path(sys.argv[1]), "chart", 2.0) as (axes,):
    axes.plot([1, 2], [3, 4], label="a_b")
    axes.set_title("100 % of $ & _")
    axes.legend()
"""
RC = "text.usetex: true\nfont.size: 40\naxes.titlesize: 40\nlines.linewidth: 9\nbackend: TkAgg\nfigure.dpi: 30\n"


def drawn(folder: Path, **env: str) -> bytes:
    folder.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MPL")}
    environment = clean | {"PYTHONPATH": str(Path.cwd())} | env
    subprocess.run([sys.executable, "-c", DRAW, str(folder)], check=True, cwd=folder, env=environment)
    return (folder / "charts" / "chart.svg").read_bytes()


def test_the_users_matplotlibrc_and_backend_change_nothing(tmp_path: Path) -> None:
    plain = drawn(tmp_path / "plain")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "rc").write_text(RC)
    assert drawn(theirs, MATPLOTLIBRC=str(theirs / "rc"), MPLBACKEND="nonsense") == plain
    (theirs / "matplotlibrc").write_text(RC)  # of the folder that the report is drawn from
    assert drawn(theirs) == plain
