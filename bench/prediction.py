"""What `predict` costs on large files: memory as rows grow, and how well its stages overlap.

Beside `figures`, `python -m bench.prediction memory ROWS` prints the peak memory in MB of labelling a file of ROWS rows
with a tiny FLARE model that reads translations from a column.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch

from bench.harness import Figure, own_peak_megabytes, peak_megabytes
from bench.start import make_adapter
from crossflare.disk.files import replacing
from crossflare.recipe.translation import EngineOptions
from crossflare.serving import file as serving
from crossflare.serving.batcher import Batcher
from crossflare.serving.file import Column, predict_file
from crossflare_lab.tiny_models import tiny_model

LONG, SHORT = 1_000_000, 50_000
"""Rows of the two files whose peak memory is compared."""
SLOW = 16_384
"""Rows of the file that the sleeping engine translates."""


class Sleeping:
    """An engine that sleeps as long as a model would work, and leaves Python to others meanwhile, as that does."""

    identity = {"engine": "sleeping", "licence": "none"}  # noqa: RUF012
    seconds = 0.001

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        time.sleep(self.seconds * len(texts))
        return [f"translated {text}" for text in texts]


def figures(turns: int) -> Iterator[Figure]:
    """Yield the growth of memory with the rows, and the pace of the whole against that of its slowest stage."""
    paces = np.array([pace() for _ in range(max(turns // 8, 2))])
    low, middle, high = np.quantile(paces, [0.25, 0.5, 0.75])
    yield Figure(
        "predict: pace / pace of the slowest stage", float(middle), float(low), float(high), 0.9, "at least",
        note=f"{SLOW:,} rows, an engine that sleeps {1000 * Sleeping.seconds:g} ms per text",
    )  # fmt: skip
    short, long = (peak_megabytes("bench.prediction", "memory", str(rows)) for rows in (SHORT, LONG))
    yield Figure(
        f"predict: peak memory of {LONG:,} rows / of {SHORT:,}", long / short, long / short, long / short, 1.1,
        note=f"{long:.0f} MB against {short:.0f} MB",
    )  # fmt: skip


def _write(path: Path, rows: int) -> None:
    with replacing(path) as file:
        for number in range(rows):
            row = {"number": number, "text": f"the film number {number} was bad", "english": f"film {number}"}
            file.write(json.dumps(row).encode() + b"\n")


def pace() -> float:
    """Return the seconds of the slowest stage over those of the whole, both on the clock, without opening the model."""
    names = ["translate", "prepare", "answer"]
    spent: dict[str, float] = dict.fromkeys(names, 0.0)
    ends: list[float] = []

    def timed(name: str) -> Any:
        stage = getattr(Batcher, name)

        def run(self: Batcher, batch: Any) -> Any:
            begin = time.monotonic()
            done = stage(self, batch)
            ends.extend((begin, time.monotonic()))
            spent[name] += ends[-1] - begin
            return done

        return run

    stages: Any = {name: timed(name) for name in names}
    with (
        TemporaryDirectory() as name,
        mock.patch.object(serving, "_engine", return_value=Sleeping()),
        mock.patch.multiple(Batcher, **stages),
    ):
        folder = Path(name)
        make_adapter(folder, str(tiny_model("xlm-r")))
        _write(folder / "in.jsonl", SLOW)
        predict_file(
            adapter=folder / "adapter", input=folder / "in.jsonl", output=folder / "out.jsonl",
            source=EngineOptions("dictionary"),
        )  # fmt: skip
    first, last = min(ends), max(ends)
    slowest = max(spent, key=spent.__getitem__)
    print(f"slowest: {slowest}; seconds: {spent}; whole: {last - first:.2f}", file=sys.stderr)
    return spent[slowest] / (last - first)


def memory(rows: int) -> float:
    """Label a file of `rows` rows, and return the peak memory of this process in MB."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        make_adapter(folder, str(tiny_model("xlm-r")))
        _write(folder / "in.jsonl", rows)
        begin = time.monotonic()
        predict_file(
            adapter=folder / "adapter", input=folder / "in.jsonl", output=folder / "out.jsonl.gz",
            source=Column(("english",)),
        )  # fmt: skip
        print(f"{rows / (time.monotonic() - begin):,.0f} rows/s", file=sys.stderr)
        return own_peak_megabytes()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["memory"]:
        print(memory(int(sys.argv[2])))
    else:
        for figure in figures(20):
            print(f"{figure.name}: {figure.value:,.3f} ({figure.low:,.3f} to {figure.high:,.3f}); {figure.note}")
