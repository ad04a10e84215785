"""On a terminal: a bar for what counts, named with what it is a part of."""

import io

from rich.console import Console

from crossflare.progress.bars import Bars


def visible(bars: Bars) -> list[str]:
    tasks = [task for task in bars._progress.tasks if task.visible]  # what rich draws
    return [task.description + (f" {task.completed:g}/{task.total:g}" if task.total else "") for task in tasks]


def test_what_only_names_the_work_gives_way_to_what_counts() -> None:
    bars = Bars(Console(file=io.StringIO(), force_terminal=True))
    bars.begin((0, 0), "steps", 12, 3)
    bars.begin((0, 1), "stage 2 [flare], es", None, 0)
    assert visible(bars) == ["steps 3/12", "stage 2 [flare], es"]
    bars.begin((0, 2), "training", 40, 0)
    bars.move((0, 2), 10, "loss 0.3", None)
    assert visible(bars) == ["steps 3/12", "stage 2 [flare], es: training 10/40"]
    bars.begin((0, 3), "scoring", 5, 0)
    assert visible(bars) == ["steps 3/12", "stage 2 [flare], es: training 10/40", "scoring 0/5"]
    bars.end((0, 3), True)
    bars.end((0, 2), True)
    assert visible(bars) == ["steps 3/12", "stage 2 [flare], es"]
    bars.end((0, 1), True)
    bars.end((0, 0), True)
    assert visible(bars) == []


def test_each_worker_names_its_own_work() -> None:
    bars = Bars(Console(file=io.StringIO(), force_terminal=True))
    bars.begin((0, 0), "steps", 12, 0)
    for worker in (1, 2):
        bars.begin((worker, 0), f"stage 1 en, seed {worker}", None, 0)
    for worker in (2, 1):
        bars.begin((worker, 1), "training", 4, worker)
    assert visible(bars) == ["steps 0/12", "stage 1 en, seed 2: training 2/4", "stage 1 en, seed 1: training 1/4"]
