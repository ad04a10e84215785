"""What `plan` and `run --dry-run` print: the steps of a recipe, or of the cells of a grid."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from crossflare.cli.terminal import ABSENT, BAD, OK, out, plain, print_json, say, table
from crossflare.experiment.promise.sizes import large_models
from crossflare.experiment.running.plan import Planned
from crossflare.progress import spoken
from crossflare.recipe.grid import Recipe

FAILURES = 10
"""The most failures that are shown one by one."""


def show_plan(recipe: Recipe, path: Path, steps: Sequence[Planned], words: Sequence[str], as_json: bool) -> None:
    """Print what is done, what failed, and the time that the rest will take.

    Args:
        recipe: The recipe that was planned.
        path: Its file.
        steps: The result of `crossflare.experiment.running.plan.plan`.
        words: The arguments of the command that would make the rest.
        as_json: Print the steps as JSON and nothing else.
    """
    if as_json:
        print_json([asdict(step) for step in steps])
        return
    if len(recipe.chosen) > 1:
        _cells(recipe, path, steps)
    else:
        _steps(path, steps)
    failed = [step for step in steps if step.error]
    for step in failed[:FAILURES]:
        where = f" ({step.cell})" if step.cell else ""
        say(f"{BAD} {plain(f'{step.kind} {step.label}{where} failed: {step.error}')}")
    if len(failed) > FAILURES:
        say(f"{BAD} and {len(failed) - FAILURES} more failed; --json shows them all")
    done = sum(step.done for step in steps)
    command = f"[cyan]crossflare run {plain(shlex.join(words))}[/]"
    rest = f"{command} makes the other {len(steps) - done}" if done < len(steps) else "nothing is left to run"
    say(f"{done} of {len(steps)} steps are done; {rest}")
    for line in time_left(steps):
        say(line)
    for line in dict.fromkeys(line for cell in recipe.chosen for line in large_models(cell.spec)):
        say(plain(line))


def time_left(steps: Sequence[Planned]) -> list[str]:
    """Return what is known about the time that the missing steps take, and for which of them nothing is known."""
    known = [step.seconds for step in steps if step.seconds is not None]
    unknown = [step.like for step in steps if step.like]
    lines: list[str] = []
    if known:
        lines.append(f"time left for {len(known)} of them: at most {spoken(sum(known))} with one worker")
    if unknown:
        kinds = list(dict.fromkeys(unknown))
        named = "; ".join(plain(kind) for kind in kinds[:4]) + (
            f"; and {len(kinds) - 4} more" if len(kinds) > 4 else ""
        )
        lines.append(f"time of {len(unknown)} of them: unknown until one has run ({named})")
    return lines


def _steps(path: Path, steps: Sequence[Planned]) -> None:
    shown = table("", "step", "what", "id", title=plain(path))
    for step in steps:
        sign = OK if step.done else BAD if step.error else ABSENT
        shown.add_row(sign, step.kind, plain(step.label), f"[dim]{step.run_id or 'not chosen yet'}[/]")
    out().print(shown)


def _cells(recipe: Recipe, path: Path, steps: Sequence[Planned]) -> None:
    """Print a row for each cell; a step that several cells share counts only with the first of them."""
    numbers = ["done", "of", "failed", "left"]
    shown = table("", *recipe.axes, *numbers, title=plain(path), right=numbers)
    for cell in recipe.chosen:
        own = [step for step in steps if step.cell == cell.name]
        done, failed = sum(step.done for step in own), sum(step.error is not None for step in own)
        missing = [step for step in own if not step.done]
        known = [step.seconds for step in missing if step.seconds is not None]
        more = "+ ?" if len(known) < len(missing) else ""
        left = f"{spoken(sum(known))} {more}".strip() if known else "unknown" if missing else ""
        sign = BAD if failed else OK if not missing else ABSENT
        counts = [str(done), str(len(own)), str(failed or ""), left]
        shown.add_row(sign, *map(plain, cell.values.values()), *counts)
    out().print(shown)


def show_counts(recipe: Recipe, path: Path) -> None:
    """Check a recipe as a run would, with what is on this machine, and print its counts; nothing is run.

    Raises:
        GatheredError: A run of the recipe would be refused.
    """
    from crossflare.experiment.promise.check import check
    from crossflare.experiment.steps.graph import contexts_of

    check(contexts_of(recipe, Path()), fetch=False)
    from crossflare.experiment.running.plan import count

    total, by_cell = count(recipe)
    numbers = ["methods", "targets", "seeds", "stage 1", "stage 2", "predict"]
    named = [] if "model" in recipe.axes else ["model"]
    shown = table(*recipe.axes, *named, *numbers, title=plain(path), right=numbers)
    for column in shown.columns[: len(recipe.axes)]:
        column.no_wrap = True
    for cell in recipe.chosen:
        spec, own = cell.spec, by_cell[cell.name]
        sizes = [len(spec.methods), len(spec.targets), len(spec.seeds), own.stage1, own.adapters, own.predictions]
        model = [plain(Path(spec.model.name).name)] if named else []
        shown.add_row(*map(plain, cell.values.values()), *model, *map(str, sizes))
    out().print(shown)
    cells = f"{total.cells} cells, " if recipe.axes else ""
    shared = "; what cells share is made once" if total.cells > 1 else ""
    say(
        f"{OK} {plain(path)}: {cells}{total.stage1} stage-1 models, {total.adapters} adapters, "
        f"{total.predictions} predictions{shared}; nothing was run"
    )
