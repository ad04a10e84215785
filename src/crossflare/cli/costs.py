"""What `plan --on` prints: hours, memory and disk of each cell, by counting operations."""

from dataclasses import asdict
from pathlib import Path

from crossflare.cli.terminal import BAD, OK, out, plain, print_json, say, table
from crossflare.experiment.costs.estimate import SEVERAL, CellCost, Costs, amount
from crossflare.recipe.grid import Recipe

HEAD = ("hours on 1", f"hours on {SEVERAL}", "memory, GB", "disk, GB")


def show_costs(recipe: Recipe, path: Path, costs: Costs, as_json: bool) -> None:
    """Print the costs of a recipe's cells, and what they rest on; or all of it as JSON."""
    if as_json:
        print_json(asdict(costs) | {"measured": False})
        return
    axes = list(recipe.axes) or ["recipe"]
    shown = table("", *axes, *HEAD, title=f"{plain(path)} on {costs.device}", right=HEAD)
    for column in shown.columns[: len(axes) + 1]:
        column.no_wrap = True
    for cell, cost in zip(recipe.chosen, costs.cells, strict=True):
        names = list(map(plain, cell.values.values())) or [plain(recipe.name)]
        shown.add_row(OK if cost.fits else BAD, *names, *cost_numbers(cost))
    if len(costs.cells) > 1:
        shown.add_row("", "all of them", *[""] * (len(axes) - 1), *cost_numbers(costs.total))
    out().print(shown)
    say("by counting operations, not measured; what cells share is made once in all of them, so its hours are fewer")
    if not all(cost.fits for cost in costs.cells):
        say(
            f"{BAD} more than the memory of one {costs.device}: [cyan]--set stage2.activation_checkpointing=true[/] "
            "(and of stage1), or half the batch_size with twice the accumulation, trains alike in less"
        )
    for line in costs.assumptions:
        say(f"[dim]·[/] {plain(line)}")


def cost_numbers(cost: CellCost) -> list[str]:
    """Return the numbers of a cell as text."""
    return [amount(cost.hours), amount(cost.hours_on_several), amount(cost.memory / 1e9), amount(cost.disk / 1e9)]
