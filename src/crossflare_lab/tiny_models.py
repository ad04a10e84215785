"""Tiny random models of the architecture that a name belongs to, and translation encoders: for `--tiny`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

from crossflare import devices
from crossflare.disk.files import commit_dir
from crossflare.errors import UserError
from crossflare.tasks.named_sets import NUSAX, XNLI
from crossflare_lab.tiny_rows import place, tiny_languages, vocabulary
from crossflare_lab.tokenizer import LONGEST, Family

WIDTH, LAYERS = 16, 2
PIECES = 3000
"""The most pieces of the vocabulary: enough for every made-up word to be one."""
PROMPTS = "Premise Hypothesis Label Sentiment Context Question Answer"
ARCHITECTURES = {"XLM-R": "xlm-?r", "mT5": "mt5", "Llama": "llama", "Gemma 2": "gemma-?2"}
"""Architecture -> a pattern for the names of its models."""


def tiny_model(name: str) -> Path:
    """Return the folder of a tiny random model of the architecture of model `name`; made on the first call.

    Raises:
        UserError: The name belongs to no architecture that is known here.
    """
    found = [each for each, pattern in ARCHITECTURES.items() if re.search(pattern, name, re.IGNORECASE)]
    if not found:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"--tiny makes models in the shape of {known}; model '{name}' is none of them by its name")
    return _kept(name, lambda: _model(found[0]))


def tiny_translator(name: str) -> Path:
    """Return the folder of a tiny random M2M-100 model with a token for every language; each name has its own model."""
    return _kept(name, lambda: _translator(crc32(name.encode())))


def _kept(name: str, make: Callable[[], tuple[Any, Any]]) -> Path:
    """Return the folder of the model and tokenizer that `make` returns; they are made once."""
    from crossflare.libraries.transformers import quiet

    def fill(target: Path) -> None:
        model, tokenizer = make()
        with quiet():
            model.save_pretrained(target)
        tokenizer.save_pretrained(target)

    folder = place(Path(name).name.lower())
    if not folder.is_dir():
        commit_dir(folder, fill)
    return folder


def _texts() -> list[str]:
    """Return all texts that a tokenizer should know as whole words."""
    return [
        *(" ".join(vocabulary(tag)) for tag in tiny_languages()),
        PROMPTS,
        " ".join((*NUSAX.task.labels, *XNLI.task.labels)),
    ]


def _model(architecture: str) -> tuple[Any, Any]:
    from crossflare_lab.architectures import build
    from crossflare_lab.tokenizer import train_tokenizer

    families: dict[str, Family] = {"XLM-R": "encoder", "mT5": "encoder-decoder"}
    family = families.get(architecture, "decoder")
    tokenizer = train_tokenizer(_texts(), PIECES, family)
    if architecture == "Gemma 2":
        return _gemma(tokenizer), tokenizer
    return build(family, tokenizer, WIDTH, LAYERS, seed=0), tokenizer


def _translator(seed: int) -> tuple[Any, Any]:
    from crossflare.training.bitext import train_vocabulary
    from crossflare.training.translator import Sizes, build_translator

    tokenizer = train_vocabulary(_texts(), PIECES, tiny_languages(), LONGEST)
    return build_translator(tokenizer, Sizes(width=64, layers=1, max_tokens=LONGEST, seed=seed)), tokenizer


def _gemma(tokenizer: Any) -> Any:
    """Return an untrained Gemma 2; the global random generators are left as they are."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=2, head_dim=WIDTH // 4, intermediate_size=2 * WIDTH, max_position_embeddings=LONGEST,
        sliding_window=LONGEST // 2, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    with devices.seeded(0):
        return Gemma2ForCausalLM(config)
