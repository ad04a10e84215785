"""validate is the promise: what it lets pass, run does not refuse for its data; dry run and run say the same words."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification, GPT2Config, XGLMConfig

from crossflare.cli import main
from tiny_experiment import LABELS, SIZES, Lab, make_rows
from tiny_questions import make_writer
from translation_models import nllb

Change = Callable[[Lab], dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Lab(tmp_path_factory.mktemp("made") / "lab", languages=("sw",), seeds=(0,)).folder


@pytest.fixture
def lab(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(made, tmp_path / "lab")
    return Lab(tmp_path / "lab", languages=("sw",), seeds=(0,))


def rows(language: str, part: str, change: Callable[[list[dict[str, str]]], Any], **more: Any) -> Change:
    def edit(lab: Lab) -> dict[str, Any]:
        lab.edit(language, part, change)
        return more

    return edit


def recipe(**changes: Any) -> Change:
    return lambda lab: {path.replace("__", "."): value for path, value in changes.items()}


def engine(route: str, name: str, **options: Any) -> Change:
    return lambda lab: {f"translation.{route}": {"engine": name, **options}}


def without(part: str) -> Change:
    """Leave a part of the source language out of the recipe."""
    return lambda lab: {"task.files.en": {p: str(lab.data("en", p)) for p in SIZES if p != part}}


def renamed(tag: str, changes: Change) -> Change:
    """Take the rows of `sw` for those of another language."""

    def change(lab: Lab) -> dict[str, Any]:
        files = {part: str(lab.data("sw", part)) for part in SIZES}
        english = {part: str(lab.data("en", part)) for part in SIZES}
        return {"task.files": {"en": english, tag: files}, "targets": [tag], **changes(lab)}

    return change


def local_nllb(route: str) -> Change:
    def change(lab: Lab) -> dict[str, Any]:
        options = {"engine": "transformers", "model": str(nllb(lab.folder / "nllb")), "licence": "none"}
        return {f"translation.{route}": options}

    return change


def other_head(lab: Lab) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    names = dict(enumerate(reversed(LABELS)))
    config = BertConfig(vocab_size=90, max_position_embeddings=32, id2label=names, **sizes)
    folder = shutil.copytree(lab.folder / "base", lab.folder / "headed")
    with torch.random.fork_rng():
        BertForSequenceClassification(config).save_pretrained(folder)
    return {"model.name": str(folder)}


def no_configuration(lab: Lab) -> dict[str, Any]:
    (lab.folder / "base" / "config.json").unlink()
    return {}


def writer(kind: str, form: str = "text") -> Change:
    """Take a model that writes as the base."""

    def change(lab: Lab) -> dict[str, Any]:
        folder = make_writer(lab.folder / "writer", kind if kind == "llama" else "mt5")
        if kind in ("gpt2", "xglm"):
            config = {"gpt2": GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=60), "xglm": XGLMConfig(
                d_model=16, num_layers=2, attention_heads=2, ffn_dim=24, vocab_size=60)}[kind]  # fmt: skip
            with torch.random.fork_rng():
                AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        return {"model.name": str(folder), "task.form": form, "stage1.max_length": 32, "stage2.max_length": 32}

    return change


def precomputed(lab: Lab) -> dict[str, Any]:
    texts = [row["text"] for row in make_rows("sw", "test")][:-1]
    for name, lines in (("a.txt", texts), ("b.txt", [f"word {n} of it" for n in range(len(texts))])):
        (lab.folder / name).write_text("\n".join(lines) + "\n")
    paths = {"source_file": str(lab.folder / "a.txt"), "target_file": str(lab.folder / "b.txt")}
    return {"translation.to_source": {"engine": "precomputed", "check": False, **paths}}


def unequal_files(lab: Lab) -> dict[str, Any]:
    (lab.folder / "a.txt").write_text("one\ntwo\n")
    (lab.folder / "b.txt").write_text("moja\n")
    paths = {"source_file": str(lab.folder / "a.txt"), "target_file": str(lab.folder / "b.txt")}
    return {"translation": {"to_source": {"engine": "trained"}, "translator": paths}}


def questions(answered: bool) -> Change:
    def change(lab: Lab) -> dict[str, Any]:
        rows = [
            {"id": f"q{number}", "question": "where?", "context": "in Lima", "answers":
                {"text": ["Lima"], "answer_start": [3]} if number or answered else {"text": [], "answer_start": []}}
            for number in range(1 if not answered else 3)
        ]  # fmt: skip
        whole = [{**row, "answers": {"text": ["Lima"], "answer_start": [3]}} for row in rows]
        for name, lines in (("whole", whole), ("test", rows)):
            (lab.folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        place, test = str(lab.folder / "whole.jsonl"), str(lab.folder / "test.jsonl")
        return {"task": {"questions": True, "files": {"en": {"train": place, "dev": place}, "sw": {"test": test}}}}

    return change


ALL = ("zero-shot", "translate-test", "lora", "flare")
JOINT = ("joint",)
REFUSED: dict[str, tuple[tuple[str, ...], Change, str]] = {
    "rows that are not aligned by id": (
        ("lora",), rows("sw", "dev", lambda rows: [row.update(id="x") for row in rows[:1]]),
        "sw/dev.csv:2: the id 'x' and 0 more have no partner in",
    ),
    "rows that are not aligned by place": (
        ("lora",), rows("sw", "train", lambda rows: rows.pop(), **{"task.id": None}),
        "11 rows against 12 in the source language; say translation.to_target: none to learn from these labels",
    ),
    "unlike labels": (
        ("lora",), rows("sw", "train", lambda rows: [row.update(label="good") for row in rows[:1]]),
        "a text and its source must have the same label",
    ),
    "a doubled id": (
        ("zero-shot",), rows("sw", "test", lambda rows: [row.update(id="x") for row in rows[:2]]),
        "sw/test.csv:3: the id 'x' is taken by",
    ),
    "an unknown label": (
        ("zero-shot",), rows("en", "dev", lambda rows: [row.update(label="godo") for row in rows[:1]]),
        "unknown label 'godo'",
    ),
    "an oracle without its text": (
        ("flare", "oracle"), without("test"),
        "has no test rows of its own in 'en' beside 'sw'; an oracle source needs them",
    ),
    "parallel translations of test rows that are not there": (
        ("translate-test",), lambda lab: {**without("test")(lab), **engine("to_source", "parallel")(lab)},
        "has no test rows of its own in 'en' beside 'sw'",
    ),
    "sources that no row has": (
        ("flare",), recipe(task__align="none"), "flare learns from them (train_source: original)",
    ),
    "a lexicon learnt from rows without sources": (
        ("translate-test",),
        lambda lab: {**recipe(task__align="none")(lab), **engine("to_source", "dictionary", learn="train")(lab)},
        "translation.to_source cannot learn from them (learn: train)",
    ),
    "a language that NLLB lacks, by its name": (
        ALL, renamed("mad", engine("to_source", "transformers", model="facebook/nllb-200-distilled-600M")),
        "facebook/nllb-200-distilled-600M does not have Madurese (mad): choose another engine",
    ),
    "a language that a model's tokenizer lacks": (
        ("translate-test",), renamed("mad", local_nllb("to_source")), "does not have Madurese (mad)",
    ),
    "a language that the encoder of latents lacks": (
        ("mt",), renamed("mad", local_nllb("latents")), "does not have Madurese (mad)",
    ),
    "training rows into a language that is lacking": (
        ("lora",), renamed("mad", local_nllb("to_target")), "does not have Madurese (mad)",
    ),
    "a pair that is not installed": (ALL, engine("to_source", "apertium", modes="/nowhere"), "apertium"),
    "a lexicon that is not there": (
        ALL, engine("to_source", "dictionary", lexicon="nowhere.tsv"), "nowhere.tsv: expected a text file",
    ),
    "a text without its translation": (("translate-test",), precomputed, "no translation for 1 of 7 texts"),
    "files for a translator that are not parallel": (
        ("translate-test",), unequal_files, "b.txt 1: line i of one should translate",
    ),
    "a model that is not there": (ALL, recipe(model__name="./nowhere"), "model.name: expected a file or folder"),
    "a model without its configuration": (ALL, no_configuration, "base: no config.json"),
    "a head for other labels": (ALL, other_head, "has a head for the labels ['good', 'bad']"),
    "more tokens than the model reads": (
        ("zero-shot",), recipe(stage1__max_length=64), "the model reads at most 32 tokens, got 64",
    ),
    "more tokens in stage 2": (
        ("lora",), recipe(stage2__max_length=64), "the model reads at most 32 tokens, got 64",
    ),
    "an encoder that shall write": (
        ("zero-shot",), recipe(task__form="text"), "reads only and cannot answer in words",
    ),
    "blocks that are not there": (("filter",), recipe(), "5 blocks apart and joint to be among 2"),
    "a block that is not there": (("xmixup",), recipe(), "X-Mixup: expected a block from 0 to 1, got 7"),
    "a block that the encoder of a model that writes lacks": (
        ("xmixup-lora",), writer("mt5"), "X-Mixup: expected a block from 0 to 1, got 2",
    ),
    "a block that a decoder lacks": (
        ("xmixup-lora",), writer("llama"), "X-Mixup: expected a block from 0 to 1, got 2",
    ),
    "X-Mixup in blocks that it does not know": (
        ("xmixup-lora",), writer("gpt2"), "or an encoder-decoder like T5 (mt5, t5, umt5), got gpt2; take such a base",
    ),
    "X-Mixup as published under a head of mT5": (
        ("xmixup-t5",), writer("mt5", "head"), "mt5 is none; set form: text, or take kind xmixup-lora",
    ),
    "a head that a model does not have": (
        ("lora",), writer("xglm", "head"), "(xglm) has no head for labels; set form: text if it writes",
    ),
    "a batch that splits items": (("joint",), recipe(stage2__batch_size=3), "batch_size"),
    "a language that the set lacks": (
        ("zero-shot",), recipe(task={"set": "phrasebook"}, targets=["yo"]), "phrasebook",
    ),
    "more dev rows than there are": (("zero-shot",), recipe(task__dev_from_train=99), "cannot cut 99 dev rows"),
    "questions without any answer": (
        ("zero-shot",), questions(answered=False), "row 'q0': expected an answer, found none",
    ),
}  # fmt: skip
EXTRA = {
    "mt": {"kind": "flare-mt"},
    "filter": {"mix_blocks": 5},
    "xmixup": {"mix_block": 7},
    "xmixup-lora": {"mix_block": 2},
    "xmixup-t5": {"kind": "xmixup"},
    "joint": {"kind": "flare", "joint": True},
}


def recipe_of(lab: Lab, methods: tuple[str, ...], changes: dict[str, Any]) -> Path:
    lab.recipe["methods"] |= EXTRA
    if "joint" in methods:
        lab.recipe["targets"], lab.recipe["task"]["files"]["es"] = (
            ["sw", "es"], {part: str(lab.data("es", part)) for part in SIZES},
        )  # fmt: skip
    return lab.write(changes, methods)


@pytest.mark.parametrize("name", REFUSED)
def test_all_three_refuse_alike_and_nothing_is_made(
    name: str, lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.folder)
    methods, change, expected = REFUSED[name]
    path = recipe_of(lab, methods, change(lab))
    said: list[list[str]] = []
    for words in (["validate"], ["run", "--dry-run"], ["run", "--workers", "1"]):
        assert main([*words[:1], str(path), *words[1:]]) == 2, words
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        said.append([line for line in shown.err.splitlines() if line.startswith("error: ")])
    assert said[0] == said[1] == said[2]
    assert any(expected in line for line in said[0]), said[0]
    assert not (lab.folder / "runs").exists()


def test_mistakes_of_all_kinds_are_said_at_once(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"stage1.max_length": 64, "translation.to_source.lexicon": "nowhere.tsv"}
    assert main(["validate", str(lab.write(changes, ("lora", "translate-test")))]) == 2
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]) == 2


def test_a_grid_names_the_cells_that_have_a_mistake(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"length": {"short": {"stage1": {"max_length": 16}}, "long": {"stage1": {"max_length": 64}}}}
    path = lab.write({"grid": grid}, ("zero-shot",))
    for words in (["validate", str(path)], ["run", str(path), "--dry-run"]):
        assert main(words) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert errors[0].endswith("got 64; lower it (cells long)")


@pytest.mark.parametrize(
    ("methods", "changes"),
    [
        (("zero-shot", "translate-test"), {"task.files.sw": {"test": "TEST"}}),
        (("lora", "machine"), {"task.align": "none"}),
        (("zero-shot",), {"translation": {}}),
    ],
    ids=["no training rows for methods that train nothing", "rows that are not parallel", "no translator"],
)
def test_what_no_method_needs_is_not_asked_for(lab: Lab, methods: tuple[str, ...], changes: dict[str, Any]) -> None:
    lab.recipe["methods"]["machine"] = {"kind": "flare", "train_source": "machine"}
    text = json.loads(lab.text(changes, methods).replace("TEST", str(lab.data("sw", "test"))))
    path = lab.folder / "recipe.yaml"
    path.write_text(json.dumps(text))
    assert main(["validate", str(path)]) == 0
    assert main(["run", str(path), "--dry-run"]) == 0


def test_a_dry_run_leaves_the_hub_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not on this machine is not fetched; what its name says of languages is checked all the same."""
    import huggingface_hub

    def fail(*words: object, **more: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    options = {"engine": "transformers", "model": "facebook/nllb-200-distilled-600M"}
    changes = {"model.name": "nobody/knows-it", "translation.to_source": options}
    assert main(["run", str(lab.write(changes, ALL)), "--dry-run"]) == 0
