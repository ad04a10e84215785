"""A whole experiment that runs in seconds: a tiny BERT, made-up reviews in three languages, and a recipe over them."""

import csv
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.recipe.read import spec_from
from crossflare.recipe.spec import Spec
from digests import digests

torch.set_num_threads(1)

LABELS = ["bad", "good"]
WORDS = {
    "en": {"bad": ["bad", "dull", "poor"], "good": ["good", "fine", "great"], "": ["film", "story", "the"]},
    "es": {"bad": ["malo", "soso", "pobre"], "good": ["bueno", "fino", "genial"], "": ["cine", "cuento", "el"]},
    "sw": {"bad": ["mbaya", "butu", "duni"], "good": ["nzuri", "safi", "bora"], "": ["filamu", "hadithi", "hiyo"]},
}
"""Language -> label -> words, the same thing at the same place of each list."""
SIZES = {"train": 12, "dev": 6, "test": 7}
TRAINED = ("lora", "flare")
READERS = ("flare", "flare-no-source", "flare+source", "oracle")
"""Methods that read the adapter of `flare`."""


UNTRANSLATED = "the"
"""The lexicon does not know it, so that a translation is not the text that people wrote."""


def word_pairs(language: str) -> list[tuple[str, str]]:
    """Return (word, English word) pairs."""
    there, here = ([word for group in WORDS[name].values() for word in group] for name in (language, "en"))
    return list(zip(there, here, strict=True))


def make_base(folder: Path, *, hidden: int = 16, seed: int = 0) -> Path:
    """Save a BERT without a head, and a WordPiece tokenizer that knows every letter."""
    signs = "abcdefghijklmnopqrstuvwxyz0123456789.,'-?!"
    words = sorted({word for kinds in WORDS.values() for group in kinds.values() for word in group})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *signs, *(f"##{sign}" for sign in signs)]
    rules = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=rules, pad_token="[PAD]", unk_token="[UNK]", sep_token="[SEP]", model_max_length=32
    )
    sizes = {"hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(vocab_size=len(pieces), max_position_embeddings=32, initializer_range=0.4, **sizes)
        BertModel(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def make_rows(language: str, part: str) -> list[dict[str, str]]:
    """Return reviews that say the same in every language, row by row."""
    chance = random.Random(part)
    rows: list[dict[str, str]] = []
    for number in range(SIZES[part]):
        label = LABELS[number % 2]
        places = [(label, chance.randrange(3)), *((kind, chance.randrange(3)) for kind in ("", label, ""))]
        chance.shuffle(places)
        rows.append(
            {
                "id": f"{part} {number}",
                "text": " ".join(WORDS[language][kind][place] for kind, place in places),
                "label": label,
            }
        )
    return rows


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file of predictions."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def said(ran: Path, spec: Spec, method: str, language: str = "sw", seed: int = 0) -> "np.ndarray":
    """Return the log-probabilities [N,K] of a method's predictions in a run."""
    step = PredictionStep(Context(spec, ran), spec.method(method), language, seed)
    return np.array([row["log_probabilities"] for row in read_jsonl(step.predictions)])


def results(folder: Path) -> dict[str, str]:
    """Return digests of all that must not depend on where and when it was made: adapters and predictions."""
    wanted = [*folder.glob("models/*/**/adapter_model.safetensors"), *folder.glob("models/*/adapter_config.json")]
    paths = [*wanted, *folder.glob("predictions/*.jsonl")]
    return digests(folder, paths)


def set_at(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set `a.b.c` in nested mappings; None as the value of a method takes it out."""
    *way, last = path.split(".")
    for key in way:
        if tree.get(key) is None:
            tree[key] = {}
        tree = tree[key]
    tree[last] = value


@dataclass
class Lab:
    """One folder with a base model, the files of a task, a lexicon, and a recipe over them."""

    folder: Path
    languages: tuple[str, ...] = ("es", "sw")
    seeds: tuple[int, ...] = (0, 1)
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base = self.folder / "base"
        if not base.is_dir():
            make_base(base)
            for language in WORDS:
                for part in SIZES:
                    write_rows(self.data(language, part), make_rows(language, part))
            pairs = [pair for language in ("es", "sw") for pair in word_pairs(language) if pair[1] != UNTRANSLATED]
            (self.folder / "words.tsv").write_text("".join(f"{word}\t{other}\n" for word, other in pairs))
        stage = {"lr": 0.02, "epochs": 2, "batch_size": 4, "evaluations": 2, "max_length": 16, "precision": "fp32"}
        self.recipe = {
            "name": "tiny",
            "task": {
                "labels": LABELS,
                "texts": ["text"],
                "label": "label",
                "id": "id",
                "files": {
                    language: {part: str(self.data(language, part)) for part in SIZES}
                    for language in ("en", *self.languages)
                },
            },
            "source": "en",
            "targets": list(self.languages),
            "model": {"name": str(base)},
            "seeds": list(self.seeds),
            "translation": {"to_source": {"engine": "dictionary", "lexicon": str(self.folder / "words.tsv")}},
            "stage1": dict(stage),
            "stage2": {**stage, "r": 4},
            "methods": {
                "zero-shot": None,
                "translate-test": None,
                "lora": None,
                "flare": None,
                "flare-no-source": {"of": "flare"},
                "ensemble": {"of": "lora"},
                "flare+source": {"of": "flare"},
                "oracle": {"kind": "flare", "of": "flare", "test_source": "oracle"},
            },
        }

    def data(self, language: str, part: str) -> Path:
        """Return the file of one part in one language."""
        return self.folder / "data" / language / f"{part}.csv"

    def edit(self, language: str, part: str, change: Callable[[list[dict[str, str]]], Any]) -> None:
        """Change the rows of a file in place."""
        with self.data(language, part).open(encoding="utf-8", newline="") as file:
            rows = [dict(row) for row in csv.DictReader(file)]
        change(rows)
        write_rows(self.data(language, part), rows)

    def text(self, changes: dict[str, Any] | None = None, methods: tuple[str, ...] = ()) -> str:
        """Return the recipe as YAML text, with values set by dotted names, and only some of its methods."""
        made: dict[str, Any] = json.loads(json.dumps(self.recipe))
        if methods:
            made["methods"] = {name: made["methods"][name] for name in methods}
        for path, value in (changes or {}).items():
            set_at(made, path, value)
        return json.dumps(made, indent=1)

    def spec(self, changes: dict[str, Any] | None = None, methods: tuple[str, ...] = ()) -> Spec:
        """Return the recipe, read."""
        return spec_from(self.text(changes, methods), self.folder)

    def write(self, changes: dict[str, Any] | None = None, methods: tuple[str, ...] = ()) -> Path:
        """Write the recipe to a file."""
        path = self.folder / "recipe.yaml"
        path.write_text(self.text(changes, methods))
        return path
