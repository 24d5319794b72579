"""The report: self-contained, the same every time, honest about an interrupted run, and safe with hostile labels."""

from __future__ import annotations

import hashlib
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.report.charts import canvas
from bench.report.render import render
from tests.bench import fake_results as fake
from tests.bench.report.conftest import leave_out

HOSTILE = '<script>alert(1)</script>|**x**[a](javascript:b)"\n# y'


OURS = 2  # scripts: the data of the charts, and what draws them
STRATEGIES = ("memory-push", "redis-push", "postgres-poll", "disconnect", "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered run of all scenarios."""
    made = fake.write(tmp_path_factory.mktemp("run"), strategies=STRATEGIES, chats=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "save", leave_out)
        assert render(made) == made / "report.html"
    return made


class Page(HTMLParser):
    """Collects tags, what they load, and the text of table cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [value or "" for name, value in attrs if name in ("src", "srcset", "data", "poster")]
        self.links += [values["href"] or ""] if "href" in values else []
        self.ids += [values["id"] or ""] if "id" in values else []
        self.alts += [values.get("alt") or ""] if tag == "img" else []


def test_the_page_loads_nothing(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    page = Page(html)
    assert len(page.loads) == len(list((folder / "charts").glob("*.svg"))) >= 10
    assert all(load.startswith("data:image/svg+xml,<svg") for load in page.loads)
    assert all(page.alts)
    assert page.links
    assert all(link[1:] in page.ids if link.startswith("#") else (folder / link).is_file() for link in page.links)
    assert len(set(page.ids)) == len(page.ids)
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == OURS
    # Names of XML namespaces, and references within a picture (`url(#...)`), load nothing.
    text = re.sub(r"http://www\.w3\.org/[\w/]+|url\(%23", "", html)
    assert not re.search(r"https?://|url\(|@import", text)


def test_the_page_fits_phone_print_and_dark(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    for needed in ('name="viewport"', "@media print", "prefers-color-scheme: dark", "overflow-x: auto"):
        assert needed in html


def test_rendering_again_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = fake.write(tmp_path, strategies=["redis-push"], scenarios=["flowing"], chats=20)
    render(folder)

    def digests() -> dict[str, str]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = digests()
    assert {"summary.json", "report.md", "report.html", "charts/stop-ecdf.svg", "charts/stop-where.png"} <= set(first)
    (folder / "charts" / "of-an-older-version.png").write_bytes(b"")
    render(folder)
    assert digests() == first


def test_markdown_has_every_case_and_chart(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("| ") and line.split(" | ")[0][2:].strip("*") in STRATEGIES
    ]
    assert len(rows) == len(STRATEGIES) * (len(fake.SCENARIOS) + 2)  # and all in short and at a glance
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert {folder / picture for picture in pictures} == set((folder / "charts").glob("*.png"))
    assert re.search(r"^\| none \| - \| - \| - \| 80 \(100 %\) \|", text, re.MULTILINE)


def test_each_scenario_is_explained_on_the_first_screen_and_at_its_table(folder: Path) -> None:
    for name in ("report.html", "report.md"):
        assert all((folder / name).read_text().count(f"This is {scenario}.") == 2 for scenario in fake.SCENARIOS)


def test_tables_are_whole_and_each_row_has_all_columns(folder: Path) -> None:
    block: list[str] = []
    tables = []
    for line in [*(folder / "report.md").read_text().splitlines(), ""]:
        if line.startswith("|"):
            block.append(line.strip())
        elif block:
            tables.append(block)
            block = []
    assert (
        len(tables) == len(fake.SCENARIOS) + 7
    )  # in short, at a glance, controls, parts of a stop, what a flag survives, facts, health
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
        assert set(table[1]) <= set("|-: ")


def test_the_run_s_facts_are_shown(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    for fact in ("valkey 9.1.2", "postgresql 18.4", "uvicorn 0.54.0", "3.11.7", "0123abc", "<dt>seed</dt><dd>1</dd>"):
        assert fact in html


@pytest.mark.usefixtures("no_pictures")
def test_an_interrupted_run_still_renders_and_says_so(tmp_path: Path) -> None:
    fake.write(tmp_path, strategies=["redis-push", "none"], scenarios=["flowing"], chats=8, complete=False)
    html = render(tmp_path).read_text()
    assert "Not valid." in html
    assert "the run was interrupted" in html
    assert "the run was interrupted" in (tmp_path / "report.md").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_a_hostile_label_or_error_stays_text(tmp_path: Path) -> None:
    fake.write(tmp_path, strategies=["redis-push"], scenarios=["flowing"], chats=8, label=HOSTILE)
    rng = random.Random(1)
    rows = [fake.chat("redis-push", "flowing", index, rng) for index in range(8)]
    rows[0]["client"]["error"] = HOSTILE
    cases = [fake.case("redis-push", "flowing", rows, rng)]
    fake.write_raw(tmp_path, fake.manifest(label=HOSTILE, scenarios=["flowing"]), rows, cases)
    html = render(tmp_path).read_text()
    markdown = (tmp_path / "report.md").read_text()
    assert Page(html).tags.count("script") == OURS
    assert html.count("&lt;script&gt;") >= 2
    assert "<script" not in markdown
    assert "[a](javascript" not in markdown.replace("\\[a\\](javascript", "")
    assert not re.search(r"^# y", markdown, re.MULTILINE)


@pytest.mark.usefixtures("no_pictures")
def test_a_hostile_strategy_breaks_no_table(tmp_path: Path) -> None:
    render(fake.write(tmp_path, strategies=["a|b<i>"], scenarios=["flowing"], chats=8))
    head, _dashes, row = [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("|")][
        :3
    ]
    assert row.startswith("| a\\|b&lt;i&gt; |")
    assert row.replace("\\|", "").count("|") == head.count("|")
    assert "<i>" not in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_a_manifest_with_gaps_is_no_obstacle(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [fake.chat("redis-push", "flowing", index, rng) for index in range(8)]
    head = {"schema": 1, "complete": True, "commit": None, "host": None}
    fake.write_raw(tmp_path, head, rows, [fake.case("redis-push", "flowing", rows, rng)])
    assert "unknown" in render(tmp_path).read_text()
