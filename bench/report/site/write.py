"""Write the site: plain files that any static host serves, with relative links only."""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from bench.record.base import RecordError
from bench.record.reader import UnreadableResults
from bench.report.pages import environment
from bench.report.render import FILES, render
from bench.report.site.runs import Badge, ListedRun, find_runs, newest_badges

MARK = ".stopwatch-site"
"""Made in the folder of a site: a folder without it is somebody's, and is not replaced."""
PICTURES = (".png", ".svg")
FILTERS: Mapping[str, Callable[[ListedRun], Iterable[str]]] = {
    "strategy": lambda run: [case.strategy for case in run.cases],
    "target": lambda run: [case.target for case in run.cases],
    "machine": lambda run: [run.machine],
    "date": lambda run: [run.started[:10]],
}


class SiteError(Exception):
    """The site cannot be written; the message is one line: cause and next step."""


def write_site(results: Path, into: Path, say: Callable[[str], None]) -> tuple[int, Counter[str]]:
    """Render all runs below `results` into the folder `into`, which is replaced as a whole.

    Returns the number of runs, and the folders that were left out by reason. Raises SiteError.
    """
    if into.exists() and any(into.iterdir()) and not (into / MARK).exists():
        raise SiteError(f"{into} was not made by `make site`: choose another folder with --into")
    left_out: Counter[str] = Counter()
    try:
        _render_missing(results, say)
        runs = find_runs(results, left_out)
        if not runs:
            raise SiteError(f"{results} has no run with a summary: run `make bench` first")
        into.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.parent))
        try:
            _write(runs, scratch, say)
            scratch.chmod(0o755)
            shutil.rmtree(into, ignore_errors=True)
            scratch.rename(into)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise SiteError(f"{into} cannot be written ({error.strerror or error})") from error
    return len(runs), left_out


def _render_missing(results: Path, say: Callable[[str], None]) -> None:
    """Render the reports of runs that have their rows and no report yet."""
    for rows in sorted([*results.glob("*/chats.jsonl.gz"), *results.glob("*/*/chats.jsonl.gz")]):
        folder = rows.parent
        if not (folder / "report.html").exists() and not folder.is_symlink() and not folder.parent.is_symlink():
            say(f"rendering {folder.name}")
            try:
                render(folder)
            except (UnreadableResults, RecordError) as error:
                say(f"{folder.name}: {error}")  # it is listed with its summary, or left out


def _write(runs: Sequence[ListedRun], site: Path, say: Callable[[str], None]) -> None:
    pages = environment()

    def page(path: Path, template: str, **content: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages.get_template(template).render(content), encoding="utf-8")

    def badges(folder: Path, found: Sequence[Badge]) -> None:
        for badge in found:
            page(folder / f"{file_name(badge.contender)}.svg", "badge.svg.j2", badge=badge)

    (site / MARK).touch()
    for run in runs:
        say(f"copying {run.label}")
        folder = site / "runs" / run.name
        folder.mkdir(parents=True)
        report = run.folder / "report.html"
        if report.exists():
            shutil.copyfile(report, folder / "index.html")
            for name in FILES:
                if (run.folder / name).exists():
                    shutil.copyfile(run.folder / name, folder / name)
        else:  # committed runs have no rows, so their report is a Markdown page with pictures
            text, pictures = _markdown(run.folder)
            page(folder / "index.html", "page.html.j2", title=run.label, body=text)
            for picture in pictures:
                (folder / picture).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(run.folder / picture, folder / picture)
        badges(folder / "badges", run.badges)
    newest = newest_badges(runs)
    badges(site / "badges", list(newest.values()))
    filters = {name: sorted({value for run in runs for value in values(run)}) for name, values in FILTERS.items()}
    page(site / "index.html", "site.html.j2", runs=runs, newest=newest, filters=filters, file_name=file_name)


def _markdown(folder: Path) -> tuple[str, list[Path]]:
    """report.md as HTML, and the pictures of its folder that it shows."""
    report = folder / "report.md"
    text = report.read_text(encoding="utf-8") if report.exists() else "No report was kept of this run."
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    named = {Path(each) for each in re.findall(r'src="([^":]+)"', html)}
    pictures = sorted(
        each for each in named if each.suffix in PICTURES and ".." not in each.parts and (folder / each).is_file()
    )
    return html, pictures


def file_name(contender: str) -> str:
    """`agno:redis/cancel` as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", contender)
