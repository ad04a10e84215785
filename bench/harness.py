"""Fair comparisons on a noisy machine: the two sides take turns, A B A B, and every ratio is of neighbours in time."""

import gc
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import track

Work = Callable[[int], object]
"""Called with the number of the turn, so that both sides can take the same batch."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, the middle half of its spread, and the target it should meet."""

    name: str
    value: float
    low: float
    high: float
    target: float | None = None
    sense: Literal["at most", "at least"] = "at most"
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the measured number meets the target; True without one."""
        if self.target is None:
            return True
        return self.value <= self.target if self.sense == "at most" else self.value >= self.target

    @property
    def target_text(self) -> str:
        """The target in words."""
        return "" if self.target is None else f"{self.sense} {self.target:g}"

    def as_json(self) -> dict[str, Any]:
        """Return the figure as a JSON object."""
        return asdict(self) | {"met": self.met}


def seconds(work: Work, turn: int) -> float:
    """Time one call in seconds of the processor, with the garbage collector off.

    With one thread they are the seconds on the clock, less those in which other programs had the processor.
    """
    gc.collect()
    gc.disable()
    try:
        begin = time.process_time()
        work(turn)
        return time.process_time() - begin
    finally:
        gc.enable()


def take_turns(a: Work, b: Work, turns: int, warm_up: int = 2, title: str = "measuring") -> tuple[Any, Any]:
    """Return the seconds of A and of B [turns]; the two change places at every turn, so neither is always first."""
    for turn in range(warm_up):
        a(turn)
        b(turn)
    times: list[tuple[float, float]] = []
    for turn in track(range(turns), title, transient=True):
        if turn % 2 == 0:
            first = seconds(a, turn)
            times.append((first, seconds(b, turn)))
        else:
            first = seconds(b, turn)
            times.append((seconds(a, turn), first))
    return np.array(times).T[0], np.array(times).T[1]


def ratio(name: str, a: Any, b: Any, **more: Any) -> Figure:
    """Return the median of a/b over the turns."""
    low, middle, high = np.quantile(a / b, [0.25, 0.5, 0.75])
    return Figure(name, float(middle), float(low), float(high), **more)


def ratio_of_sums(name: str, a: Any, b: Any, **more: Any) -> Figure:
    """Return sum(a)/sum(b), for turns of unequal work; the spread is a bootstrap over turns."""
    picks = np.random.default_rng(0).integers(len(a), size=(2000, len(a)))
    low, high = np.quantile(a[picks].sum(1) / b[picks].sum(1), [0.25, 0.75])
    return Figure(name, float(a.sum() / b.sum()), float(low), float(high), **more)


def peak_megabytes(module: str, *arguments: str) -> float:
    """Run `python -m module arguments` in a fresh process and return the peak memory in MB that it prints."""
    command = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: {result.stderr.strip().splitlines()[-1]}")
    return float(result.stdout.split()[-1])


def own_peak_megabytes() -> float:
    """Return the peak resident memory of this process in MB (Linux counts it in kB, macOS in bytes).

    Linux's `ru_maxrss` starts from what the parent had when it forked; `VmHWM` is of this program alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
