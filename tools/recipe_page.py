"""The page docs/recipe.md, written out of the tables and annotations that a recipe is read by.

python -m tools.recipe_page
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from crossflare.fusions import FUSIONS
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.marks import Bounds, Keyed, Names, describe, field_types, has_default
from crossflare.recipe.methods import MethodSpec, adapter_options
from crossflare.recipe.schema import field_docs
from crossflare.recipe.spec import ModelSpec, Spec, Training
from crossflare.recipe.strict_yaml import LIMIT
from crossflare.recipe.task import TaskSpec
from crossflare.recipe.translation import Limit, TranslationSpec, TranslatorSpec, engine_names, engine_options
from crossflare.tasks.sets import KNOWN_SETS
from crossflare.translation.engines.registry import ENGINES

PAGE = Path(__file__).parents[1] / "docs" / "recipe.md"
HEAD = f"""\
# What a recipe may say

Every key, name and bound, written by `python -m tools.recipe_page` out of what recipes are read by; the
[tutorial](tutorial.md) begins with a small one, [your own files](data.md) has examples of `task`.

A recipe is YAML with no surprises: a plain word is null, `true`, `false`, a decimal number or text (`no` is Norwegian).
A key that stands twice, an alias (`*name`), a tag and a file of more than {LIMIT:,} bytes are refused. All mistakes are
shown at once, each with its line. `$NAME` and `~` expand in paths, and a relative path starts at the recipe.
`version: 1` may stand in a recipe; a later number, of a later crossflare, is refused. `--set stage2.lr=1e-3` says a key
on the command line, and `grid` makes one recipe of many ([design](design.md)).

**In an editor.** `crossflare schema > recipe.schema.json` writes a JSON schema. Editors with the YAML language server
(VS Code with its YAML extension, Neovim, Emacs, and others) complete and check the keys, and show what is written
below, in a recipe whose first line is

    # yaml-language-server: $schema=recipe.schema.json
"""
PARTS: dict[str, type[Any]] = {
    "The whole": Spec,
    "`task`": TaskSpec,
    "`limit`": Limit,
    "`model`": ModelSpec,
    "`stage1` and `stage2`": Training,
    "`translation`": TranslationSpec,
    "`translation.translator`": TranslatorSpec,
    "A method": MethodSpec,
}


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for title, made in PARTS.items():
        parts.append(f"## {title}\n\n{_table(('key', 'takes', 'by default', 'what it is'), _keys(made))}")
    kinds = ((name, kind.group, kind.about, ", ".join(sorted(kind.options))) for name, kind in KINDS.items())
    parts.append(f"## Kinds of methods\n\n{_table(('kind', 'group', 'what it is', 'options'), kinds)}")
    fusions = ((name, row.formula, row.alignments) for name, row in FUSIONS.items())
    parts.append(f"## Fusion functions\n\n{_table(('fusion', 'formula', 'alignment'), fusions)}")
    options = ((name, _shown(hint), _help(name)) for name, hint in adapter_options().items())
    parts.append(f"## `adapter` of a FLARE method\n\n{_table(('option', 'takes', 'what it is'), options)}")
    sets = ((name, row.title, row.licence) for name, row in KNOWN_SETS.items())
    parts.append(f"## Named sets\n\n{_table(('set', 'what it is', 'licence of the rows'), sets)}")
    engines = ((name, _engine(name), ", ".join(engine_options(name))) for name in engine_names())
    parts.append(f"## Translation engines\n\n{_table(('engine', 'what it is', 'options'), engines)}")
    return "\n".join(parts)


_IN_RECIPES = {
    "parallel": "the set's own text in the other language",
    "none": "nobody: of `to_target`, adapters learn from rows in the target language with labels of their own",
    "trained": "the translator that `translation.translator` trains",
    "lab": "a made-up translator of the laboratory's languages, with the faults that it is told",
}


def _engine(name: str) -> str:
    return ENGINES[name].description if name in ENGINES else _IN_RECIPES[name]


def _keys(made: type[Any]) -> Iterable[tuple[str, ...]]:
    docs: Mapping[str, str] = field_docs(made)
    for field in dataclasses.fields(made):
        if (made, field.name) != (MethodSpec, "name"):
            hint = field_types(made)[field.name]
            yield field.name, _shown(hint), _default(made, field), docs.get(field.name, "")


def _shown(hint: Any) -> str:
    if any(isinstance(mark, Keyed) for mark in getattr(hint, "__metadata__", ())):
        return "a name -> its options, for each method"
    marks = [mark for each in (hint, *get_args(hint)) for mark in getattr(each, "__metadata__", ())]
    if any(isinstance(mark, Names) for mark in marks):
        return "a name, see below" if marks[0].kind != "value" else " or ".join(marks[0].known())
    bounds = next((f", {mark}" for mark in marks if isinstance(mark, Bounds)), "")
    return describe(hint).removesuffix(" or null") + bounds


def _default(made: type[Any], field: "dataclasses.Field[Any]") -> str:
    if not has_default(made, field.name):
        return "the method's name" if field.name == "kind" else "must be said"
    if field.default is dataclasses.MISSING or field.default in (None, ()):
        return ""
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def _help(name: str) -> str:
    from crossflare.fusion.config import FlareConfig

    return str(FlareConfig.__dataclass_fields__[name].metadata["help"])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *([*cells] for cells in rows)]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    for line in cells[1:]:
        line[0] = f"`{line[0]}`"
    written = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([written[0], "|" + " --- |" * len(cells[0]), *written[1:], ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
