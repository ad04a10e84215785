"""The page docs/plan.md: what each experiment of the paper costs on a graphics card, by `crossflare plan --on`.

python -m tools.plan_page
"""

from pathlib import Path

from crossflare.cli.costs import HEAD, cost_numbers
from crossflare.experiment.costs.estimate import Costs, estimate
from crossflare.recipe.grid import load_recipe

ROOT = Path(__file__).parents[1]
PAGE, PAPER = ROOT / "docs" / "plan.md", ROOT / "recipes" / "paper"
DEVICE = "h200"
HEADING = """\
# What the paper's experiments cost

Written by `python -m tools.plan_page` out of `crossflare plan RECIPE --on {device}`, which does the same for any recipe
and any card of its table (`crossflare plan RECIPE --on ?` names them). **By counting operations, not measured**: no
weights are needed, and none of these runs was made here. Each number rests on the shares of the card's peak that the
command prints, which are assumed. The first steps of a real run are measured, and `crossflare plan RECIPE` then says
what the rest takes.

One cell runs with `crossflare run RECIPE --only CELL`, as in `--only nusax,xlm-r-large`; a run that is killed goes on
with the same command. On several cards of one machine `crossflare run RECIPE` starts one process a card; on several
machines `--ray ADDRESS`, with a folder of runs that all of them see.
"""


def page() -> str:
    """Return the page."""
    parts = [HEADING.format(device=DEVICE)]
    main, *others = (section(name) for name in ("main", *rest()))
    parts += [main, *others, "## What the numbers rest on\n", _list(_costs("main").assumptions)]
    return "\n".join(parts)


def rest() -> list[str]:
    """Return the names of the other recipes."""
    return sorted(path.stem for path in PAPER.glob("*.yaml") if path.stem != "main")


def section(name: str) -> str:
    """Return the table of one recipe."""
    costs = _costs(name)
    lines = [f"| cell | {' | '.join(HEAD)} |", "|---|" + "---:|" * len(HEAD)]
    cells = [(cell.name or name, cell) for cell in costs.cells]
    cells += [("all, what they share once", costs.total)] if len(costs.cells) > 1 else []
    for title, cell in cells:
        short = cost_numbers(cell)
        short[2] += "" if cell.fits else " (too much)"
        lines.append(f"| {title} | {' | '.join(short)} |")
    wide = "" if all(cell.fits for cell in costs.cells) else (
        f"\nToo much: more than one {costs.device} has. `--set stage1.activation_checkpointing=true --set "
        "stage2.activation_checkpointing=true`, or half the `batch_size` with twice the `accumulation`, trains alike "
        "in less.\n"
    )  # fmt: skip
    return f"## `recipes/paper/{name}.yaml` on {costs.device}\n\n" + "\n".join(lines) + "\n" + wide


def _costs(name: str) -> Costs:
    return estimate(load_recipe(PAPER / f"{name}.yaml"), DEVICE)


def _list(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line[0].upper()}{line[1:]}." for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
