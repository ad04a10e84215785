"""The verbs that work on recipes: demo, run, plan, report."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossflare.cli.terminal import bars, err, examples, out, plain, say, say_untested

if TYPE_CHECKING:
    from crossflare.recipe.grid import Recipe as Made

PANEL = "Experiments"
Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in YAML.", show_default=False)]
Assignments = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change the recipe, as in [cyan]--set stage2.lr=1e-3[/cyan]; repeatable."
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Processes that share the work; by default one per core (at most 4), or per GPU."
    ),
]
Only = Annotated[
    list[str],
    typer.Option(
        "--only",
        metavar="AXIS=VALUE",
        help="Of a grid only these cells: [cyan]--only rank=r8[/cyan], or [cyan]--only xnli,r8[/cyan]; repeatable.",
    ),
]
RUNS = Path("runs")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare demo", "make runs/demo and its report"),
            ("crossflare demo --print > my.yaml", "start a recipe of your own"),
            ("crossflare demo --full", "more languages, seeds and methods, for about ten minutes"),
            ("crossflare demo --set seeds=[0]", "one seed only: faster, intervals over test rows alone"),
        ),
    )(demo)
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare run recipe.yaml", "make what is missing in runs/NAME"),
            ("crossflare run recipe.yaml --set task.limit.train=100", "a smoke run on 100 rows"),
            ("crossflare run recipe.yaml --workers 1", "one process: the easiest to debug"),
            ("crossflare run grid.yaml --dry-run", "check every cell and count the work; nothing is run"),
            ("crossflare run grid.yaml --tiny", "the whole grid in minutes on a processor, numbers without meaning"),
            ("crossflare run grid.yaml --tiny --languages 1", "the same in one language of each task"),
            ("crossflare run grid.yaml --only task=xnli", "some cells of a grid"),
            ("crossflare run grid.yaml --ray auto", "on the cluster that this machine belongs to"),
        ),
    )(run)
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare plan recipe.yaml", "what would be run, what is done"),
            ("crossflare plan recipe.yaml --json | jq length", "for scripts"),
            ("crossflare plan grid.yaml --on h200", "what each cell costs on one such card and on eight; no weights"),
        ),
    )(plan)
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(("crossflare report runs/demo", "write report.html and report.md, print the table")),
    )(report)


def demo(
    assignments: Assignments = [],  # noqa: B006  # typer copies it
    runs: Runs = RUNS,
    workers: Workers = None,
    full: Annotated[
        bool, typer.Option("--full", help="Six methods, three languages, three seeds, for about ten minutes.")
    ] = False,
    show: Annotated[bool, typer.Option("--print", help="Print the recipe instead of running it.")] = False,
) -> None:
    """Run the packaged recipe: four methods, two languages, two seeds, no download."""
    from importlib.resources import files

    recipe = files("crossflare") / "recipes" / ("demo-full.yaml" if full else "demo.yaml")
    if show:
        typer.echo(recipe.read_text(encoding="utf-8"), nl=False)
        return
    if not full:
        # Another process would spend more time on imports than it saves. Threads that spin while they wait
        # take twenty times as long when another program uses the cores; torch reads this when it is imported.
        workers = workers or 1
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    run(Path(str(recipe)), assignments, runs, workers)


def run(
    recipe: Recipe,
    assignments: Assignments = [],  # noqa: B006
    runs: Runs = RUNS,
    workers: Workers = None,
    only: Only = [],  # noqa: B006
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Run on a Ray cluster whose nodes share the folder of runs; or [cyan]local[/].",
        ),
    ] = None,
    remake: Annotated[
        bool, typer.Option("--remake", help="Make damaged records, and those of other versions, again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe, every cell of it, and count the work; run nothing.")
    ] = False,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="With tiny random models on made-up rows: does all of it run?")
    ] = False,
    languages: Annotated[
        int | None,
        typer.Option(
            "--languages", metavar="N", help="Only the first N targets, and one rate where several are tried."
        ),
    ] = None,
) -> None:
    """Translate, train, predict and report whatever of a recipe is missing.

    Stop it at any time: the same command goes on where it was.
    """
    from crossflare.recipe.grid import load_recipe

    made = load_recipe(recipe, assignments, only)
    if languages is not None:
        from crossflare.recipe.first import first_languages

        made = first_languages(made, languages)
    if tiny:
        from crossflare_lab.tiny import tiny as shrunk

        made = shrunk(made)
    if dry_run:
        from crossflare.cli.plans import show_counts

        show_counts(made, recipe)
        return
    say_untested()
    err().print(_headline(made), soft_wrap=True)
    if tiny:
        err().print("[yellow]tiny random models on made-up rows: its numbers mean nothing[/]", soft_wrap=True)
    with bars():
        # seconds of imports, after the first line of output
        from crossflare.experiment.running.run import StepsFailedError
        from crossflare.experiment.running.run import run as make_missing

        try:
            folder = make_missing(made, runs, workers, ray=ray, remake=remake)
        except StepsFailedError:
            if made.axes:  # the overview shows what failed, and where
                _report(runs / made.name)
            raise
    _report(folder)


def _headline(made: "Made") -> str:
    """Return one line that says what is run."""
    spec = made.chosen[0].spec
    if made.axes:
        axes = " × ".join(f"{len(values)} {plain(axis)}" for axis, values in made.axes.items())
        some = "" if made.chosen == made.cells else f", of which {len(made.chosen)} are run"
        return f"[bold]{spec.name}[/]: {len(made.cells)} cells ({axes}){some}"
    languages, model = plain(", ".join(spec.targets)), plain(spec.model.name)
    return (
        f"[bold]{spec.name}[/]: {len(spec.methods)} methods × {len(spec.targets)} languages ({languages}) × "
        f"{len(spec.seeds)} seeds, from {spec.source}, on {model}"
    )


def plan(
    recipe: Recipe,
    assignments: Assignments = [],  # noqa: B006
    runs: Runs = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps as JSON.")] = False,
    only: Only = [],  # noqa: B006
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="DEVICE",
            help="Instead: hours, memory and disk of each cell on such cards, by counting operations.",
        ),
    ] = None,
) -> None:
    """Show the steps of a recipe: which are done, which failed, which are missing, and how long they will take."""
    if on is not None:
        from crossflare.cli.costs import show_costs
        from crossflare.experiment.costs.estimate import estimate
        from crossflare.recipe.grid import load_recipe

        made = load_recipe(recipe, assignments, only)
        with bars():
            costs = estimate(made, on)
        show_costs(made, recipe, costs, as_json)
        return
    from crossflare.cli.plans import show_plan
    from crossflare.experiment.running.plan import plan as steps_of
    from crossflare.recipe.grid import load_recipe

    made = load_recipe(recipe, assignments, only)
    with bars():
        steps = steps_of(made, runs)
    words = [str(recipe), *(word for each in assignments for word in ("--set", each))]
    words += [word for each in only for word in ("--only", each)] + (["--runs", str(runs)] if runs != RUNS else [])
    show_plan(made, recipe, steps, words, as_json)


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run, as in runs/demo.", show_default=False)
    ],
) -> None:
    """Make the report of a run: tables with intervals, figures, one HTML page; of a grid, one for each cell."""
    _report(folder)


def _report(folder: Path) -> None:
    from crossflare.report.overview import is_grid

    if is_grid(folder):
        _overview(folder)
        return
    from crossflare.report import build_report, console_table

    with bars():
        made = build_report(folder)
    out().print(console_table(made.contents))
    say(f"[dim]report:[/] {plain(made.html or made.markdown)}")
    if made.note:
        say(f"[yellow]{plain(made.note)}[/]")


def _overview(folder: Path) -> None:
    from crossflare.report.overview import build_overview

    with bars():
        made = build_overview(folder)
    out().print(made.table)
    say(f"[dim]overview:[/] {plain(made.html or made.markdown)}")
    if made.note:
        say(f"[yellow]{plain(made.note)}[/]")
