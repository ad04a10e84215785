"""The cost of a FLARE training step against what it must cost: a LoRA step and one reading of the source."""

import copy
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from bench.harness import Figure, own_peak_megabytes, peak_megabytes, ratio, ratio_of_sums, take_turns
from bench.lengths import pair_lengths
from crossflare import FlareConfig
from crossflare.training.loop.batching import MEGA, grouped_order
from crossflare.training.text.collators import PairCollator
from crossflare.training.text.encoded import EncodedRow, TextTokens

BATCH, LONGEST, VOCABULARY = 32, 128, 30_000
Batch = dict[str, torch.Tensor]


def base_model() -> Any:
    """Return an XLM-R of the size of MiniLM, with random weights."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=6,
        intermediate_size=1536,
        num_labels=3,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    return XLMRobertaForSequenceClassification(config)


def adapted(kind: str, base: Any, **options: Any) -> Any:
    """Return the base with a LoRA or a FLARE adapter of the same size, in training mode."""
    common: dict[str, Any] = {
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["query", "value"],
        "task_type": TaskType.SEQ_CLS,
    }
    torch.manual_seed(0)
    return get_peft_model(base, (FlareConfig if kind == "flare" else LoraConfig)(**common, **options)).train()


def batches(count: int, *, grouped: bool = False, width: int | None = None) -> list[Batch]:
    """Return `count` batches of random tokens in real lengths, padded as in training, or all to `width`.

    Grouped ones are spread evenly, from the narrowest to the widest, over a whole group of the sampler: a handful of
    batches sorted among themselves would be less alike than those of a training run.
    """
    number = max(count, MEGA) * BATCH if grouped else count * BATCH
    lengths = np.stack(pair_lengths(number, LONGEST))
    random = np.random.default_rng(1)
    sides = [[TextTokens(random.integers(5, VOCABULARY, n, dtype=np.int32), None) for n in side] for side in lengths]
    order = grouped_order(lengths.sum(0), BATCH, seed=0, epoch=1) if grouped else list(range(number))
    rows = [EncodedRow(i, sides[0][i], sides[1][i], i % 3) for i in order]
    tokenizer = SimpleNamespace(pad_token_id=1, padding_side="right", pad_token_type_id=0)
    collate = PairCollator(tokenizer, LONGEST, with_source=True, multiple_of=width or 8)
    runs = [rows[begin : begin + BATCH] for begin in range(0, number, BATCH)]
    if grouped:
        runs.sort(key=lambda run: max(len(row.target.ids) for row in run))
        runs = [runs[int((place + 0.5) * len(runs) / count)] for place in range(count)]
    return [collate(run) for run in runs]


def without_source(batch: Batch) -> Batch:
    """Return the target's part of a batch."""
    return {name: value for name, value in batch.items() if not name.startswith("source_")}


def reading(batch: Batch) -> Batch:
    """Return the source's part of a batch, as a batch of its own."""
    return {name.removeprefix("source_"): value for name, value in batch.items() if name.startswith("source_")}


def stepper(model: Any) -> Callable[[Batch], None]:
    """Return a function that makes one optimiser step on a batch."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step(batch: Batch) -> None:
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def cost_of_a_step(turns: int) -> list[Figure]:
    """FLARE step / (LoRA step + one reading of the source by the base without gradients), and / LoRA step alone."""
    data = batches(turns)
    base = base_model()
    reader = copy.deepcopy(base).eval()
    lora, flare = stepper(adapted("lora", copy.deepcopy(base))), stepper(adapted("flare", base))

    def parts(turn: int) -> None:
        lora(without_source(data[turn]))
        with torch.no_grad():
            reader(**reading(data[turn]))

    a, b = take_turns(lambda turn: flare(data[turn]), parts, turns, title="FLARE step, LoRA step and reading")
    figures = [ratio("FLARE step / (LoRA step + reading of the source)", a, b, target=1.05)]
    a, b = take_turns(
        lambda turn: flare(data[turn]), lambda turn: lora(without_source(data[turn])), turns // 2, title="FLARE, LoRA"
    )
    figures.append(ratio("FLARE step / LoRA step", a, b, note="no target: the reading of the source is the method"))
    return figures


def gain_of_short_batches(turns: int) -> list[Figure]:
    """Examples per second with batches of like length padded to their own longest, against all padded to 128."""
    short, wide = batches(turns, grouped=True), batches(turns, width=LONGEST)
    step = stepper(adapted("flare", base_model()))
    a, b = take_turns(lambda turn: step(wide[turn]), lambda turn: step(short[turn]), turns, title="wide, short batches")
    name = "examples a second, short batches / padded to 128"
    return [
        ratio_of_sums(name, a, b, target=2.5, sense="at least"),
        Figure("examples a second of FLARE training", turns * BATCH / b.sum(), 0, 0),
    ]


def peak_memory() -> list[Figure]:
    """Peak memory of a process that trains with FLARE against one that trains with LoRA."""
    lora, flare = (peak_megabytes("bench.fusion_step", kind) for kind in ("lora", "flare"))
    return [
        Figure("peak memory, FLARE / LoRA", flare / lora, 0, 0, target=1.15, note=f"{flare:.0f} MB / {lora:.0f} MB"),
    ]


def figures(turns: int = 20) -> Iterator[Figure]:
    """Measure all figures of this module, the quick ones first."""
    yield from peak_memory()
    yield from cost_of_a_step(turns)
    yield from gain_of_short_batches(max(turns * 3 // 5, 1))


def main(kind: str) -> None:
    """Train a few steps with one kind of adapter and print the peak memory in MB."""
    torch.set_num_threads(1)
    step = stepper(adapted(kind, base_model()))
    for batch in batches(4):
        step(batch if kind == "flare" else without_source(batch))
    print(own_peak_megabytes())


if __name__ == "__main__":
    main(sys.argv[1])
