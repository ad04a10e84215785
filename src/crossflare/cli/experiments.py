"""The verbs that work on recipes: demo, run, plan, report."""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from crossflare.cli.terminal import ABSENT, OK, bars, err, examples, out, plain, print_json, say, table

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
        "--workers", min=1, help="Processes that share the work; by default one per core (at most 4), one with a GPU."
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
            ("crossflare demo --set seeds=[0]", "one seed only: faster, no intervals"),
        ),
    )(demo)
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare run recipe.yaml", "make what is missing in runs/NAME"),
            ("crossflare run recipe.yaml --set task.limit.train=100", "a smoke run on 100 rows"),
            ("crossflare run recipe.yaml --workers 1", "one process: the easiest to debug"),
        ),
    )(run)
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare plan recipe.yaml", "what would be run, what is done"),
            ("crossflare plan recipe.yaml --json | jq length", "for scripts"),
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
    show: Annotated[bool, typer.Option("--print", help="Print the recipe instead of running it.")] = False,
) -> None:
    """Run the packaged recipe: six methods, three languages, three seeds, no download."""
    recipe = files("crossflare") / "recipes" / "demo.yaml"
    if show:
        typer.echo(recipe.read_text(encoding="utf-8"), nl=False)
        return
    run(Path(str(recipe)), assignments, runs, workers)


def run(recipe: Recipe, assignments: Assignments = [], runs: Runs = RUNS, workers: Workers = None) -> None:  # noqa: B006
    """Translate, train, predict and report whatever of a recipe is missing.

    Stop it at any time: the same command goes on where it was.
    """
    from crossflare.experiment.run import run as make_missing
    from crossflare.experiment.spec import load_spec

    spec = load_spec(recipe, assignments)
    languages, model = plain(", ".join(spec.targets)), plain(spec.model.name)
    err().print(
        f"[bold]{spec.name}[/]: {len(spec.methods)} methods × {len(spec.targets)} languages ({languages}) × "
        f"{len(spec.seeds)} seeds, from {spec.source}, on {model}",
        soft_wrap=True,
    )
    with bars():
        folder = make_missing(spec, runs, workers)
    _report(folder)


def plan(
    recipe: Recipe,
    assignments: Assignments = [],  # noqa: B006
    runs: Runs = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps as JSON.")] = False,
) -> None:
    """Show the steps of a recipe: which are done, which are missing."""
    from dataclasses import asdict

    from crossflare.experiment.plan import plan as steps_of
    from crossflare.experiment.spec import load_spec

    with bars():
        steps = steps_of(load_spec(recipe, assignments), runs)
    if as_json:
        print_json([asdict(step) for step in steps])
        return
    shown = table("", "step", "what", "id", title=plain(recipe))
    for step in steps:
        shown.add_row(
            OK if step.done else ABSENT, step.kind, plain(step.label), f"[dim]{step.run_id or 'not chosen yet'}[/]"
        )
    out().print(shown)
    done = sum(step.done for step in steps)
    given = [str(recipe), *(word for each in assignments for word in ("--set", each))]
    given += ["--runs", str(runs)] if runs != RUNS else []
    command = f"[cyan]crossflare run {plain(shlex.join(given))}[/]"
    rest = f"{command} makes the other {len(steps) - done}" if done < len(steps) else "nothing is left to run"
    say(f"{done} of {len(steps)} steps are done; {rest}")


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run, as in runs/demo.", show_default=False)
    ],
) -> None:
    """Make the report of a run: tables with intervals, figures, one HTML page."""
    _report(folder)


def _report(folder: Path) -> None:
    from crossflare.report import build_report, console_table

    with bars():
        paths = build_report(folder)
    out().print(console_table(folder))
    say(f"[dim]report:[/] {plain(paths.html or paths.markdown)}")
    if paths.note:
        say(f"[yellow]{plain(paths.note)}[/]")
