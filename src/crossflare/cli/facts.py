"""The verbs that print facts: languages, methods, and the schema of a recipe."""

from typing import Annotated, Any

import typer

from crossflare.cli.terminal import ABSENT, OK, examples, out, plain, print_json, say, table
from crossflare.errors import UserError

PANEL = "Checks"


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare languages", "all languages with a translation engine"),
            ("crossflare languages swahili", "by name, tag or engine code"),
            ("crossflare languages --engine madlad", "those that MADLAD-400 has"),
            ("crossflare languages --pair en-oc", "which engines translate English to Occitan, and through what"),
            ("crossflare languages qu --json", "for scripts"),
        ),
    )(languages)
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare methods", "every kind of method that a recipe can name"),
            ("crossflare methods flare", "one of them, with its options"),
            ("crossflare methods --json", "for scripts"),
        ),
    )(methods)
    app.command(
        rich_help_panel=PANEL,
        epilog=examples(
            ("crossflare schema > recipe.schema.json", "for an editor; docs/recipe.md says how it finds the file"),
        ),
    )(schema)


def languages(
    query: Annotated[
        str | None, typer.Argument(metavar="[QUERY]", help="A name, tag or code, or a part of one.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Only this one: nllb, m2m100, madlad, mbart, marian, bergamot, apertium, or an engine."),
    ] = None,
    pair: Annotated[str | None, typer.Option(help="Say which engines translate between two languages: en-oc.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List languages: their tag, script, and what the translation engines call them; or the ways between two."""
    if pair is not None:
        if query is not None:
            raise UserError(f"expected a query or --pair, found both '{query}' and --pair {pair}; leave one out")
        _ways(pair, engine, as_json)
        return
    rows = _matching(query)
    if engine is not None:
        rows = _with_engine(rows, engine)
    if as_json:
        print_json(rows)
        return
    columns = {"NLLB": "nllb", "M2M-100": "m2m", "MADLAD": "madlad", "mBART-50": "mbart", "Apertium": "apertium"}
    shown = table("tag", "name", "script", *columns)
    for row in rows:
        codes = [str(row[name]) if row[name] else "[dim]-[/]" for name in ("script", *columns.values())]
        shown.add_row(f"[cyan]{row['tag']}[/]", str(row["name"]), *codes)
    out().print(shown)
    for row in rows if query is not None else ():
        if row["note"]:
            say(plain(row["note"]))
    say(f"{len(rows)} language{'s' if len(rows) != 1 else ''}")


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One kind of method.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List the kinds of method: what sets each apart, and where it comes from."""
    from crossflare.errors import choose
    from crossflare.recipe.allowed import data_needed
    from crossflare.recipe.kinds import KINDS
    from crossflare.recipe.methods import MethodSpec

    if name is not None:
        choose("kind of method", name, KINDS)
    kinds = KINDS if name is None else {name: KINDS[name]}
    options = {each: sorted(MethodSpec(each, each).options) for each in kinds}
    if as_json:
        facts = {
            each: {"group": k.group, "about": k.about, "cites": k.cites, "of": sorted(k.of), "needs": data_needed(k)}
            for each, k in kinds.items()
        }
        print_json([{"name": each, **facts[each], "options": options[each]} for each in kinds])
        return
    shown = table("method", "", "what it is", "what it needs", "from")
    for each, kind in kinds.items():
        needed = ", ".join(data_needed(kind))
        shown.add_row(f"[cyan]{each}[/]", f"[dim]{kind.group}[/]", kind.about, needed, f"[dim]{kind.cites}[/]")
    out().print(shown)
    if name is None:
        say("[dim]a recipe names them under `methods`; `crossflare methods NAME` lists the options of one[/]")
        return
    say(f"options: {', '.join(options[name])}")
    if kinds[name].of:
        say(f"of: {', '.join(sorted(kinds[name].of))}")
    if "adapter" in options[name]:
        from crossflare.recipe.methods import adapter_options

        say(f"adapter: {', '.join(adapter_options())}")


def schema() -> None:
    """Print the JSON schema of a recipe, by which an editor completes, explains and checks its keys."""
    from crossflare.recipe.schema import recipe_schema

    print_json(recipe_schema())


def _with_engine(rows: list[dict[str, Any]], engine: str) -> list[dict[str, Any]]:
    from crossflare.errors import choose
    from crossflare.languages import find_language
    from crossflare.translation.engines.coverage import NAMES, code_in

    choose("translation engine", engine, NAMES)
    kept = [row for row in rows if code_in(find_language(str(row["tag"])), engine)]
    if rows and not kept:
        names = ", ".join(f"{row['name']} ({row['tag']})" for row in rows[:3])
        raise UserError(
            f"{engine} does not have {names}; `crossflare languages {rows[0]['tag']}` says which engines do"
        )
    return kept


def _ways(pair: str, engine: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from crossflare.languages import find_language
    from crossflare.translation.engines.coverage import split_pair, ways

    source, target = split_pair(pair)
    found = ways(source, target, engine)
    if as_json:
        print_json([asdict(way) | {"works": way.works} for way in found])
        return
    names = [find_language(tag) for tag in (source, target)]
    shown = table("engine", "", "codes", "through", "", title=f"{names[0].name} to {names[1].name}")
    for way in found:
        mark = OK if way.works else ABSENT
        codes = f"{way.source or '-'} to {way.target or '-'}"
        through = "" if way.via is None else f"{find_language(way.via).name} (via: {way.via})"
        shown.add_row(f"[cyan]{way.engine}[/]", mark, plain(codes), plain(through), plain(way.note))
    out().print(shown)
    for language in names:
        if language.note:
            say(plain(language.note))


def _matching(query: str | None) -> list[dict[str, Any]]:
    """Return the languages with `query` in a name or code; else the one that `find` returns, or its suggestions."""
    from dataclasses import asdict

    from crossflare.languages import all_languages, find_language

    rows = [asdict(language) for language in all_languages()]
    if query is None:
        return rows
    wanted = query.strip().casefold()
    exact = [row for row in rows if wanted in {str(value).casefold() for value in row.values()}]
    if exact:
        return exact
    try:
        return [asdict(find_language(query))]
    except UserError:
        within = [row for row in rows if len(wanted) > 2 and wanted in f"{row['name']} {row['nllb']}".casefold()]
        if not within:
            raise
        return within
