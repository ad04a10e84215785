"""The verbs that look inside a trained adapter: analyse activations, analyse alignment, analyse layers."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossflare.cli.terminal import bars, examples, out, plain, print_json, say, table

if TYPE_CHECKING:
    from crossflare.analysis.opening import Adapter
    from crossflare.experiment.steps.prediction import PredictionStep

PANEL = "Experiments"
analyse = typer.Typer(
    name="analyse",
    help="What a trained adapter does inside, in pictures (SVG) and numbers (JSON).",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN_OR_ADAPTER",
        help="A run's folder, as in runs/demo, or one of its adapters', as in runs/demo/models/ID; or, with --rows-of, "
        "any adapter's, or its name on the hub: OWNER/NAME or OWNER/NAME@REVISION.",
        show_default=False,
    ),
]
RowsOf = Annotated[
    Path | None,
    typer.Option("--rows-of", metavar="RUN", help="The run whose test rows an adapter from elsewhere reads."),
]
Method = Annotated[str | None, typer.Option(help="A method that fuses; by default the first.", show_default=False)]
Languages = Annotated[list[str], typer.Option("--language", help="A target language; repeatable; by default all.")]
Seed = Annotated[int | None, typer.Option(help="One of the run's seeds; by default the first.", show_default=False)]
Rows = Annotated[
    int | None, typer.Option("--rows", min=1, help="Read the first so many test rows only.", show_default=False)
]
Block = Annotated[
    int | None, typer.Option(min=0, help="Look at this block's query; by default the first.", show_default=False)
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where to; by default RUN/analysis.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, for scripts; draw nothing.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(analyse, rich_help_panel=PANEL)
    analyse.command(
        epilog=examples(
            ("crossflare analyse activations runs/demo", "each bottleneck coordinate's mean, for every language"),
            ("crossflare analyse activations runs/demo --method flare --rows 100 --json", "numbers alone"),
        )
    )(activations)
    analyse.command(
        epilog=examples(
            ("crossflare analyse alignment runs/demo --language sw", "token by token, for the first test row"),
            ("crossflare analyse alignment runs/demo --row test-7 --block 3", "another row, another block"),
        )
    )(alignment)
    analyse.command(
        epilog=examples(
            ("crossflare analyse layers runs/demo", "what each block's fusion is worth"),
            ("crossflare analyse layers runs/demo/models/0f3a… --rows 200", "one adapter, on some of the rows"),
            ("crossflare analyse layers me/topics-sw@v2 --rows-of runs/demo", "an adapter on the hub, on a run's rows"),
        )
    )(layers)


def activations(
    run: Run,
    method: Method = None,
    languages: Languages = [],  # noqa: B006  # typer copies it
    seed: Seed = None,
    rows_of: RowsOf = None,
    rows: Rows = None,
    block: Block = None,
    folder: Out = None,
    as_json: Json = False,
) -> None:
    """Show the mean of each bottleneck coordinate for source, target and fused states."""
    from crossflare.analysis.findings import STATES, mean_activations
    from crossflare.analysis.pictures import draw_activations, numbers

    steps = _steps(run, method, languages, seed, rows_of, as_json)
    found = _each(steps, rows, lambda adapter: mean_activations(adapter, block))
    values = {
        language: {"layer": each.layer, "tokens": each.tokens}
        | {state: numbers(each.means[state].tolist()) for state in STATES}
        for language, each in found.items()
    }
    if _said(as_json, steps[0], "activations", values):
        return
    for language, each in found.items():
        say(f"[bold]{plain(language)}[/]  [dim]{each.layer}[/]")
        shown = table("coordinate", *STATES, right=STATES)
        for number, means in enumerate(zip(*(each.means[state] for state in STATES), strict=True)):
            shown.add_row(str(number + 1), *(f"{mean:+.3f}" for mean in means))
        out().print(shown)
    _keep(folder, steps[0], "activations", values, {"": draw_activations(found)})


def alignment(
    run: Run,
    method: Method = None,
    languages: Languages = [],  # noqa: B006
    seed: Seed = None,
    rows_of: RowsOf = None,
    row: Annotated[
        str | None, typer.Option(help="A test row's id; by default the first with a source.", show_default=False)
    ] = None,
    block: Block = None,
    folder: Out = None,
    as_json: Json = False,
) -> None:
    """Show which source tokens feed each target token of one test row."""
    from crossflare.analysis.findings import heat_of
    from crossflare.analysis.pictures import draw_heat, numbers

    steps = _steps(run, method, languages, seed, rows_of, as_json)
    found = _each(steps, None, lambda adapter: heat_of(adapter, row, block))
    values = {
        language: {"layer": heat.layer, "row": heat.row, "source": heat.source, "target": heat.target}
        | {"weights": [numbers(each) for each in heat.weights.tolist()]}
        for language, heat in found.items()
    }
    if _said(as_json, steps[0], "alignment", values):
        return
    for language, heat in found.items():
        say(f"[bold]{plain(language)}[/]  [dim]row {plain(heat.row)}, {heat.layer}[/]")
        shown = table("target", "strongest source", "weight", right=("weight",))
        for token, weights in zip(heat.target, heat.weights, strict=True):
            best = int(weights.argmax())
            fed = weights[best] > 0
            shown.add_row(plain(token), plain(heat.source[best]) if fed else "", f"{weights[best]:.2f}" if fed else "")
        out().print(shown)
    _keep(folder, steps[0], "alignment", values, {f"-{each}": draw_heat(heat) for each, heat in found.items()})


def layers(
    run: Run,
    method: Method = None,
    languages: Languages = [],  # noqa: B006
    seed: Seed = None,
    rows_of: RowsOf = None,
    rows: Rows = None,
    folder: Out = None,
    as_json: Json = False,
) -> None:
    """Show what each block's fusion is worth: the loss in the main metric without it, with its interval."""
    from crossflare.analysis.findings import drops
    from crossflare.analysis.pictures import draw_drops, numbers

    steps = _steps(run, method, languages, seed, rows_of, as_json)
    found = _each(steps, rows, drops)
    values: dict[str, Any] = {}
    for language, each in found.items():
        parts = {
            part.place: dict(zip(("lost", "low", "high"), numbers((d.score, d.low, d.high)), strict=True))
            | {"p": round(d.p, 6), "score": round(part.score, 6)}
            for part in each.parts
            for d in [part.drop]
        }
        values[language] = {"metric": each.metric, "score": round(each.score, 6), "without": parts}
    if _said(as_json, steps[0], "layers", values):
        return
    for language, each in found.items():
        say(f"[bold]{plain(language)}[/]  [dim]{each.metric} {100 * each.score:.1f} with all blocks[/]")
        shown = table("without the fusion of", "score", "points lost", "95 %", right=("score", "points lost"))
        for part in each.parts:
            lost, low, high = (f"{100 * value:+.1f}" for value in (part.drop.score, part.drop.low, part.drop.high))
            mark = "[bold]" if part.drop.clear else ""
            shown.add_row(part.place, f"{100 * part.score:.1f}", f"{mark}{lost}", f"[dim]{low} to {high}[/]")
        out().print(shown)
    _keep(folder, steps[0], "layers", values, {f"-{each}": draw_drops(some) for each, some in found.items()})


