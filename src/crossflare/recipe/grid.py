"""Grids: one recipe that stands for many, a cell for each combination of the values of its axes.

    grid:
      task: {xnli: {task: {...}, targets: [...]}, nusax: {...}}
      rank: {r4: {stage2: {r: 4}}, r8: {stage2: {r: 8}}}

Each value is a partial recipe that is laid over the rest: mappings merge, anything else replaces. A cell is a whole
recipe, read as strictly as any other.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from typing import Any, cast

from crossflare.errors import UserError, nearest
from crossflare.recipe import strict_yaml
from crossflare.recipe.marks import shown
from crossflare.recipe.read import build_spec
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import Document, GatheredError, KeyPath, dotted

GRID = "grid"
MOST = 1000
"""Most cells of one grid: more are a mistake in typing."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Cell:
    """One recipe of a grid; a plain recipe is one cell without a name."""

    spec: Spec
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    """Axis -> value."""

    @property
    def name(self) -> str:
        """The names of its values, joined with a comma."""
        return ",".join(self.values.values())


@dataclass(frozen=True)
class Recipe:
    """What a recipe's file says: one cell, or a grid of them."""

    cells: tuple[Cell, ...]
    chosen: tuple[Cell, ...]
    """The cells to be run."""
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Axis -> its values; empty for a plain recipe."""

    @classmethod
    def of(cls, spec: Spec) -> "Recipe":
        """Return a plain recipe."""
        return cls((Cell(spec),), (Cell(spec),))

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.cells[0].spec.name


def load_recipe(
    recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), only: Sequence[str] = ()
) -> Recipe:
    """Read a recipe, plain or a grid.

    >>> recipe = crossflare.load_recipe("reviews.yaml", overrides=["seeds=[0]"])

    Args:
        recipe: Its YAML file, or the content of such a file as a mapping; paths in a mapping start at the current
            folder.
        overrides: Each `a.b=c`, set in every cell, whatever its values say; `grid.axis.value.a=c` in the grid.
        only: Each `axis=value[,axis=value...]`, or the name of a cell (its values with commas between them): the cells
            to run; several values of an axis mean any of them.

    Raises:
        GatheredError: One line for each mistake of any cell.
        UserError: A text is given instead of a list.
    """
    for name, given in (("overrides", overrides), ("only", only)):
        if isinstance(given, str):
            raise UserError(f"{name}: expected a list, got {given!r}; put it in a list")
    if isinstance(recipe, Mapping):
        document, folder = strict_yaml.document_of(recipe, "recipe"), Path.cwd()
    else:
        document, folder = strict_yaml.read(Path(recipe)), Path(recipe).resolve().parent
    in_grid = [each for each in overrides if each.partition("=")[0].split(".")[0].strip() == GRID]
    strict_yaml.override(document, in_grid)
    rest = [each for each in overrides if each not in in_grid]
    if not isinstance(document.value, dict) or GRID not in document.value:
        strict_yaml.override(document, rest)
        made = Recipe.of(build_spec(document, folder))
    else:
        made = _read_grid(document, rest, folder)
    return _pick(made, only) if only else made


def _read_grid(document: Document, overrides: Sequence[str], folder: Path) -> Recipe:
    axes = _axes(document)
    if document.problems and not axes:
        raise GatheredError(document.report())
    document.problems += _contradictions(axes, document)
    specs: dict[str, Spec] = {}
    wrong: dict[str, set[str]] = {}
    cells = {",".join(names): names for names in product(*axes.values())}
    for cell, names in cells.items():
        made = _laid_over(document, dict(zip(axes, names, strict=True)))
        strict_yaml.override(made, overrides)
        try:
            specs[cell] = build_spec(made, folder)
        except GatheredError as error:
            for line in error.lines:
                wrong.setdefault(line, set()).add(cell)
    for line, where in wrong.items():
        document.problems.append(line + _named(where, cells, tuple(axes)))
    document.problems += _twins(specs, document)
    if document.problems:
        raise GatheredError(document.report())
    made = tuple(Cell(specs[cell], dict(zip(axes, names, strict=True))) for cell, names in cells.items())
    return Recipe(made, made, {axis: tuple(values) for axis, values in axes.items()})


Patch = dict[str, Any]
Axes = dict[str, dict[str, Patch]]


def _axes(document: Document) -> Axes:
    """Return axis -> value -> patch; nothing where the shape is wrong, which is noted."""
    given, axes, sound = document.value[GRID], Axes(), True

    def wrong(path: KeyPath, message: str) -> None:
        nonlocal sound
        sound = False
        document.problems.append(f"{document.place(path)}: {dotted(path)}: {message}")

    if not isinstance(given, dict) or not given:
        wrong((GRID,), f"expected axis -> value -> changes, got {shown(given)}; name an axis, or take grid out")
        return {}
    for axis, values in cast(dict[str, Any], given).items():
        if not isinstance(values, dict) or not values:
            wrong((GRID, axis), f"expected at least one value with its changes, got {shown(values)}")
            continue
        axes[axis] = {}
        for value, patch in cast(dict[str, Any], values).items():
            path = (GRID, axis, value)
            if not isinstance(patch, dict | None):
                wrong(path, f"expected changes (keys with values under it), got {shown(patch)}")
                continue
            axes[axis][value] = cast(Patch, patch or {})
            for key in {"name", GRID} & axes[axis][value].keys():
                wrong((*path, key), "all cells are one run with one name; take it out" if key == "name" else
                      "a grid within a grid is not read; add an axis")  # fmt: skip
        alike = {name.casefold(): name for name in axes[axis]}
        for value in axes[axis]:
            if not _NAME.fullmatch(value):
                wrong((GRID, axis, value), "expected letters, digits and . _ + - only (it names a folder)")
            elif alike[value.casefold()] != value:
                wrong((GRID, axis, value), f"two cells would have one folder where {value} and "
                      f"{alike[value.casefold()]} are the same name; choose another")  # fmt: skip
        if not _NAME.fullmatch(axis):
            wrong((GRID, axis), "expected a name of letters, digits and . _ + - only")
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST:
        wrong((GRID,), f"these axes make {count:,} cells; at most {MOST:,} are run as one; split the recipe")
    return axes if sound else {}


def _contradictions(axes: Axes, document: Document) -> list[str]:
    """Return what two axes both set, to different values: one of the values would be lost."""
    found: dict[tuple[str, str, str], str] = {}
    for (one, first), (two, second) in combinations(axes.items(), 2):
        for (a, over), (b, under) in product(second.items(), first.items()):
            for (path, value), (other, lost) in product(_leaves(over), _leaves(under)):
                short = min(path, other, key=len)
                if path[: len(short)] == other[: len(short)] and (path, value) != (other, lost):
                    place = document.place((GRID, two, a, *path))
                    message = f"{place}: {dotted(short)}: set by {one}={b} and by {two}={a}; say it in one of them"
                    found.setdefault((one, two, dotted(short)), message)
    return list(found.values())


def _leaves(patch: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in cast(Patch, patch).items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _laid_over(document: Document, values: Mapping[str, str]) -> Document:
    """Return the recipe of one cell, each of its values at the place where the file has it."""
    top = {key: value for key, value in document.value.items() if key != GRID}
    made = Document(deepcopy(top), document.origin, dict(document.places))
    for axis, value in values.items():
        _merge(made, made.value, document.value[GRID][axis][value] or {}, (), (GRID, axis, value))
    return made


def _merge(document: Document, inside: dict[str, Any], patch: Patch, path: KeyPath, origin: KeyPath) -> None:
    for key, value in patch.items():
        at, there = (*path, key), (*origin, key)
        old = inside.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(document, cast(Patch, old), cast(Patch, value), at, there)
            continue
        inside[key] = deepcopy(value)
        kept = {known: place for known, place in document.places.items() if known[: len(at)] != at}
        moved = {
            (*at, *known[len(there) :]): place
            for known, place in document.places.items()
            if known[: len(there)] == there
        }
        document.places = kept | moved


def _named(where: set[str], cells: Mapping[str, tuple[str, ...]], axes: tuple[str, ...]) -> str:
    """Return which cells have a mistake; nothing where all have it."""
    if len(where) == len(cells) > 1:
        return ""
    for place, axis in enumerate(axes):
        values = {cells[cell][place] for cell in where}
        if len(where) > 1 and where == {cell for cell, names in cells.items() if names[place] in values}:
            return f" (cells with {axis}={' or '.join(sorted(values))})"
    first = [cell for cell in cells if cell in where][:3]
    more = f" and {len(where) - 3} more" if len(where) > 3 else ""
    return f" (cell{'s' if len(where) > 1 else ''} {'; '.join(first)}{more})"


def _twins(specs: Mapping[str, Spec], document: Document) -> list[str]:
    """Return cells that are one recipe under two names: the same work would be counted twice."""
    seen: dict[str, str] = {}
    found: list[str] = []
    for cell, spec in specs.items():
        first = seen.setdefault(spec.to_yaml(), cell)
        if first != cell:
            place = document.place((GRID,))
            found.append(f"{place}: grid: the cells {first} and {cell} are the same recipe; take one of them out")
    return found


def _pick(recipe: Recipe, only: Sequence[str]) -> Recipe:
    if not recipe.axes:
        raise UserError(f"--only {only[0]}: the recipe has no grid to choose from; take the option away")
    wanted: dict[str, set[str]] = {}
    for pair in (part for each in only for part in each.split(",")):
        axis, equals, value = (word.strip() for word in pair.partition("="))
        if not equals:
            axis, value = _axis_of(axis, recipe.axes), axis
        if axis not in recipe.axes:
            raise UserError(f"--only {pair}: unknown axis '{axis}': {nearest(axis, recipe.axes)}")
        if value not in recipe.axes[axis]:
            raise UserError(f"--only {pair}: {axis} has no value '{value}': {nearest(value, recipe.axes[axis])}")
        wanted.setdefault(axis, set()).add(value)
    chosen = (cell for cell in recipe.cells if all(cell.values[axis] in values for axis, values in wanted.items()))
    return Recipe(recipe.cells, tuple(chosen), recipe.axes)


def _axis_of(value: str, axes: Mapping[str, Sequence[str]]) -> str:
    """Return the axis that has a value, for `--only` with the names of a cell."""
    found = [axis for axis, values in axes.items() if value in values]
    if not found:
        if value in axes:
            raise UserError(f"--only {value}: expected axis=value; axes are {', '.join(axes)}")
        every = [each for values in axes.values() for each in values]
        raise UserError(f"--only {value}: no cell of that name, and no axis=value: {nearest(value, every)}")
    if len(found) > 1:
        raise UserError(f"--only {value}: {' and '.join(found)} have it; expected one of them, as {found[0]}={value}")
    return found[0]
