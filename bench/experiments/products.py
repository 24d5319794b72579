"""Measure the installed products beside our own service, and keep the table of them."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.analysis.summary import summarise
from bench.record.files import replace_file
from bench.record.writer import Results
from bench.report.products import EVIDENCE, write_products
from bench.run.campaign import Run
from bench.run.meter import Measured
from bench.run.progress import Expected
from bench.run.settings import Settings
from bench.run.subject import Side
from bench.targets.files import MOCK, OURS, read_target, shipped
from bench.targets.install import installed, names
from bench.workload.plan import NEVER_CHATS, Case, select

SCENARIOS = ("flowing-long", "stalled-long", "never-started", "no-headers", "whole")
OUR_STRATEGIES = ("redis-push", "disconnect")
PAGE = Path("docs/products.md")
KEPT = ("summary.json", "manifest.json", EVIDENCE)


def installed_targets() -> list[str]:
    """The shipped targets that can be started here: those whose product is installed, or that need none."""
    found = []
    for name in shipped():
        product = read_target(name)[0].install or name
        if name not in (OURS, MOCK) and (product not in names() or installed(product)):
            found.append(name)
    return found


def cases_of(targets: Sequence[str], chats: int) -> list[Case]:
    """All ways to stop these targets and our own service, in all scenarios for products."""
    cases = select("all", SCENARIOS, 2, strategies=[*OUR_STRATEGIES, *targets], targets=True)
    return [
        replace(case, scenario=replace(case.scenario, chats=min(chats, NEVER_CHATS) if _is_never(case) else chats))
        for case in cases
    ]


def measure_products(targets: Sequence[str], *, chats: int, results: Path, console: Console) -> Path:
    """Measure one block, and write results/products and the page. Returns the page."""
    kept = Results(results, "products")
    settings = Settings("products", 2, quick=False, seed=1, label="products", leaves_out_unfit=True)
    sides = [Measured(Side(), kept)]
    Run(cases_of(targets, chats), settings, sides, console, expects=Expected(1, 0)).execute()
    summarise(kept.folder)
    page = write_products(kept.folder, PAGE)
    place = results / "products"
    (place / "charts").mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(kept.folder / name, place / name)
    for suffix in ("png", "svg"):
        shutil.copyfile(kept.folder / "charts" / f"products.{suffix}", place / "charts" / f"products.{suffix}")
    report = page.read_text(encoding="utf-8").replace("../results/products/", "")
    replace_file(place / "report.md", report.replace("(targets.md)", "(../../docs/targets.md)").encode())
    return page


def _is_never(case: Case) -> bool:
    return case.foreign is not None and case.foreign.stop.expect == "never"
