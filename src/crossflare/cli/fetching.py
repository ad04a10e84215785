"""The verb that brings a model from the hub into a folder: fetch."""

from pathlib import Path
from typing import Annotated

import typer

from crossflare.cli.terminal import OK, bars, examples, plain, print_json, print_note, say

PANEL = "Data"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare fetch xlm-roberta-large", "models/xlm-roberta-large, for `model: {name: FOLDER}`"),
            ("crossflare fetch facebook/nllb-200-distilled-600M --to nllb", "a translation model, as safetensors"),
            ("crossflare fetch Helsinki-NLP/opus-mt-en-sw --revision main", "the manifest says which commit it was"),
            ("crossflare fetch ./downloaded --to converted", "weights of torch.save in a folder"),
        ),
    )(fetch)


def fetch(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model's name on the hub, or a folder.", show_default=False)
    ],
    revision: Annotated[
        str | None,
        typer.Option(metavar="R", help="A commit, tag or branch; by default the newest.", show_default=False),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="By default models/NAME.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the folder's manifest says as JSON.")] = False,
) -> None:
    """Bring a model into a folder as safetensors, with its commit, licence and hashes; nothing of it is run."""
    with bars():
        from crossflare.training.bases.fetch import NOT_SAID, fetch_model

        found = fetch_model(model, revision, to)
    about = found.about
    if about["licence"] == NOT_SAID:
        print_note(f"{model}: its card says no licence; it is recorded as '{NOT_SAID}': ask its authors")
    if found.code is not None:
        print_note(f"{model}: its config.json names code of its own ({found.code}), which is never fetched or run")
    if as_json:
        print_json({"folder": str(found.folder), **about})
        return
    for made, each in about["converted"].items():
        say(f"[dim]{plain(each['from'])} -> {plain(made)}: converted without running anything of it[/]")
    size = sum(path.stat().st_size for path in found.folder.iterdir())
    facts = f"revision {about['revision']}, licence {about['licence']}, {size / 1e6:,.0f} MB"
    say(f"{OK} {plain(found.folder)}{'' if found.new else ' was there already'}: {plain(facts)}")
