"""The command that plans capacity: `plan`, and its measurement with `--measure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from bench.cli.errors import keeping, measuring, writing_to
from bench.cli.options import RESULTS, Folders, Quick, Seed, Workers
from bench.cli.terminal import BAD_USAGE, INVALID, by_cause, console, end, line, warn
from bench.workload.plan import STRATEGIES, check_backend, store_of
from bench.workload.scenario import PlanError

if TYPE_CHECKING:
    from bench.record.plan import PlanRecord

BACKEND = "What to measure: all, redis, postgres, or one strategy of them such as redis-push."
FILE, REFERENCE = Path("plan") / "plan.json", Path("reference") / "plan.json"
KNEES = "A knee.json of `bench knee`: its knees are not searched again."
HOW = ".venv/bin/python -m bench plan --measure makes one (15 min; --quick: 5)"


def plan(
    *,
    streams: Annotated[float, Option(help="Live streams at one time.")] = 1e6,
    tokens_per_s: Annotated[float, Option(help="Tokens per second of each stream.")] = 40,
    answer_s: Annotated[float, Option(help="Length of an answer that is not stopped, s.")] = 20,
    abort_share: Annotated[float, Option(help="Share of the answers that are stopped, 0 to 1.")] = 0.1,
    utilisation: Annotated[float, Option(help="Share of its core that a worker may use.")] = 0.6,
    postgres_cores: Annotated[float, Option(help="Cores of one PostgreSQL server.")] = 16,
    measure: Annotated[bool, Option("--measure", help="Measure this machine first (about 2 min a strategy).")] = False,
    backend: Annotated[str, Option(help=BACKEND)] = "all",
    knees: Annotated[Path | None, Option(help=KNEES)] = None,
    workers: Workers = 2,
    quick: Quick = False,
    seed: Seed = 1,
    results: Folders = RESULTS,
) -> None:
    """Predict what many streams need: workers, memory, connections, store load and stop p95 of each strategy.

    Computed from costs that `--measure` measured on this machine at 30 % of each strategy's knee, else from the
    committed ones of another machine. The error of the model at 60, 80 and 100 % of the knee is printed with every
    plan. docs/plan.md describes the model.
    """
    from bench.analysis.capacity import Demand

    demand = Demand(streams, tokens_per_s, answer_s, abort_share, utilisation, postgres_cores)
    if measure:
        _measure(backend=backend, knees=knees, workers=workers, quick=quick, seed=seed, results=results)
    record, elsewhere = _read(results)
    from bench.analysis.capacity import model_of
    from bench.experiments.plan import text
    from bench.experiments.tables import lines

    busy_chunk_us, relay = text.busy_chunks(results, record.host)
    model = model_of(record, busy_chunk_us)
    if not model.fits:
        end(INVALID, f"no strategy of this measurement could be loaded: see `make doctor`; {HOW}")
    for each in lines("plan_heading", demand=demand):
        line(each)
    for table in text.plan_tables(record, model, demand):
        console.print(table, "")
    line(text.goals_line(record, model))
    console.print("Where the figures come from", style="bold")
    for source in text.sources(record, model, relay):
        line(f"  {source}")
    line(text.beyond(model, demand))
    warn("note", text.doubts(record, model))
    warn("note", [f"measured on another machine: {elsewhere}; {HOW} for this one"] if elsewhere else ())
    warn("note", ["a QUICK measurement: a first look, not for claims"] if record.quick else ())
    from bench.report.charts.capacity import draw_capacity  # brings in matplotlib

    out = results / FILE.parent
    with writing_to(out, "choose another with --results"):
        out.mkdir(parents=True, exist_ok=True)
        chart = draw_capacity(out, model, demand)
    line(f"chart: {out / 'charts' / chart.name}.png")


def _read(results: Path) -> tuple[PlanRecord, str]:
    """The newest measurement in `results`, else the committed one; and how its machine differs from this one."""
    from bench.record.base import RecordError, read_file
    from bench.record.host import describe_host, other_machine
    from bench.record.plan import PlanRecord

    path = next((path for path in (results / FILE, results / REFERENCE) if path.is_file()), None)
    if path is None:
        end(BAD_USAGE, f"{results} has no measurement to plan from: {HOW}")
    try:
        record = read_file(path, PlanRecord)
    except (OSError, RecordError) as error:
        end(BAD_USAGE, str(error))
    return record, other_machine(record.host, describe_host())


@measuring
def _measure(*, backend: str, knees: Path | None, workers: int, quick: bool, seed: int, results: Path) -> None:
    from bench.experiments.plan import measure as measurement
    from bench.record.base import encode_file
    from bench.record.files import replace_file
    from bench.run.rig import Kept

    check_backend(backend)
    names = [name for name in STRATEGIES if store_of(name) in ("redis", "postgres")]
    chosen = [name for name in names if backend in ("all", store_of(name), name)]
    if not chosen:
        raise PlanError(f"BACKEND {backend!r} cannot serve several workers: choose from all, {', '.join(names)}")
    try:
        known = measurement.known_knees(knees) if knees else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(f"--knees {knees} is no knee.json ({error}): give one that `make knee` made") from error
    kept = Kept(results, f"plan{'-quick' if quick else ''}")
    request = measurement.Request(chosen, workers, quick, seed, known)
    with keeping(kept), console.status("starting") as status:
        record = measurement.measure(request, kept, status.update, line)
    (results / FILE).parent.mkdir(exist_ok=True)
    replace_file(results / FILE, encode_file(record))
    line(f"measured: {results / FILE}; every sample: {kept.folder}")
    loads = [(each.strategy, load) for each in record.strategies for load in each.loads]
    warn("note", by_cause([f"{name} {load.name}: {text}" for name, load in loads for text in load.problems]))
