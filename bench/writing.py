"""Models that write: the cost of a FLARE step on decoder-only and encoder-decoder models, and of writing."""

import copy
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MT5Config, MT5ForConditionalGeneration

from bench.fusion_step import Batch, reading, stepper, without_source
from bench.harness import Figure, own_peak_megabytes, peak_megabytes, ratio, take_turns
from crossflare import FlareConfig
from crossflare.training.bases.quantised import prepare_quantised, quantised_options

ROWS, VOCABULARY, WRITTEN = 8, 8000, 32
FAMILIES = ("Llama", "mT5")


def base_model(family: str) -> Any:
    """Return a small model of the family's real shape, with random weights that never end an answer."""
    torch.manual_seed(0)
    special: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": None, "vocab_size": VOCABULARY}
    if family == "Llama":
        sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 2}
        return LlamaForCausalLM(LlamaConfig(**special, **sizes, intermediate_size=1024, bos_token_id=1))
    sizes = {"d_model": 384, "d_kv": 64, "d_ff": 1024, "num_heads": 6, "num_layers": 6, "num_decoder_layers": 6}
    return MT5ForConditionalGeneration(MT5Config(**special, **sizes, decoder_start_token_id=0, dropout_rate=0.0))


def adapted(kind: str, family: str, base: Any) -> Any:
    """Return the base with a LoRA or a FLARE adapter of the same size, in training mode."""
    names = ["q_proj", "v_proj"] if family == "Llama" else ["q", "v"]
    task = "CAUSAL_LM" if family == "Llama" else "SEQ_2_SEQ_LM"
    torch.manual_seed(0)
    config = (FlareConfig if kind == "flare" else LoraConfig)(r=8, lora_alpha=16, target_modules=names, task_type=task)
    return get_peft_model(base, config).train()


def batches(family: str, count: int) -> list[Batch]:
    """Return batches of prompts of 60 to 120 tokens with answers of 4, and sources of like length."""
    random = np.random.default_rng(0)
    made: list[Batch] = []
    for _ in range(count):
        target, source = (_padded(random, family == "Llama") for _ in range(2))
        answer = torch.from_numpy(random.integers(5, VOCABULARY, (ROWS, 4)))
        batch: Batch = {f"source_{name}": tensor for name, tensor in source.items()}
        if family == "mT5":
            start = torch.zeros(ROWS, 1, dtype=torch.long)
            made.append(
                {**target, **batch, "labels": answer, "decoder_input_ids": torch.cat([start, answer[:, :-1]], 1)}
            )
            continue
        ones, zeros = torch.ones_like(answer), torch.zeros_like(answer)
        batch |= {
            "input_ids": torch.cat([target["input_ids"], answer], 1),
            "attention_mask": torch.cat([target["attention_mask"], ones], 1),
            "fusion_mask": torch.cat([target["attention_mask"], zeros], 1),
            "labels": torch.cat([torch.full_like(target["input_ids"], -100), answer], 1),
        }
        made.append(batch)
    return made


def _padded(random: np.random.Generator, left: bool) -> Batch:
    lengths = random.integers(60, 121, ROWS)
    width = int(lengths.max())
    column = np.arange(width)
    mask = (column >= width - lengths[:, None]) if left else (column < lengths[:, None])
    ids = np.where(mask, random.integers(5, VOCABULARY, (ROWS, width)), 0)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def cost_of_a_step(family: str, turns: int) -> Figure:
    """FLARE step / (LoRA step + what the base makes of the source, without gradients)."""
    data = batches(family, turns)
    base = base_model(family)
    reader = copy.deepcopy(base).eval()
    lora, flare = stepper(adapted("lora", family, copy.deepcopy(base))), stepper(adapted("flare", family, base))

    def parts(turn: int) -> None:
        batch = data[turn]
        plain = without_source(batch)
        plain.pop("fusion_mask", None)
        lora(plain)
        more = {"logits_to_keep": 1} if family == "Llama" else {"decoder_input_ids": batch["decoder_input_ids"]}
        with torch.no_grad():
            reader(**reading(batch), **more, use_cache=False)

    a, b = take_turns(
        lambda turn: flare(data[turn]), parts, turns, title=f"{family}: FLARE step, LoRA step and reading"
    )
    return ratio(f"{family}: FLARE step / (LoRA step + reading of the source)", a, b, target=1.05)


