"""The verbs of the laboratory: lab try, lab pretrain, lab show."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from crossflare.cli.experiments import RUNS, run
from crossflare.cli.terminal import bars, examples, out, plain, print_json, say, table

PANEL = "Laboratory"
lab = typer.Typer(
    name="lab",
    help="A made-up world for trying methods out: small pretrained models and parallel sets, with nothing downloaded.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(lab, rich_help_panel=PANEL)
    lab.command("try", epilog=examples(("crossflare lab try", "make runs/lab-first and its report")))(first)
    lab.command(
        epilog=examples(
            ("crossflare lab pretrain --family encoder", "an XLM-R of four layers, in a few minutes on one core"),
            ("crossflare lab pretrain --family decoder --target-share 0.20", "with more target text"),
        )
    )(pretrain)
    lab.command(
        epilog=examples(
            ("crossflare lab show lab-qa", "a few questions in all languages"),
            ("crossflare lab show lab-nli --language qaa --language qad --rows 5", "in two of them"),
        )
    )(show)


def first(
    runs: Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of all runs.")] = RUNS,
) -> None:
    """Pre-train a small encoder once, and compare four methods with it: about a minute of one core."""
    # With a small model, threads that spin while they wait cost more time than they save; torch reads this at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from crossflare_lab.models import SMALL, recipe_of
    from crossflare_lab.pretrain import pretrain as train

    with bars():
        train(recipe_of(SMALL))
    run(Path(str(files("crossflare") / "recipes" / "lab-first.yaml")), runs=runs, workers=1)


def pretrain(
    family: Annotated[str, typer.Option(help="encoder, decoder, encoder-decoder or translator.")],
    target_share: Annotated[float, typer.Option(help="Share of the text in the target languages together.")] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Train a small model on the laboratory's text, once; it is kept in the cache folder."""
    from crossflare.disk.files import read_json
    from crossflare_lab.models import PretrainRecipe
    from crossflare_lab.pretrain import CARD
    from crossflare_lab.pretrain import pretrain as train

    recipe = PretrainRecipe(family, target_share)  # type: ignore[arg-type]  # checked there
    with bars():
        folder = train(recipe)
    card = read_json(folder / CARD)
    if as_json:
        print_json({"folder": str(folder), **card})
        return
    say(f"[bold]{recipe.name}[/]  {card['architecture']}, {card['parameters']:,} parameters, {card['seconds']:.0f} s")
    say(f"  loss {card['losses'][0][1]:.3f} to {card['losses'][-1][1]:.3f} in {card['steps']:,} steps")
    say("  tokens " + ", ".join(f"{tag} {count:,}" for tag, count in card["tokens"].items()))
    say(f"  {plain(folder)}")


def show(
    name: Annotated[str, typer.Argument(help="lab-topic, lab-nli or lab-qa.")] = "lab-topic",
    language: Annotated[list[str] | None, typer.Option(help="A language; give it again for more.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many examples.")] = 2,
) -> None:
    """Print a few examples side by side in the laboratory's languages."""
    from crossflare_lab.sets import load_lab_set

    data = load_lab_set(name, train=0, dev=0, test=rows)
    shown = table("id", "language", "text", "label or answer", title=f"{name}: the same facts in every language")
    tags = list(language or data.languages)
    for number in range(rows):
        for tag in tags:
            example = data.split(tag, "test").examples[number]
            gold = example.answers[0].text if example.label is None else data.task.labels[example.label]
            shown.add_row(
                example.id if tag == tags[0] else "", f"[cyan]{tag}[/]", plain(" | ".join(example.texts)), plain(gold)
            )
        shown.add_section()
    out().print(shown)
