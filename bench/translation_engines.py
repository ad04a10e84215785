"""What translation costs: batches by length, CTranslate2, and encoder states that are kept; on real text, NLLB's shape.

The model is random, with the depth and form of NLLB-600M at half its width: d = 512, 6 + 6 layers. Random weights end
their translations anywhere, so that all sides are made to write the same number of tokens: about those of the text.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.harness import Figure, ratio, take_turns

TURNS = 2
"""At most: each is a minute or two of work, and the ratios differ little from turn to turn."""
TEXTS = 128
"""In one turn; every turn takes others."""
FEW = 32
"""Of them, where both sides search in the same batches."""
BEAMS = 2
EPOCHS = 10
SHAPE = {"d_model": 512, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048}


def figures(turns: int) -> Iterator[Figure]:
    """Yield each figure as soon as it is measured."""
    turns = min(turns, TURNS)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CROSSFLARE_CACHE"] = str(Path(folder) / "cache")
        model = make_model(Path(folder) / "nllb-shaped")
        texts = real_texts(TEXTS * turns)
        yield from batching(model, texts, turns)
        yield from ctranslate2(model, texts, turns)
        yield from encoding(model, texts, turns, Path(folder) / "states")


def make_model(folder: Path) -> Path:
    """Save a random M2M-100 model with NLLB's tokenizer and 8,000 words of its own."""
    from tokenizers.trainers import BpeTrainer
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    folder.mkdir(parents=True)
    tokenizer = NllbTokenizer(vocab={token: index for index, token in enumerate(["<s>", "<pad>", "</s>", "<unk>"])})
    trainer = BpeTrainer(vocab_size=8000, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False)
    learner = tokenizer.backend_tokenizer
    learner.train_from_iterator(real_texts(2000), trainer)
    state = json.loads(learner.to_str())["model"]
    NllbTokenizer(vocab=state["vocab"], merges=[tuple(pair) for pair in state["merges"]]).save_pretrained(folder)
    tokenizer = NllbTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    heads = {"encoder_attention_heads": 8, "decoder_attention_heads": 8}
    config = M2M100Config(
        vocab_size=len(tokenizer), decoder_start_token_id=2, scale_embedding=True, dropout=0.0, **heads, **SHAPE
    )
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def real_texts(count: int) -> list[str]:
    """Return lines of the Swahili training text in the order of the file; made-up ones of like lengths without data."""
    data = Path(os.environ.get("CROSSFLARE_DATA", "")) / "parallel" / "en_sw" / "train.sw"
    if data.is_file():
        lines = [line for line in data.read_text(encoding="utf-8").split("\n") if line.strip()]
        return lines[:count]
    pick = np.random.default_rng(0)
    lengths = np.clip(pick.lognormal(2.9, 0.6, count), 2, 90).astype(int)
    syllables = ["ki", "na", "wa", "li", "mba", "ku", "sha", "to"]
    return [" ".join("".join(pick.choice(syllables, pick.integers(1, 5))) for _ in range(words)) for words in lengths]


def engine(kind: str, model: Path, **options: Any) -> Any:
    """Return an engine on the processor with one thread whose translations have as many tokens as their texts."""
    from crossflare.translation.engines.registry import make_engine

    made: Any = make_engine({"engine": kind, "model": str(model), "device": "cpu", "beams": BEAMS, **options})
    made._limit = lambda length: -(-length // 16) * 16
    if kind == "transformers":
        made._model.generation_config.suppress_tokens = [2]  # the end
    else:
        made._settings = made._settings | {"suppress_sequences": [["</s>"]], "min_decoding_length": 1}
    return made


def batching(model: Path, texts: Sequence[str], turns: int) -> Iterator[Figure]:
    """Batches by tokens and length, beside 32 texts at a time in their order, padded, to the longest's limit."""
    sorted_engine = engine("transformers", model, beams=1)
    sorted_engine.encode(["a"], "sw")  # loads

    def naive(turn: int) -> None:
        rows = sorted_engine._rows(part(texts, turn), "swh_Latn")
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            list(sorted_engine._search([(batch, sorted_engine._limit(max(map(len, batch))))], 10))

    def ours(turn: int) -> None:
        sorted_engine.translate(part(texts, turn), source="sw", target="en")

    a, b = take_turns(naive, ours, turns, warm_up=0, title="batches")
    yield ratio("naive batches of 32 / batches by length, time", a, b, target=1.8, sense="at least")


def ctranslate2(model: Path, texts: Sequence[str], turns: int) -> Iterator[Figure]:
    """CTranslate2 beside transformers, the same texts, beams and lengths."""
    slow = engine("transformers", model)
    slow.encode(["a"], "sw")  # loads
    for kind, target in (("int8", 3.0), ("float32", None)):
        fast = engine("ctranslate2", model, compute_type=kind, threads=1)
        fast.translate(["a"], source="sw", target="en")  # converts

        def theirs(turn: int) -> None:
            slow.translate(part(texts, turn)[:FEW], source="sw", target="en")

        def ours(turn: int, fast: Any = fast) -> None:
            fast.translate(part(texts, turn)[:FEW], source="sw", target="en")

        a, b = take_turns(theirs, ours, turns, warm_up=0, title=f"ctranslate2 {kind}")
        name = f"transformers float32 / ctranslate2 {kind}, time"
        yield ratio(name, a, b, **({"target": target, "sense": "at least"} if target else {}))


def encoding(model: Path, texts: Sequence[str], turns: int, folder: Path) -> Iterator[Figure]:
    """States of a training set beside the released way: one text at a time, padded to 128, again in every epoch."""
    from crossflare.translation.states import States

    made = engine("transformers", model)
    made.encode(["a"], "sw")  # loads

    def released(turn: int) -> None:
        encoder = made._model.get_encoder()
        for row in made._rows(part(texts, turn), "swh_Latn"):
            row = row[:128]
            ids = torch.tensor([row + [1] * (128 - len(row))])
            with torch.no_grad():
                encoder(input_ids=ids, attention_mask=(ids != 1).long())

    def once(turn: int) -> None:
        made.encode(part(texts, turn), "sw")

    def stored(turn: int) -> None:
        states = States(folder / str(turn), made, "sw")
        for _ in range(EPOCHS):
            states.add(part(texts, turn))
            for state in states.read(part(texts, turn)):
                state.float()

    a, b = take_turns(released, once, turns, warm_up=0, title="one epoch")
    yield ratio("one text at a time, padded to 128 / batches, one epoch", a, b, target=2.3, sense="at least")
    c, d = take_turns(released, stored, turns, warm_up=0, title="ten epochs")
    note = f"the first side measured for one epoch, times {EPOCHS}"
    name = "the same / stored states, ten epochs"
    yield ratio(name, EPOCHS * c, d, target=20.0, sense="at least", note=note)


def part(texts: Sequence[str], turn: int) -> list[str]:
    """Return the texts of a turn."""
    return list(texts[turn * TEXTS : (turn + 1) * TEXTS])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for figure in figures(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        print(f"{figure.name}: {figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}) {figure.target_text}")
