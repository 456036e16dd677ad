"""`lyapopt bench speed | search | studies | rates | signal | paper | store`: us and our rivals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyapopt.errors import UserError
from lyapopt.interruption import finishing

if TYPE_CHECKING:
    import pandas as pd

    from lyapopt.bench.search.comparison import Job
    from lyapopt.bench.search.report import SearchReport
    from lyapopt.bench.timing import Report
    from lyapopt.cli.benchmarks import Outputs

# The functions below import what they work with when they are called: `--help` of every command
# imports this file, and torch, Optuna and pandas take 4 s.
app = typer.Typer(help="Measure lyapopt against its rivals.", no_args_is_help=True)

Quick = Annotated[bool, typer.Option("--quick", help="Small tables and few seeds: minutes.")]
Full = Annotated[
    bool, typer.Option("--full", help="All held-out cases, more replays. Goes on where it stopped.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="package.module:build for a network of your own, or a case such as digits-mlp/adam.",
    ),
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        metavar="AXIS",
        help="Of your own network: activation=relu,tanh, init_seed=0,1 or lr=1e-4:1:13.",
    ),
]
Runs = Annotated[
    str, typer.Option("--storage", metavar="URL", help="Database that runs are stored in.")
]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers here too.")
]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page of figures here.")
]
_RUNS = "sqlite:///runs/bench.db"


@app.command()
def speed(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds, and nothing compiled: about a minute.")
    ] = False,
    json: Json = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PART",
            help="whole, one of its searches (whole:digits), steps, exponents, trials, asks, "
            "studies or startup.",
        ),
    ] = None,
) -> int:
    """Times of lyapopt and its rivals, interleaved in one run, with the ratios they should have.

    Exit codes: 0 all targets are met, 1 one is missed, 2 invalid input.
    """
    from lyapopt.bench.speed.suite import PARTS, QUICK, SEARCHES_ALONE, Effort, measure_speed
    from lyapopt.cli.benchmarks import Outputs, say
    from lyapopt.study.file import load_study_file
    from lyapopt.study.run.runner import run_study

    known = (*PARTS, *SEARCHES_ALONE)
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise UserError(f"--only {unknown[0]}: there are {', '.join(known)}")
    outputs = Outputs(json)
    report = measure_speed(
        QUICK if quick else Effort(),
        lambda path: run_study(load_study_file(path, [])),
        lambda part: say(f"measuring {part} ..."),
        only or None,
    )
    return _finish("speed", report, outputs)


@app.command()
def search(
    quick: Quick = False,
    full: Full = False,
    task: Tasks = None,
    grid: Grid = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="METHOD", help="One of the methods.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Replays of every method.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = 2,
    storage: Runs = _RUNS,
    json: Json = None,
    html: Html = None,
) -> int:
    """Rivals, ours and placebos on recorded trainings, all charged alike.

    Tables are recorded once and kept in the user's cache (LYAPOPT_CACHE).
    """
    import pandas as pd

    from lyapopt.bench.search.archive import SearchArchive
    from lyapopt.bench.search.comparison import compare, jobs_of
    from lyapopt.bench.search.live_check import agrees, live_check
    from lyapopt.bench.search.methods import CORE, METHODS
    from lyapopt.bench.search.report import report_of
    from lyapopt.bench.tables.cache import table_of
    from lyapopt.cli.benchmarks import Outputs, chosen_cases, say

    unknown = [name for name in only or () if name not in METHODS]
    if unknown:
        raise UserError(f"--only {unknown[0]!r}: there are {', '.join(METHODS)}")
    outputs = Outputs(json, html)
    methods = only or list(CORE if quick else METHODS)
    cases = chosen_cases(quick, full, task or [], grid or [])
    replays = seeds or (10 if quick else 30 if full else 20)
    comparisons = jobs_of(cases, methods, replays, progress=say)
    archive = SearchArchive(storage)
    missing = archive.missing(comparisons)
    say(f"{len(comparisons)} comparisons, {len(comparisons) - len(missing)} of them stored already")
    count = 0

    def done(job: Job, rows: pd.DataFrame) -> None:
        nonlocal count
        count += 1
        archive.add(job, rows)
        say(f"{count}/{len(missing)}  {job.case.name}  {job.method}")

    compare(missing, jobs, done)
    say("training a few configurations to check the tables")
    checked = pd.concat([live_check(table_of(case)) for case in cases], ignore_index=True)
    report = report_of(archive.results(comparisons), live=checked)
    _print_search(report)
    outputs.write(report.as_dict(), report.as_page)
    return int(not agrees(checked))


def _print_search(report: SearchReport) -> None:
    import pandas as pd

    from lyapopt.cli.benchmarks import print_frame

    print_frame("methods by area under regret", report.summary)
    print_frame("area by case", report.by_case)
    if len(report.against):
        print_frame("edge of chaos + ranking less each of the others", report.against)
        print_frame("budget to reach what others have at the largest one", report.reach)
    if report.targets:
        print_frame("targets", pd.DataFrame([vars(target) for target in report.targets]))
    print_frame("trained live, beside the table", report.live)


@app.command()
def studies(
    quick: Annotated[
        bool, typer.Option("--quick", help="Two problems, three seeds: a minute.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PROBLEM",
            help="readme, digits, xor, regression, normed or adding.",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds of a study.")] = None,
    storage: Runs = _RUNS,
    json: Json = None,
) -> int:
    """The recommended study (`sampler: auto`, `pruner: auto`) against Optuna's TPE and median
    pruner without any probe, at equal gradients and at an equal number of trials.

    Studies that are stored are not run again, so that it goes on where it stopped.

    Exit codes: 0 all targets are met, 1 one is missed, 2 invalid input.
    """
    from lyapopt.bench.studies.archive import StudyArchive
    from lyapopt.bench.studies.problems import PROBLEMS, QUICK
    from lyapopt.bench.studies.report import StudyReport
    from lyapopt.cli.benchmarks import Outputs, print_frame, say
    from lyapopt.study.file import load_study_file
    from lyapopt.study.run.runner import run_study

    unknown = [name for name in only or () if name not in PROBLEMS]
    if unknown:
        raise UserError(f"--only {unknown[0]!r}: there are {', '.join(PROBLEMS)}")
    outputs = Outputs(json)
    names = only or (QUICK if quick else list(PROBLEMS))
    archive = StudyArchive(storage, lambda path: run_study(load_study_file(path)))
    rows = archive.results(names, range(seeds or (3 if quick else 10)), say)
    report = StudyReport(rows)
    print_frame(
        "equal gradients: lowest loss of a whole training, auto / TPE + Median", report.losses
    )
    print_frame("equal trials: gradients that auto saved", report.saved)
    outputs.write(report.as_dict())
    return int(not report.holds)


@app.command()
def signal(
    quick: Quick = False,
    full: Full = False,
    task: Tasks = None,
    grid: Grid = None,
    storage: Runs = _RUNS,
    json: Json = None,
    html: Html = None,
) -> int:
    """What exponents, losses and placebos after a few steps say of the final loss."""
    import pandas as pd

    from lyapopt.bench.search.archive import add_table
    from lyapopt.bench.signal.report import SignalReport
    from lyapopt.bench.signal.scores import score_table
    from lyapopt.bench.signal.signals import cells
    from lyapopt.bench.tables.cache import table_of
    from lyapopt.cli.benchmarks import Outputs, chosen_cases, print_frame, say

    outputs = Outputs(json, html)
    parts = []
    for case in chosen_cases(quick, full, task or [], grid or []):
        table = table_of(case, progress=say)
        say(f"{case.name}: scoring signals")
        scores = score_table(table)
        add_table(storage, f"cells {case.name}", cells(table), "final_loss")
        add_table(storage, f"signals {case.name}", scores, "spearman")
        parts.append(scores)
    report = SignalReport(pd.concat(parts, ignore_index=True))
    print_frame("signals, means over cases", report.means)
    outputs.write(report.as_dict(), report.as_page)
    return 0


@app.command()
def rates(
    quick: Quick = False,
    full: Full = False,
    task: Tasks = None,
    grid: Grid = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Initialisations of every network.")
    ] = 1,
    json: Json = None,
) -> int:
    """Learning rates of `find_lr`, the range test and others, each trained to the end."""
    from lyapopt.bench.rates.lines import compare_finders
    from lyapopt.bench.rates.report import RateReport
    from lyapopt.cli.benchmarks import Outputs, chosen_cases, print_frame, say

    outputs = Outputs(json)
    cases = chosen_cases(quick, full, task or [], grid or [])
    report = RateReport(compare_finders(cases, seeds, say))
    print_frame("median regret by case", report.by_case)
    print_frame("finders by median regret within the line", report.summary)
    outputs.write(report.as_dict())
    return 0


@app.command()
def paper(
    quick: Quick = False,
    storage: Runs = _RUNS,
    json: Json = None,
    html: Html = None,
) -> int:
    """Where the claims of arXiv:2410.05988 hold, over hundreds of settings of its problem."""
    from lyapopt.bench.paper.report import measure_paper
    from lyapopt.bench.paper.settings import QUICK, Settings
    from lyapopt.bench.search.archive import add_table
    from lyapopt.cli.benchmarks import Outputs, print_frame, say

    outputs = Outputs(json, html)
    report = measure_paper(QUICK if quick else Settings(), say)
    add_table(storage, "paper claims", report.claims, "estimate")
    print_frame("Table 1", report.table_1)
    print_frame("claims", report.shares)
    outputs.write(report.as_dict(), report.as_page)
    return 0


@app.command()
def store(
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="STORAGE",
            help="A database to measure in; what is written is deleted again. By default a new "
            "SQLite file.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the trials: a few seconds.")
    ] = False,
    json: Json = None,
) -> int:
    """Times to write and read trials, bytes on disk, and commands on a study of 10,000 trials.

    Exit codes: 0 all targets are met, 1 one is missed, 2 invalid input.
    """
    from lyapopt.bench.store.measuring import FULL, QUICK, measure
    from lyapopt.cli.benchmarks import Outputs, say
    from lyapopt.cli.target import target_of

    outputs = Outputs(json)
    url = None if storage is None else target_of(storage).storage
    with finishing():  # which deletes what was written
        report = measure(url, QUICK if quick else FULL, lambda what: say(f"measuring {what} ..."))
    return _finish("store", report, outputs)


def _finish(what: str, report: Report, outputs: Outputs) -> int:
    """Write and print a report; the exit code."""
    from lyapopt.cli.benchmarks import print_report

    outputs.write(report.as_dict())
    print_report(f"lyapopt bench {what}", report)
    return int(any(row.holds is False for row in report.rows))
