"""Run the benchmarks, all or those named, print each figure beside its target, and write bench/results.json."""

import platform
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench import fusion_step, mixed, prediction, start, store, translation_engines, writing
from bench.harness import Figure
from crossflare.disk.files import write_json

RESULTS = Path(__file__).with_name("results.json")
BENCHES: dict[str, Callable[[int], Iterator[Figure]]] = {
    "fusion": fusion_step.figures,
    "writing": writing.figures,
    "start": start.figures,
    "store": store.figures,
    "prediction": prediction.figures,
    "mixed": mixed.figures,
    "engines": translation_engines.figures,
}


def show(figures: list[Figure]) -> None:
    """Print the figures as a table."""
    table = Table("figure", "measured", "quarter to three quarters", "target", "")
    for figure in figures:
        spread = f"{figure.low:.3f} to {figure.high:.3f}" if figure.high > figure.low else ""
        verdict = "" if figure.target is None else "met" if figure.met else "missed"
        table.add_row(figure.name, f"{figure.value:.3f}", spread, figure.target_text, verdict)
    Console(width=120).print(table)


def main() -> int:
    """Return 0 also when a target is missed: a slow machine is no error."""
    options = ArgumentParser(prog="python -m bench", description="Measure speed and memory.")
    options.add_argument("names", nargs="*", choices=[[], *BENCHES], help=f"of {', '.join(BENCHES)}; none: all")
    options.add_argument("--turns", type=int, default=20, help="turns per comparison; fewer is faster and noisier")
    given = options.parse_args()
    torch.set_num_threads(1)
    figures: list[Figure] = []
    for name in given.names or BENCHES:
        for figure in BENCHES[name](given.turns):
            print(f"{figure.name}: {figure.value:.3f}", file=sys.stderr)
            figures.append(figure)
    show(figures)
    machine = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": 1,
        "turns": given.turns,
        "arch": platform.machine(),
    }
    write_json(RESULTS, {"machine": machine, "figures": [figure.as_json() for figure in figures]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
