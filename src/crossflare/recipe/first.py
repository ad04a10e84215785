"""A recipe with the first languages only, to see it run before it costs much."""

from dataclasses import replace

from crossflare.errors import UserError
from crossflare.recipe.grid import Cell, Recipe
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import Spec, Training


def first_languages(recipe: Recipe, count: int) -> Recipe:
    """Return a recipe with the first `count` targets of each cell, and one learning rate where several are tried.

    Its name says so, so that its results stay apart; a recipe without more languages or rates is returned as it is.

    Raises:
        UserError: `count` is below 1.
    """
    if count < 1:
        raise UserError(f"--languages {count}: expected at least 1; leave the option out for all languages")
    cells = {cell.name: replace(cell, spec=_short(cell.spec, count)) for cell in recipe.cells}
    if all(cell == cells[cell.name] for cell in recipe.cells):
        return recipe
    named = {name: _named(cell, f"{recipe.name}-first-{count}") for name, cell in cells.items()}
    return Recipe(tuple(named.values()), tuple(named[cell.name] for cell in recipe.chosen), recipe.axes)


def _named(cell: Cell, name: str) -> Cell:
    return replace(cell, spec=replace(cell.spec, name=name))


def _short(spec: Spec, count: int) -> Spec:
    targets = spec.targets[:count]
    kept = {method.name for method in spec.methods if not method.languages or set(method.languages) & set(targets)}
    methods = (method for method in spec.methods if method.name in kept and (method.of is None or method.of in kept))
    return replace(
        spec,
        targets=targets,
        stage1=_one_rate(spec.stage1),
        stage2=_one_rate(spec.stage2),
        methods=tuple(_method(method, spec.source, targets) for method in methods),
    )


def _method(method: MethodSpec, source: str, targets: tuple[str, ...]) -> MethodSpec:
    """Return a method without the languages that are left out; an adapter that all targets use is the first one's."""
    languages = tuple(each for each in method.languages if each in targets)
    trained_in = method.trained_in
    if trained_in not in (None, source, *targets):
        trained_in = targets[0]
    lr = method.lr[0] if isinstance(method.lr, tuple) else method.lr
    return replace(method, languages=languages, trained_in=trained_in, lr=lr)


def _one_rate(training: Training) -> Training:
    return replace(training, lr=training.lrs[0])
