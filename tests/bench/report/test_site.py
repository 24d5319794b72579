"""`make site`: all runs as plain files, with filters that work in a browser and without, and badges that are true."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.async_api import async_playwright

from bench.record.base import read_file
from bench.record.summary import Summary
from bench.report.site.runs import badge_of
from bench.report.site.write import SiteError, write_site
from tests.bench.command import Bench
from tests.browser.conftest import FLAGS
from tests.browser.conftest import chromium as chromium  # noqa: PLC0414 - a fixture


def quiet(_what: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def results(pair: tuple[Path, Path], compared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, one with a report and one with a Markdown report only, a link to one, and a folder that is none."""
    folder = tmp_path_factory.mktemp("results")
    for run in pair:
        shutil.copytree(run, folder / run.name)
    for name in ("before", "after"):
        (folder / name / "report.html").unlink(missing_ok=True)
        (folder / name / "chats.jsonl.gz").unlink()  # committed runs have no rows
    for name, side in (("before", "a"), ("after", "b")):
        shutil.copyfile(compared.parent / side / "summary.json", folder / name / "summary.json")
    (folder / "before" / "report.html").write_text("<title>the report</title>")
    (folder / "after" / "charts").mkdir(exist_ok=True)
    (folder / "after" / "charts" / "one.png").write_bytes(b"png")
    (folder / "after" / "report.md").write_text("# After\n\n| a |\n|---|\n| <b>x</b> |\n\n![One](charts/one.png)\n")
    (folder / "latest").symlink_to(folder / "before")
    (folder / "half").mkdir()
    (folder / "half" / "manifest.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def site(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("web") / "site"
    runs, left_out = write_site(results, into, quiet)
    assert runs == 2
    assert [name.partition(":")[0] for name in left_out] == ["half"]
    return into


def test_every_run_has_its_page_and_every_link_leads_somewhere(site: Path) -> None:
    pages = [site / "index.html", *site.glob("runs/*/index.html")]
    assert {page.parent.name for page in pages[1:]} == {"before", "after"}
    assert "the report" in (site / "runs/before/index.html").read_text()
    after = (site / "runs/after/index.html").read_text()
    assert "<td>&lt;b&gt;x&lt;/b&gt;</td>" in after  # a label cannot bring markup into the page
    for page in pages:
        for link in re.findall(r'(?:href|src)="([^"#]+)"', page.read_text()):
            assert ":" not in link
            assert (page.parent / link).is_file(), link


def test_a_badge_counts_all_aborts_and_is_red_when_one_was_missed(results: Path, site: Path) -> None:
    cases = [case for case in read_file(results / "after/summary.json", Summary).cases if case.strategy == "redis-push"]
    missed, aborts = sum(case.missed for case in cases), sum(case.aborts for case in cases)
    assert missed
    badge = badge_of("redis-push", cases, valid=True)
    assert badge
    assert badge.kind == "bad"
    assert badge.says.endswith(f", {missed} of {aborts} missed")
    drawn = ElementTree.parse(site / "runs/after/badges/redis-push.svg").getroot()
    assert f"{missed} of {aborts} missed" in "".join(drawn.itertext())
    assert badge_of("redis-push", cases, valid=False).kind == "invalid"  # type: ignore[union-attr]
    assert badge_of("none", [], valid=True) is None


def test_the_newest_valid_run_gives_the_badge_of_a_contender(site: Path) -> None:
    newest, before, after = (
        (site / folder / "redis-push.svg").read_text()
        for folder in ("badges", "runs/before/badges", "runs/after/badges")
    )
    assert before != after
    assert newest in (before, after)


@pytest.mark.asyncio
async def test_filters_hide_the_other_results_and_are_kept_in_the_address(chromium: str, site: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = await browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        await page.goto((site / "index.html").as_uri())
        rows = page.locator("#runs tbody tr:visible")
        every = await rows.count()
        await page.get_by_label("Strategy").focus()
        await page.keyboard.type("redis-timer")
        strategies = await rows.locator("th").all_text_contents()
        assert 0 < len(strategies) < every
        assert set(strategies) == {"redis-timer"}
        assert await page.locator("output").text_content() == f"{len(strategies)} of {every} results"
        again = await browser.new_page()
        await again.goto(page.url)
        assert await again.locator("#runs tbody tr:visible").count() == len(strategies)
        bare = await (await browser.new_context(java_script_enabled=False)).new_page()
        await bare.goto((site / "index.html").as_uri())
        assert await bare.locator("#runs tbody tr:visible").count() == every
        assert not await bare.locator("#filters").is_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
        assert said == []
        await browser.close()


def test_a_site_replaces_a_site_and_nothing_else(results: Path, tmp_path: Path) -> None:
    into = tmp_path / "site"
    write_site(results, into, quiet)
    (into / "old.html").touch()
    write_site(results, into, quiet)
    assert not (into / "old.html").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(SiteError, match="--into"):
        write_site(results, tmp_path / "mine", quiet)
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["file"]
    assert {each.name for each in tmp_path.iterdir()} == {"site", "mine"}


def test_without_a_run_there_is_no_site(bench: Bench, tmp_path: Path) -> None:
    done = bench("site", "--results", str(tmp_path), "--into", str(tmp_path / "site"))
    assert done.returncode == 4
    assert "make bench" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "site").exists()
