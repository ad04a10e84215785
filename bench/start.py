"""What it costs to start: the front page, a look at a recipe, and an adapter up to its first prediction.

Each figure is a ratio of whole processes: the seconds of the processor of ours over those of a bare process that only
imports the libraries which ours cannot do without. `python -m bench.start adapter FOLDER` is the process that opens an
adapter and predicts.
"""

import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.harness import Figure, ratio

Words = tuple[str, ...]
DRAWING = ("-c", "import typer, rich.console")
MODELS = ("-c", "import torch, transformers, peft")
LABELS = ("negative", "positive")


def figures(turns: int) -> Iterator[Figure]:
    """Yield the ratios."""
    recipe = str(files("crossflare") / "recipes" / "demo.yaml")
    yield _against("start: `--help` / typer and rich", ("-m", "crossflare", "--help"), DRAWING, turns, 1.3)
    yield _against("start: `validate` of the demo / torch, transformers and peft",
                   ("-m", "crossflare", "validate", recipe), MODELS, max(turns // 4, 3), None)  # fmt: skip
    with TemporaryDirectory() as folder:
        make_adapter(Path(folder))
        yield _against("start: adapter to first prediction / torch, transformers and peft",
                       ("-m", "bench.start", "adapter", folder), MODELS, max(turns // 4, 3), 1.2)  # fmt: skip


def _against(name: str, ours: Words, bare: Words, turns: int, target: float | None) -> Figure:
    """Run the two processes in turns, the first turn for the disk's cache."""
    spent = np.array([[_seconds(words) for words in pair] for pair in [(ours, bare)] * (turns + 1)])[1:]
    middle = np.median(spent, axis=0)
    note = f"{middle[0]:.2f} s of the processor against {middle[1]:.2f} s, whole processes"
    return ratio(name, spent[:, 0], spent[:, 1], target=target, note=note)


def _seconds(words: Words) -> float:
    """Return the seconds of the processor that a Python process takes."""
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime


def make_adapter(folder: Path, base_name: str = "minilm") -> None:
    """Save an untrained FLARE adapter on a model, as a run leaves it."""
    from peft import get_peft_model

    import crossflare  # before peft, which would say what nobody here needs
    from crossflare.tasks.kinds import TextTask
    from crossflare.training.bases.load import load_base

    base = load_base(base_name, TextTask("sentiment", 1, LABELS), seed=0)
    model = get_peft_model(base.model, crossflare.FlareConfig(task_type="SEQ_CLS"))
    task = {"name": "sentiment", "labels": list(LABELS), "texts": 1}
    card = {"kind": "flare", "task": task, "model": {"name": base_name}, "source": "en", "language": "sw"}
    crossflare.save_adapter(model, folder / "adapter", base=base.identity, card=card)


if __name__ == "__main__":
    import crossflare

    opened = crossflare.open_adapter(Path(sys.argv[2]) / "adapter")
    print(opened.predict(["Chakula kilikuwa kibaya."], ["The food was bad."])[0].label)
