"""What a reader sees: no text cut off or on top of another one, names beside their curves, the same picture again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.analysis.reading import read_run
from bench.analysis.summary import write_summary
from bench.report.charts.canvas import LEAST_PT, WIDTH_IN
from bench.report.charts.draw import draw_all
from bench.report.charts.labels import Named, label_curves, name_curves
from tests.bench import fake_blocks, fake_results

SAVE = Figure.savefig


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
    drawing.canvas.draw()
    texts = [text for text in dict.fromkeys(shown(drawing)) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    whole = drawing.bbox
    found = [f"{text.get_text()!r} is too small" for text in texts if float(text.get_fontsize()) < LEAST_PT]
    found += [
        f"{words!r} is cut off"
        for words, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > whole.width + 1 or box.y1 > whole.height + 1
    ]
    for (words, one), (others, other) in itertools.combinations(boxes, 2):
        if one.x0 + 1 < other.x1 and other.x0 + 1 < one.x1 and one.y0 + 2 < other.y1 and other.y0 + 2 < one.y1:
            found.append(f"{words!r} lies on {others!r}")
    return found


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Filled as pictures are saved: name -> what is wrong with its texts."""
    found: dict[str, list[str]] = {}

    def save(drawing: Figure, path: Path, **how: Any) -> None:
        if path.suffix == ".png":
            found[path.stem] = faults_of(drawing)
        SAVE(drawing, path, **how)

    monkeypatch.setattr(Figure, "savefig", save)
    return found


def test_the_texts_of_every_chart_are_whole_and_apart(rich: Path, tmp_path: Path, faults: dict[str, list[str]]) -> None:
    run = read_run(rich)
    draw_all(run, write_summary(run), tmp_path)
    assert len(faults) >= 14
    assert {name: wrong for name, wrong in faults.items() if wrong} == {}


@pytest.mark.parametrize("strategies", [["redis-push"], ["none", "redis-poll"], ["postgres-timer", "disconnect"]])
def test_also_with_few_strategies(tmp_path: Path, faults: dict[str, list[str]], strategies: list[str]) -> None:
    run = read_run(fake_results.write(tmp_path, chats=20, strategies=strategies))
    draw_all(run, write_summary(run))
    assert faults
    assert {name: wrong for name, wrong in faults.items() if wrong} == {}


def test_a_name_hides_no_other_curve() -> None:
    drawing, axes = plt.subplots()
    axes.set(xlim=(0, 10), ylim=(-1, 8))
    x = np.linspace(0, 10, 200)
    fan = [Named(f"curve {slope}", "#08306b", np.column_stack([x, slope * x / 10])) for slope in range(8)]
    assert label_curves(axes, fan) == set()
    for text in axes.texts:
        box = text.get_window_extent()
        for curve in fan:
            places = axes.transData.transform(curve.points)
            assert curve.name == text.get_text() or not any(box.contains(*place) for place in places)
    assert [words for words in faults_of(drawing) if "curve" in words] == []
    plt.close(drawing)


def test_a_name_without_room_is_given_back() -> None:
    drawing, axes = plt.subplots(figsize=(1, 1))
    line = np.array([[0.0, 0.5], [1.0, 0.5]])
    assert label_curves(axes, [Named("far too long for so small a picture", "#08306b", line)]) != set()
    assert not axes.texts
    plt.close(drawing)


def test_a_name_without_room_is_in_a_legend_below_which_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, axes = plt.subplots(figsize=(WIDTH_IN, 2), layout="constrained")
    axes.set_xlabel("what it is")
    line = np.array([[0.0, 0.5], [1.0, 0.5]])
    drawing.draw_without_rendering()
    before_px, old_px = axes.bbox.height, drawing.bbox.height
    monkeypatch.setattr("bench.report.charts.labels._places", lambda *_all: iter(()))
    name_curves([(axes, [Named("one", "#08306b", line), Named("other (3 missed)", "#000000", line)])])
    (legend,) = drawing.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "other (3 missed)"]
    assert not axes.texts
    assert axes.bbox.height == pytest.approx(before_px, abs=1)
    assert drawing.bbox.height > old_px
    drawing.canvas.draw()
    assert legend.get_window_extent().y1 < axes.xaxis.label.get_window_extent().y0
    assert faults_of(drawing) == []
    plt.close(drawing)


def test_no_chart_loses_a_curve_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, list[str]]
) -> None:
    """Where no name at all finds room, every chart of curves lists them all."""
    listed: dict[str, set[str]] = {}
    save = Figure.savefig

    def watch(drawing: Figure, path: Path, **how: Any) -> None:
        listed[path.stem] = {text.get_text().split()[0] for each in drawing.legends for text in each.get_texts()}
        save(drawing, path, **how)

    monkeypatch.setattr(Figure, "savefig", watch)
    monkeypatch.setattr("bench.report.charts.labels._places", lambda *_all: iter(()))
    names = ["redis-push", "redis-poll"]
    folder = fake_blocks.write(
        tmp_path, strategies=[*names, "memory-push"], scenarios=["flowing", "slow", "wrong-worker", "steady"], chats=12,
        blocks=2,
    )  # fmt: skip
    run = read_run(folder)
    draw_all(run, write_summary(run))
    for chart in ("stop-ecdf", "stop-tail", "stop-in-gap", "stop-by-pace", "cost-against-stop"):
        assert listed[chart] >= set(names), chart
    assert "memory-push" in listed["missed-by-workers"]
    assert {name: wrong for name, wrong in faults.items() if wrong} == {}


def test_a_phone_shows_the_smallest_text_at_seven_points() -> None:
    phone_in = (375 - 2 * 8 - 2 * 3) / 96  # less the page's and the picture's margins, see style.css
    assert LEAST_PT * phone_in / WIDTH_IN >= 7
