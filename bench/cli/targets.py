"""`target`: check, list, write and install target files."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench.cli.errors import exit_codes, measuring
from bench.cli.options import RESULTS, Folders, words
from bench.cli.terminal import BAD_USAGE, console, end, line

app = typer.Typer(help="Measure another chat than ours: a TOML file describes it.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A shipped target, or a file ending in .toml; also target:variant/stop.")]
Url = Annotated[str, typer.Option(help="Address of the running service, instead of starting one.", show_default=False)]
MockPort = Annotated[int, typer.Option(min=0, max=65535, help="Port of the mock upstream; 0: any.")]
TEMPLATE = Path(__file__).parents[1] / "targets" / "template.toml.txt"


@app.command()
@measuring
def check(name: Name, *, url: Url = "", mock_port: MockPort = 0) -> None:
    """Start a target, chat and stop in eight situations, and print the stop card (about 10 s for each way to stop).

    Exit code 2 when the target cannot be measured, 4 for a fault in its file.
    """
    from bench.experiments.stop_card import stop_cards
    from bench.targets.files import TargetError

    with exit_codes(usage=(TargetError,)):
        for title, rows in stop_cards(name, url=url or None, mock_port=mock_port, say=line):
            table = Table(title=escape(title), title_justify="left")
            for column in ("stop", "answer", "upstream", "wasted", "verdict"):
                table.add_column(column, no_wrap=column in ("stop", "upstream"))
            for row in rows:
                after = "" if row.tokens_after is None else str(row.tokens_after)
                table.add_row(row.situation, escape(row.answer), row.upstream, after, escape(row.verdict))
            console.print(table)
        line("wasted: tokens that the upstream wrote after the stop; docs/targets.md explains the verdicts")


@app.command("list")
def list_() -> None:
    """The targets that come with the project, their variants and ways to stop."""
    from bench.targets.files import read_target, shipped
    from bench.targets.install import installed, names

    table = Table("target", "variants", "stops", "installed")
    for name in shipped():
        target, _file = read_target(name)
        product = target.install or name
        here = ("yes" if installed(product) else f"make target NAME={product}") if product in names() else "built in"
        table.add_row(name, ", ".join(target.variant) or "-", ", ".join(target.stop), here)
    console.print(table)


@app.command()
def new(file: Annotated[Path, typer.Argument(help="Where to write it, e.g. my.toml.")]) -> None:
    """Write a commented target file to start from; docs/targets.md explains every key."""
    if file.suffix != ".toml":
        end(BAD_USAGE, f"{file}: a target file ends in .toml")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(TEMPLATE.read_text(encoding="utf-8"))
    except OSError as error:
        end(BAD_USAGE, f"{file} cannot be written: {error.strerror}")
    line(f"Wrote {file}. Edit it, then: .venv/bin/python -m bench target check {file}")


@measuring
def products(
    *,
    only: Annotated[str, typer.Option(help="Some of the installed targets; comma-separated.")] = "",
    chats: Annotated[int, typer.Option(min=1, max=10_000, help="Stops of each way in each scenario.")] = 200,
    results: Folders = RESULTS,
) -> None:
    """Measure all installed products beside our service in one run, and write results/products and docs/products.md."""
    from bench.experiments.products import installed_targets, measure_products

    names = words(only) or installed_targets()
    if not names:
        end(BAD_USAGE, "no product is installed: make target NAME=..., see `python -m bench target list`")
    console.print(f"Measuring {', '.join(names)} beside ours; stop with Ctrl-C, finished cases are kept")
    page = measure_products(names, chats=chats, results=results, console=console)
    console.print(f"Wrote {page} and {results / 'products'}")