def _steps(
    run: str, method: str | None, languages: list[str], seed: int | None, rows_of: Path | None, as_json: bool
) -> "list[PredictionStep]":
    with bars():
        from crossflare.analysis.opening import find
        from crossflare.analysis.pictures import check_extra

        if not as_json:
            check_extra()
        return find(run, method, languages, seed, rows_of)


def _each(steps: "list[PredictionStep]", rows: int | None, look: "Callable[[Adapter], Any]") -> dict[str, Any]:
    """Return the result of `look` for each language."""
    from crossflare.analysis.opening import load
    from crossflare.progress import track

    with bars():
        return {step.language: look(load(step, rows)) for step in track(steps, "languages")}


def _about(step: "PredictionStep", kind: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"analysis": kind, "run": step.context.spec.name, "method": step.method.name, "seed": step.seed} | {
        "languages": values
    }


def _said(as_json: bool, step: "PredictionStep", kind: str, values: dict[str, Any]) -> bool:
    if as_json:
        print_json(_about(step, kind, values))
    return as_json


def _keep(
    folder: Path | None,
    step: "PredictionStep",
    kind: str,
    values: dict[str, Any],
    pictures: dict[str, str],
) -> None:
    """Write the numbers and the pictures, and print where they are."""
    from crossflare.disk.files import write_atomic, write_json

    place = folder or step.context.folder / "analysis"
    name = f"{kind}-{step.method.name}-{step.seed}"
    write_json(place / f"{name}.json", _about(step, kind, values))
    for ending, svg in pictures.items():
        write_atomic(place / f"{name}{ending}.svg", svg)
        say(f"[dim]picture:[/] {plain(place / f'{name}{ending}.svg')}")
    say(f"[dim]numbers:[/] {plain(place / f'{name}.json')}")
