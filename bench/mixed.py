"""What it costs that a batch mixes adapters: its rows per second of the processor against those of one adapter."""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from peft import get_peft_model

import crossflare
from bench.harness import Figure, ratio, take_turns
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base

ROWS, TOKENS = 256, 20
"""Rows of a call, in batches of 64, and their tokens, special ones included: the middle of 10 to 30."""
MANY = (2, 4, 8)
"""How many adapters a batch mixes."""
LABELS = ("negative", "neutral", "positive")


def figures(turns: int) -> Iterator[Figure]:
    """Yield the rate of a batch that mixes several adapters over that of one adapter, for the same rows."""
    with TemporaryDirectory() as folder:
        places = make_adapters(Path(folder), max(MANY))
        one, several = crossflare.open_adapter(places["a0"]), crossflare.open_adapters(places)
        texts, sources = (made_up(one.tokenizer, seed) for seed in (0, 1))
        for count in MANY:
            names = [f"a{row % count}" for row in range(ROWS)]
            alone, mixed = take_turns(
                lambda _: one.predict(texts, sources),
                lambda _, names=names: several.predict(texts, sources, languages=names),
                turns,
                title=f"{count} adapters",
            )
            yield ratio(
                f"mixed: rate of {count} adapters in a batch / of one", alone, mixed, target=0.8, sense="at least",
                note=f"{ROWS} rows of {TOKENS} tokens, and sources; {1000 * np.median(mixed) / ROWS:.2f} ms a row",
            )  # fmt: skip


def make_adapters(
    folder: Path, count: int, base_name: str = "minilm", settings: dict[str, str] | None = None
) -> dict[str, Path]:
    """Save FLARE adapters with random weights on one model, as runs leave them; return their folders by name."""
    base = load_base(base_name, TextTask("sentiment", 1, LABELS), seed=0)
    task = {"name": "sentiment", "labels": list(LABELS), "texts": 1}
    card = {"kind": "flare", "task": task, "model": {"name": base_name}, "source": "en", "language": "sw"}
    card |= {"settings": settings or {}}
    made: dict[str, Path] = {}
    for number in range(count):
        model: Any = get_peft_model(copy.deepcopy(base.model), crossflare.FlareConfig(task_type="SEQ_CLS"))
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name or "modules_to_save" in name:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
        made[f"a{number}"] = folder / f"a{number}"
        crossflare.save_adapter(model, made[f"a{number}"], base=base.identity, card=card)
    return made


def made_up(tokenizer: Any, seed: int) -> list[str]:
    """Return texts of whole words of the vocabulary, each of them a token."""
    words = words_of(tokenizer)
    random = np.random.default_rng(seed)
    lengths = random.integers(TOKENS // 2, TOKENS * 3 // 2 + 1, ROWS) - 2
    return [" ".join(random.choice(words, length)) for length in lengths]


def words_of(tokenizer: Any) -> list[str]:
    """Return the whole words of a vocabulary, in ASCII letters."""
    return sorted(word for word in tokenizer.get_vocab() if word.isalpha() and word.isascii())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for figure in figures(int(sys.argv[1]) if sys.argv[1:] else 6):
        print(f"{figure.name}: {figure.value:,.3f} ({figure.low:,.3f} to {figure.high:,.3f}); {figure.note}")
