"""The verbs that look for problems before any work: validate and doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossflare.cli.terminal import BAD, OK, bars, err, examples, out, plain, print_json, say, table
from crossflare.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossflare.experiment.data.checks import Part
    from crossflare.recipe.spec import Spec

PANEL = "Checks"
PARTS = ("train", "dev", "test")
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare validate recipe.yaml", "every mistake of a recipe at once"),
            ("crossflare validate recipe.yaml --resolved", "the recipe with all defaults written out"),
            ("crossflare validate runs/demo/models/0123456789ab", "is the adapter whole, and what is it?"),
            ("crossflare validate masakhane/topics-sw@v2", "the same of an adapter on the hub"),
        ),
    )(validate)
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare doctor", "what is installed, what is missing, how to get it"),
            ("crossflare doctor --self-test", "does the method compute what it should, with these libraries, here?"),
            ("crossflare doctor xlm-roberta-large", "which projections of a model would fuse"),
            ("crossflare doctor --json", "for bug reports"),
        ),
    )(doctor)


def validate(
    path: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|ADAPTER",
            help="A recipe, an adapter's folder, or an adapter on the hub: OWNER/NAME or OWNER/NAME@REVISION.",
            show_default=False,
        ),
    ],
    assignments: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe first; repeatable.")
    ] = [],  # noqa: B006
    resolved: Annotated[bool, typer.Option("--resolved", help="Print the recipe with every default.")] = False,
) -> None:
    """Check a recipe and the data it names, or an adapter's files, without running anything."""
    place = Path(path)
    if place.is_dir() or not (place.exists() or place.suffix in (".yaml", ".yml") or "/" not in path):
        if assignments or resolved:
            raise UserError(
                f"{path} is {'a folder' if place.is_dir() else 'no file'}: --set and --resolved are for recipes"
            )
        _validate_adapter(path)
    else:
        _validate_recipe(place, assignments, resolved)


def _validate_recipe(path: Path, assignments: list[str], resolved: bool) -> None:
    from crossflare.experiment.promise.check import cautions, check
    from crossflare.experiment.steps.graph import contexts_of
    from crossflare.recipe.grid import load_recipe

    recipe = load_recipe(path, assignments)
    if resolved:
        texts = [(f"# {cell.name}\n" if cell.name else "") + cell.spec.to_yaml() for cell in recipe.cells]
        typer.echo("---\n".join(texts), nl=False)
        return
    _say_methods([cell.spec for cell in recipe.cells])  # before rows and models are read, which may raise
    contexts = contexts_of(recipe, Path())
    check(contexts)
    for cell, context in zip(recipe.cells, contexts, strict=True):
        spec, parts = cell.spec, context.data.check()
        shown = table("language", *PARTS, right=PARTS, title=plain(cell.name) or None)
        languages = dict.fromkeys((spec.source, *spec.targets))
        for language in (each for each in languages if each in context.data.set.languages):
            there = context.data.set.parts(language)
            shown.add_row(language, *(_rows(parts.get((language, part)), part in there) for part in PARTS))
        out().print(shown)
        for line in cautions(context.data):
            say(f"[yellow]![/] {plain(line)}")
        name = f"{plain(path)}{f' ({plain(cell.name)})' if cell.name else ''}"
        say(f"{OK} {name}: {len(spec.methods)} methods, {len(spec.targets)} targets, {len(spec.seeds)} seeds")


def _say_methods(specs: "Sequence[Spec]") -> None:
    """Print which methods the data allow, once where recipes agree, and without a change to what a script reads."""
    from crossflare.experiment.promise.check import methods_allowed

    said: list[str] = []
    for spec in specs:
        try:
            lines = methods_allowed(spec)
        except UserError:
            continue
        for line in lines if lines != said else ():
            err().print(f"[dim]note: {plain(line)}[/]", soft_wrap=True)
        said = lines


def _rows(part: "Part | None", there: bool) -> str:
    """Return how many rows of a part are used, and of how many, where the recipe limits them."""
    if part is None:
        return "[dim]not read[/]" if there else "[dim]none[/]"
    return str(part.rows) if part.used == part.rows else f"{part.used} of {part.rows}"


