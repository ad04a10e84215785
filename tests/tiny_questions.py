"""A tiny experiment on own files of questions, parallel in two languages, for models with a head or that write."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, MT5Config, MT5ForConditionalGeneration, PreTrainedTokenizerFast

from tiny_experiment import WORDS, make_base, word_pairs

PROMPT = ["Context", "Question", "Answer", "Label", "good", "bad"]
SIZES = {"train": 8, "dev": 4, "test": 5}


def make_writer(folder: Path, kind: str) -> Path:
    """Save a tiny Llama or mT5, and a tokenizer of whole words."""
    words = sorted({word for kinds in WORDS.values() for group in kinds.values() for word in group} | set(PROMPT))
    pieces = ["<unk>", "<pad>", "<s>", "</s>", *words, ":"]
    rules = Tokenizer(models.WordLevel({piece: n for n, piece in enumerate(pieces)}, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    rules.post_processor = processors.TemplateProcessing(
        single="<s> $A" if kind == "llama" else "$A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=rules, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        padding_side="left" if kind == "llama" else "right", model_max_length=64,
    )  # fmt: skip
    common: dict[str, Any] = {"vocab_size": len(pieces), "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "llama":
            small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
            model: Any = LlamaForCausalLM(LlamaConfig(**common, **small, max_position_embeddings=64))
        else:
            sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
            model = MT5ForConditionalGeneration(MT5Config(**common, **sizes, decoder_start_token_id=1))
        model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def squad(language: str, part: str) -> dict[str, Any]:
    """Return questions that name the word of the context that answers them, in SQuAD's layout."""
    words = [word for group in WORDS[language].values() for word in group]
    paragraphs: list[dict[str, Any]] = []
    for n in range(SIZES[part]):
        chosen = [words[(3 * n + 2 * k + len(part)) % len(words)] for k in range(3)]
        context, answer = " ".join(chosen), chosen[n % 3]
        start = len(" ".join(chosen[: n % 3])) + (1 if n % 3 else 0)
        asked = {"id": f"{part}{n}", "question": answer, "answers": [{"text": answer, "answer_start": start}]}
        paragraphs.append({"context": context, "qas": [asked]})
    return {"version": "1", "data": [{"title": "t", "paragraphs": paragraphs}]}


def recipe(folder: Path, model: str, methods: dict[str, Any], targets: tuple[str, ...] = ("es",)) -> dict[str, Any]:
    """Write files and a base model, once, and return a recipe over them; `model` is bert, llama or mt5."""
    base = folder / model
    if not base.is_dir():
        make_base(base) if model == "bert" else make_writer(base, model)
    files: dict[str, dict[str, str]] = {}
    for language in {"en", *targets}:
        for part in SIZES:
            path = folder / "questions" / f"{language}-{part}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(squad(language, part)))
            files.setdefault(language, {})[part] = str(path)
    pairs = [pair for language in ("es", "sw") for pair in word_pairs(language)]
    (folder / "there.tsv").write_text("".join(f"{word}\t{other}\n" for word, other in pairs))
    (folder / "back.tsv").write_text("".join(f"{other}\t{word}\n" for word, other in pairs[:9]))
    stage = {"lr": 0.02, "epochs": 1, "batch_size": 4, "evaluations": 1, "precision": "fp32"}
    stage |= {"max_length": 24, "stride": 2, "answer_tokens": 3}
    return {
        "name": f"asked-{model}",
        "task": {"questions": True, "files": files, "form": "head" if model == "bert" else "text"},
        "source": "en",
        "targets": list(targets),
        "model": {"name": str(base)},
        "seeds": [0],
        "translation": {
            "to_source": {"engine": "dictionary", "lexicon": str(folder / "there.tsv")},
            "answers": {"engine": "dictionary", "lexicon": str(folder / "back.tsv")},
        },
        "stage1": dict(stage),
        "stage2": {**stage, "r": 4},
        "methods": methods,
    }