def cost_of_writing(family: str, turns: int) -> Figure:
    """Tokens a second after the prompt, with a source / by plain LoRA: what the 2nd to the last token take."""
    data = list(map(_prompt, batches(family, turns)))
    base = base_model(family)
    lora, flare = adapted("lora", family, copy.deepcopy(base)).eval(), adapted("flare", family, base).eval()

    def writer(model: Any, source: bool) -> Callable[[int, int], None]:
        def write(turn: int, tokens: int) -> None:
            inputs = data[turn] if source else without_source(data[turn])
            model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)

        return write

    one, other = writer(flare, True), writer(lora, False)
    title = f"{family}: writing with a source, by LoRA"
    long = take_turns(lambda turn: one(turn, WRITTEN), lambda turn: other(turn, WRITTEN), turns, title=title)
    short = take_turns(lambda turn: one(turn, 1), lambda turn: other(turn, 1), turns, title=title)
    flare_seconds, lora_seconds = (np.maximum(a - b, 1e-9) for a, b in zip(long, short, strict=True))
    note = "" if family == "Llama" else "the base's decoder reads along, a second pass at every token"
    name = f"{family}: tokens a second after the prompt, with a source / LoRA"
    return ratio(name, lora_seconds, flare_seconds, target=0.9, sense="at least", note=note)


def _prompt(batch: Batch) -> Batch:
    batch = dict(batch)
    for name in ("labels", "decoder_input_ids"):
        batch.pop(name, None)
    if "fusion_mask" in batch:
        width = batch.pop("fusion_mask").shape[1] - 4
        batch |= {name: batch[name][:, :width] for name in ("input_ids", "attention_mask")}
    return batch


def memory_in_four_bits() -> Figure:
    """Peak memory of a process that trains a 4-bit Llama with FLARE against one that trains it with LoRA."""
    with tempfile.TemporaryDirectory() as folder:
        base_model("Llama").save_pretrained(folder)
        lora, flare = (peak_megabytes("bench.writing", kind, folder) for kind in ("lora", "flare"))
    note = f"{flare:.0f} MB / {lora:.0f} MB"
    return Figure("4-bit Llama: peak memory, FLARE / LoRA", flare / lora, 0, 0, target=1.15, note=note)


def four_bits(folder: str) -> Any:
    """Return the small Llama from a folder of its weights, in nf4."""
    config = LlamaConfig.from_pretrained(folder)
    options = quantised_options("nf4", AutoModelForCausalLM, config, torch.device("cpu"))
    base = AutoModelForCausalLM.from_pretrained(folder, config=config, use_safetensors=True, **options)
    prepare_quantised(base)
    return base


def main(kind: str, folder: str) -> None:
    """Train a few steps of the 4-bit Llama with one kind of adapter and print the peak memory in MB."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    step = stepper(adapted(kind, "Llama", four_bits(folder)))
    for batch in batches("Llama", 4):
        if kind == "lora":
            batch = without_source(batch)
            batch.pop("fusion_mask")
        step(batch)
    print(own_peak_megabytes())


def figures(turns: int = 20) -> Iterator[Figure]:
    """Measure all figures of this module, the quick ones first."""
    if find_spec("bitsandbytes") is not None:
        yield memory_in_four_bits()
    for family in FAMILIES:
        yield cost_of_a_step(family, turns)
    for family in FAMILIES:
        yield cost_of_writing(family, max(turns // 2, 2))


if __name__ == "__main__":
    main(*sys.argv[1:])