def _validate_adapter(path: str) -> None:
    from crossflare.fusion.saved.adapter_check import Opened
    from crossflare.serving.card import check_card, open_trained, saved_folder

    with bars():
        folder = saved_folder(path)
    opened = open_trained(folder)
    card = check_card(opened.card, folder)
    adapter = opened if isinstance(opened, Opened) else None
    config = None if adapter is None else adapter.config
    shown = table("", "")
    base, task = opened.base, card.get("task") or {}
    facts = {
        "method": str(card.get("kind")) if config is None else str(config.peft_type).rpartition(".")[2],
        "rank, alpha": "" if config is None else f"{config.r}, {config.lora_alpha}",
        "fusion": " ".join(str(getattr(config, name)) for name in ("fusion", "alignment") if hasattr(config, name)),
        "base": f"{base.name} (d={base.hidden_size}, {base.blocks} blocks)",
        "task": f"{task.get('name') or ''} {', '.join(task.get('labels') or [])}".strip(),
        "through": str(card.get("through") or ""),
        "languages": f"{card.get('source', '?')} -> {card.get('language', '?')}",
        "stage 1": "none" if adapter is None or adapter.stage1 is None else "inside",
    }
    for name, value in facts.items():
        if value:
            shown.add_row(f"[dim]{name}[/]", plain(value))
    shown.show_header = False
    out().print(shown)
    say(f"{OK} {plain(path)}: every file is the one that was saved")


def doctor(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="A folder or name: show which projections would fuse.")
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Check the method's laws on tiny models: ten seconds, no download.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what is installed, what is missing and how to get it; or what FLARE would do with a model."""
    if self_test:
        if model is not None:
            raise UserError(f"--self-test has tiny models of its own; leave '{model}' out")
        from crossflare.cli.doctor import show_self_test as check_laws

        check_laws(as_json)
    elif model is not None:
        _show_model(model, as_json)
    else:
        _show_environment(as_json)


def _show_environment(as_json: bool) -> None:
    """Print each check as soon as it is known, the quick ones first."""
    from crossflare.cli.doctor import Check, examine

    checks: list[Check] = []
    for check in examine():
        if not as_json:
            new = not checks or check.group != checks[-1].group
            mark = OK if check.ok else BAD if check.needed else "[yellow]○[/]"
            advice = f"  [dim]{plain(check.advice)}[/]" if check.advice and not check.ok else ""
            group = f"[bold]{check.group if new else '':<13}[/]"
            say(f"{group}{mark} {check.name:<21} {plain(check.found)}{advice}")
        checks.append(check)
    if as_json:
        print_json(
            [{"group": c.group, "name": c.name, "ok": c.ok, "found": c.found, "advice": c.advice} for c in checks]
        )
        return
    broken = [check.name for check in checks if check.needed and not check.ok]
    if broken:
        say(f"{BAD} needed and not right: {', '.join(broken)}")
        raise typer.Exit(1)
    say(f"{OK} ready")


def _show_model(model: str, as_json: bool) -> None:
    from crossflare.cli.model_examination import examine_model

    with bars():
        found = examine_model(model)
    if as_json:
        print_json(found)
    else:
        _show_stacks(model, found)
    if found["weights"] is not None:
        raise typer.Exit(1)


def _show_stacks(model: str, found: dict[str, Any]) -> None:
    shown = table("blocks", "", "projections that fuse", "norm", "attention", title=plain(f"{model}: {found['type']}"))
    for stack in found["stacks"]:
        fusing = ", ".join(stack["projections"]) + (" without its key" if stack["one_matrix"] else "")
        facts = (stack["name"], stack["blocks"], fusing, stack["norm"], stack["attention"])
        shown.add_row(*(plain(fact) for fact in facts))
    out().print(shown)
    heads = "; ".join(f"{task}: {', '.join(names) or 'none'}" for task, names in found["heads"].items())
    say(f"  hidden size {found['hidden_size']}; padding {found['padding']}; heads {plain(heads)}")
    say(f"{OK} {found['fusing']} projections would fuse in {sum(stack['blocks'] for stack in found['stacks'])} blocks")
    if found["weights"] is not None:
        say(f"{BAD} {plain(model)} {plain(found['weights'])}")
