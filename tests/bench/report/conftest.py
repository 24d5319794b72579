"""Runs that are rendered once for all tests, the faults of their pictures, and drawing without pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.report.charts import canvas
from bench.report.compare import compare
from bench.report.render import render
from tests.bench import fake_blocks
from tests.once import once

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
FEW: dict[str, Any] = {
    "strategies": ["redis-push", "redis-timer", "none"],
    "scenarios": ["flowing", "steady"],
    "blocks": 5,
    "chats": 20,
}


def shown(drawing: Figure) -> Iterator[Text]:
    """Every text that is painted; matplotlib keeps ticks outside the view, too."""
    for axes in drawing.axes:
        hidden: set[object] = set()
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted(limits)
            outside = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
            hidden |= {label for tick in (*outside, *axis.get_minor_ticks()) for label in (tick.label1, tick.label2)}
        yield from (each for each in axes.findobj(Text) if each not in hidden)
    yield from drawing.texts
    yield from (text for legend in drawing.legends for text in legend.get_texts())


def faults_of(drawing: Figure) -> list[str]:
    """Texts that are too small, cut off, or on top of another one, in a figure that was drawn."""
    texts = [text for text in dict.fromkeys(shown(drawing)) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    whole = drawing.bbox
    found = [f"{text.get_text()!r} is too small" for text in texts if float(text.get_fontsize()) < canvas.LEAST_PT]
    found += [
        f"{words!r} is cut off"
        for words, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > whole.width + 1 or box.y1 > whole.height + 1
    ]
    for (words, one), (others, other) in itertools.combinations(boxes, 2):
        if one.x0 + 1 < other.x1 and other.x0 + 1 < one.x1 and one.y0 + 2 < other.y1 and other.y0 + 2 < one.y1:
            found.append(f"{words!r} lies on {others!r}")
    return found


class Drawn(dict[str, list[str]]):
    """Name of a picture -> what is wrong with its texts; `legends` has the texts of its legends."""

    def __init__(self) -> None:
        super().__init__()
        self.legends: dict[str, set[str]] = {}

    def look_at(self, drawing: Figure, name: str) -> None:
        """Note what is wrong with the figure's texts."""
        self[name] = faults_of(drawing)
        self.legends[name] = {text.get_text() for each in drawing.legends for text in each.get_texts()}


def watched(
    look: Callable[[Figure, str], None], save: Callable[[Figure, Path], None]
) -> Callable[[Figure, Path], None]:
    def save_and_look(drawing: Figure, stem: Path) -> None:
        save(drawing, stem)
        look(drawing, stem.name)

    return save_and_look


def lay_out(drawing: Figure, stem: Path) -> None:
    """Draw as `canvas.save` does, but into no file: the files are empty."""
    drawing.draw_without_rendering()
    leave_out(drawing, stem)


def leave_out(_drawing: Figure, stem: Path) -> None:
    """Do not draw: for tests of the pages around the pictures."""
    stem.with_suffix(".png").touch()
    stem.with_suffix(".svg").write_text(SVG)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages with empty pictures."""
    monkeypatch.setattr(canvas, "save", leave_out)


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Charts are drawn, but into no file; filled as they are."""
    found = Drawn()
    monkeypatch.setattr(canvas, "save", watched(found.look_at, lay_out))
    return found


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Drawn]:
    """The larger record, rendered: blocks, workers, paces, an outage, floor and knee; and how its texts lie."""

    def make(parent: Path) -> tuple[Path, Drawn]:
        folder = fake_blocks.write(parent / "many", workers={"flowing": (1, 2)}, chats=30)
        fake_blocks.write_knee(folder)
        found = Drawn()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(canvas, "save", watched(found.look_at, canvas.save))
            render(folder)
        return folder, found

    return once(tmp_path_factory, "rendered", make)


@pytest.fixture(scope="session")
def rich(rendered: tuple[Path, Drawn]) -> Path:
    """The folder of `rendered`; tests read it and change nothing."""
    return rendered[0]


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run B has another commit and host, and its redis-push is 5 ms slower and loses aborts."""

    def make(parent: Path) -> tuple[Path, Path]:
        bent = fake_blocks.Bent({"redis-push": 5.0}, {"redis-push": 0.1})
        other = {"commit": "fedcba9", "host": {"cpus": 2}}
        before = fake_blocks.write(parent / "before", **FEW)
        return before, fake_blocks.write(parent / "after", bent=bent, manifest=other, **FEW)

    return once(tmp_path_factory, "pair", make)


@pytest.fixture(scope="session")
def compared(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that compares the pair; the texts of its pictures are whole and apart."""

    def make(results: Path) -> Path:
        found = Drawn()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(canvas, "save", watched(found.look_at, canvas.save))
            page = compare(*pair, results)
        assert {name: wrong for name, wrong in found.items() if wrong} == {}
        return page

    return once(tmp_path_factory, "compared", make)
