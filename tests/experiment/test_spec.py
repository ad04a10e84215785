"""A recipe is read as it stands, every mistake is shown at once, and what is written out reads back equal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, reject
from hypothesis import strategies as st

from crossflare.fusion.config import FlareConfig
from crossflare.fusions import FUSIONS
from crossflare.recipe import strict_yaml
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.read import load_spec, spec_from
from crossflare.recipe.spec import EngineOptions, Spec
from crossflare.recipe.strict_yaml import GatheredError

RECIPE = """\
name: small
task: {set: xnli, folder: $SETS/xnli, dev_from_train: 350}
source: en
targets: [sw]
model: {name: minilm}
seeds: [0, 1]
translation: {to_source: {engine: precomputed}}
stage2: {lr: 1e-3, epochs: 3, r: 16}
methods:
  zero-shot:
  translate-test:
  lora: {lr: [5e-4, 1e-3]}
  flare: {train_source: original, epochs: 5, alpha: 64}
  flare-no-source: {of: flare}
  ensemble: {of: lora}
  flare+source: {of: flare}
  flare-oracle: {kind: flare, of: flare, test_source: oracle}
"""
OWN = """\
name: own
task:
  labels: [negative, positive]
  aliases: {neg: negative}
  texts: [text]
  label: label
  files:
    en: {train: a.csv, dev: b.csv}
    sw: {train: c.csv, dev: d.csv, test: ./sub/e.csv}
source: en
targets: [sw]
model: {name: minilm}
seeds: [0]
methods: {zero-shot: , lora: }
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SETS", "/sets")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


def mistakes(text: str, folder: Path, *overrides: str) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(GatheredError) as caught:
        load_spec(path, overrides)
    return [line.replace(f"{path}:", "").strip() for line in caught.value.lines]


def test_values_and_defaults(recipe: Path) -> None:
    spec = load_spec(recipe)
    assert spec.task.folder == "/sets/xnli"
    assert spec.translation.to_target == EngineOptions("parallel")
    assert spec.stage2.lr == 0.001
    assert (spec.stage1.r, spec.stage1.alpha, spec.stage1.batch_size, spec.stage1.warmup) == (8, 16, 32, 0.1)
    flare = spec.method("flare")
    assert (flare.kind, flare.fusion, flare.alignment, flare.lead) == ("flare", "add_relu", "position", 1)
    assert spec.method("flare-no-source").test_source == "none"
    assert spec.method("flare-oracle").test_source == "oracle"


def test_an_adapter_is_trained_as_its_own_method_says(recipe: Path) -> None:
    spec = load_spec(recipe)
    own = spec.training(spec.method("flare"))
    assert (own.epochs, own.alpha, own.r, own.lrs) == (5, 64, 16, (0.001,))
    for reader in ("flare-no-source", "flare+source", "flare-oracle"):
        assert spec.training(spec.method(reader)) == own
    assert spec.training(spec.method("ensemble")).lrs == (0.0005, 0.001)


def test_overrides_are_typed_like_the_file(recipe: Path) -> None:
    spec = load_spec(recipe, ["targets=[no, nan]", "seeds=[3]", "methods.zero-shot.kind=lora", "stage1.lr=2e-3"])
    assert spec.targets == ("nb", "nan")
    assert spec.method("zero-shot").kind == "lora"
    assert spec.stage1.lr == 0.002
    with pytest.raises(GatheredError) as caught:
        load_spec(recipe, ["stage1.epochs=1e1", "stage1.lrr=3"])
    assert caught.value.lines[0] == "--set stage1.epochs=1e1: stage1.epochs: expected a whole number, got 10.0"
    assert caught.value.lines[1].startswith("--set stage1.lrr=3: stage1.lrr: unknown key: did you mean 'lr'?")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.set=xlni", "task.set: unknown set 'xlni': did you mean 'xnli'?"),
        (
            "task.folder=$UNSET_/x",
            "the environment variable UNSET_ is not set (in '$UNSET_/x'); run `export UNSET_=FOLDER`",
        ),
        ("task.folder=a$", "task.folder: a lone $ means nothing (in 'a$'); write $$ for a $"),
        ("task.labels=[a, b]", "task.labels: the set 'xnli' says this itself"),
        ("task.limit.trian=3", "task.limit.trian: unknown key: did you mean 'train'?"),
        ("task.limit.train=0", "task.limit.train: expected at least 1, got 0"),
        ("name=a/b", "name: expected letters, digits and . _ + - only (it names a folder), got 'a/b'"),
        ("targets=[]", "targets: expected at least one, got an empty list"),
        (
            "targets=[sw, en]",
            "targets.1: the source language 'en' is among the targets, but translate-test would translate",
        ),
        ("targets=[sw, swahil]", "targets.1: unknown language 'swahil': did you mean 'Swahili'?"),
        ("source=on", "source: unknown language 'on'"),
        ("targets=sw", "targets: expected a list of texts, got 'sw'"),
        ("seeds=[1, 1]", "seeds.0: 1 stands here 2 times; keep one"),
        ("seeds=[true]", "seeds.0: expected a whole number, got true"),
        ("seeds=[-1]", "seeds.0: expected at least 0 and at most 4.29497e+09, got -1"),
        ("model=", "model.name: missing; expected text"),
        ("model=minilm", "model: expected keys with values under it, got 'minilm'"),
        ("stage1.lr='1e-3'", "expected a number or a list of numbers, got '1e-3'; take the quotes away"),
        ("stage1.lr=0", "stage1.lr: expected above 0 and at most 1, got 0.0"),
        ("stage1.lr=[1e-3, 2e-3]", "stage1.lr: expected one learning rate: every method starts from the same stage 1"),
        ("stage2.lr=[]", "stage2.lr: expected at least one learning rate, got an empty list"),
        ("stage2.warmup=1", "stage2.warmup: expected at least 0 and below 1, got 1.0"),
        ("stage2.patience=10", "stage2.patience: 10 can never stop a run of 10 evaluations"),
        ("stage2.precision=fp16", "stage2.precision: unknown value 'fp16': did you mean 'bf16'?"),
        ("stage2.epochs=", "stage2.epochs: expected a whole number, got nothing (null)"),
        ("translation.to_source.engine=nllb", "translation.to_source.engine: unknown engine 'nllb': known: "),
        ("translation.to_source.lexicn=3", "translation.to_source.lexicn: unknown key: "),
        ("methods={}", "methods: expected at least one of: zero-shot,"),
        ("methods=[lora]", "methods: expected keys with values under it, got a list of 1"),
        ("methods.flair=", "methods.flair.kind: unknown kind 'flair': did you mean 'flare'?"),
        ("methods.flare.fusion=addrelu", "methods.flare.fusion: unknown value 'addrelu': did you mean 'add_relu'?"),
        ("methods.flare.fusion=3", "methods.flare.fusion: unknown value 3: known: add,"),
        ("methods.flare={fusion: cross_attention, alignment: position}", "methods.flare.alignment: expected none"),
        ("methods.flare.lead=2", "methods.flare.lead: expected at least 0 and at most 1, got 2"),
        (
            "methods.lora.fusion=add",
            "methods.lora.fusion: means nothing here: lora takes alpha, epochs, joint, languages, lr, r, trained_in",
        ),
        ("methods.zero-shot.lr=1e-3", "methods.zero-shot.lr: means nothing here: zero-shot takes languages"),
        ("methods.zero-shot.of=lora", "methods.zero-shot.of: zero-shot is made of no other method; take it out"),
        ("methods.ensemble.of=loar", "methods.ensemble.of: no trained method 'loar' to read: did you mean 'lora'?"),
        ("methods.ensemble.of=ensemble", "methods.ensemble.of: no trained method 'ensemble' to read"),
        (
            "methods.ensemble=",
            "methods.ensemble: missing `of`: the trained method that ensemble reads (known: flare, lora)",
        ),
        (
            "methods.flare-oracle.r=4",
            "methods.flare-oracle.r: means nothing here: say it at methods.flare, which trains",
        ),
        ("methods.flare-no-source.name=x", "methods.flare-no-source.name: unknown key: "),
    ],
)
def test_each_mistake_is_named(recipe: Path, override: str, said: str) -> None:
    with pytest.raises(GatheredError) as caught:
        load_spec(recipe, [override])
    assert any(said in line for line in caught.value.lines), caught.value.lines
    assert len(caught.value.lines) == 1


def test_all_mistakes_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """\
name: x
task: {set: xlni, foldr: a}
source: en
targets: [en]
seeds: [0.5]
stage1:
  lr: fast
  epohcs: 3
methods:
  lora: {r: 0}
  ensemble: {of: loar}
colour: red
"""
    starts = [":".join(line.split(":")[:2]) for line in mistakes(text, tmp_path)]
    assert starts == [
        "2: task.set",
        "2: task.foldr",
        "4: targets.0",
        "5: seeds.0",
        "7: stage1.lr",
        "8: stage1.epohcs",
        "10: methods.lora.r",
        "11: methods.ensemble.of",
        "11: methods.ensemble",
        "12: colour",
        "model: missing; expected keys with values under it",
    ]


def test_own_files(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(OWN)
    spec = load_spec(tmp_path / "recipe.yaml")
    assert spec.task.files["sw"]["test"] == str(tmp_path / "sub" / "e.csv")
    assert mistakes(OWN.replace("dev: b.csv", ""), tmp_path) == [
        "8: task.files.en.dev: missing; expected a file (or set dev_from_train)"
    ]
    assert mistakes(OWN.replace("neg: negative", "neg: negativ"), tmp_path) == [
        "4: task.aliases.neg: unknown label 'negativ': did you mean 'negative'? (known: negative, positive)"
    ]
    assert mistakes(OWN.replace("test:", "tset:"), tmp_path) == [
        "9: task.files.sw.tset: unknown key: did you mean 'test'? (known: dev, test, train)"
    ]
    assert mistakes(OWN, tmp_path, "task.draw=0")[0].endswith(
        "task.draw: draws nothing without task.limit; say how many rows, or take it out"
    )
    assert mistakes(OWN, tmp_path, "task.files.ar.train=a")[0].endswith(
        "neither the source nor a target: known: en, sw"
    )
    assert mistakes(OWN, tmp_path, "task=")[0].endswith(
        "task: expected a named `set`, or your own `files` with `labels`, `texts` and `label`"
    )


SMALL = """\
name: small
task: {set: phrasebook}
source: en
targets: [sw, en]
model: {name: minilm}
seeds: [0]
"""


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        (SMALL + "methods: {flair: }\n", "7: methods.flair.kind: unknown kind 'flair': did you mean 'flare'?"),
        (SMALL + "methods: {flair: {trained_in: en}}\n", "7: methods.flair.kind: unknown kind 'flair'"),
        (SMALL, "methods: missing; expected keys with values under it"),
        (OWN.replace("zero-shot:", "shuffled: {kind: flare, of: flare}"), "no trained method 'flare' to read"),
    ],
)
def test_a_mistake_in_the_methods_leaves_the_rest_to_be_checked(recipe: str, line: str, tmp_path: Path) -> None:
    assert [said for said in mistakes(recipe, tmp_path) if line in said]


@pytest.mark.parametrize(
    ("written", "read"),
    [("~/a", f"{Path.home()}/a"), ("~nobody0/a", "/recipes/~nobody0/a"), ("$$a", "/recipes/$a"), ("/a/$$b", "/a/$b")],
)
def test_paths_expand(written: str, read: str) -> None:
    recipe = OWN.replace("a.csv", f"'{written}'").replace("{name: minilm}", f"{{name: '{written}'}}")
    spec = spec_from(recipe, Path("/recipes"))
    assert spec.task.files["en"]["train"] == read
    assert spec.model.name == read


def test_a_hub_name_is_no_path() -> None:
    assert spec_from(OWN.replace("minilm", "org/model-1.0"), Path("/recipes")).model.name == "org/model-1.0"


@pytest.mark.parametrize("text", ["", "3", "[]", "null"])
def test_what_is_no_recipe(tmp_path: Path, text: str) -> None:
    assert mistakes(text, tmp_path)


def test_machine_sources_need_an_engine_only_where_they_are_read(tmp_path: Path) -> None:
    said = "10: methods.flare: reads translated"
    base = RECIPE.replace("translation: {to_source: {engine: precomputed}}\n", "").partition("methods:")[0]
    base = base.replace("$SETS/", "")
    assert mistakes(base + "methods:\n  lora:\n  flare:\n", tmp_path)[0].startswith(said)
    (tmp_path / "recipe.yaml").write_text(base + "methods:\n  lora:\n  flare: {test_source: oracle}\n")
    assert load_spec(tmp_path / "recipe.yaml").translation.to_source is None


names = st.text(st.sampled_from("abcXYZ019_+-"), min_size=1, max_size=8).filter(lambda name: name[0].isalnum())
texts = st.text(max_size=12)
paths = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=12)
counts = st.integers(1, 10**6)
rates = st.floats(1e-9, 1.0)
training = st.fixed_dictionaries(
    {},
    optional={
        "lr": rates,
        "epochs": counts,
        "r": counts,
        "dropout": st.floats(0, 0.99),
        "precision": st.sampled_from(["auto", "bf16", "fp32"]),
        "weight_decay": st.floats(0, 10),
    },
)
engines = st.one_of(
    st.just({"engine": "precomputed"}),
    paths.map(lambda path: {"engine": "dictionary", "lexicon": path.replace("$", "$$")}),
    texts.map(lambda licence: {"engine": "dictionary", "learn": "train", "licence": licence, "iterations": 3}),
)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    labels = draw(st.lists(texts, min_size=2, max_size=4, unique=True))
    methods: dict[str, Any] = {"flare": draw(st.sampled_from([None, {"fusion": "cross_attention"}, {"lead": 0}]))}
    for name in draw(st.lists(names, max_size=4, unique=True)):
        kind = draw(st.sampled_from(sorted(KINDS)))
        methods[name] = {"kind": kind} | ({"of": "flare"} if "flare" in KINDS[kind].of and name != "flare" else {})
    if methods["flare"] and "kind" in methods["flare"]:
        methods["flare"] = {"lr": draw(st.lists(rates, min_size=1, max_size=3, unique=True))}
    files = {part: draw(paths).replace("$", "$$") for part in ("train", "dev", "test")}
    return {
        "name": draw(names),
        "task": {
            "labels": labels,
            "aliases": draw(st.dictionaries(texts, st.sampled_from(labels), max_size=3)),
            "texts": draw(st.lists(texts, min_size=1, max_size=2)),
            "label": draw(texts.filter(bool)),
            "files": {"en": files, "no": files},
        },
        "source": "en",
        "targets": ["no"],
        "model": {"name": draw(texts | paths.map(lambda path: "./" + path.replace("$", "$$")))},
        "seeds": draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True)),
        "translation": {"to_source": draw(engines)},
        "stage1": draw(training),
        "stage2": draw(training),
        "methods": methods,
    }


@given(recipes())
def test_a_written_recipe_reads_back_equal(recipe: dict[str, Any]) -> None:
    try:
        spec = spec_from(strict_yaml.dump(recipe), Path("/recipes"))
    except GatheredError as error:
        event(f"refused: {error}")
        reject()
    again = spec_from(spec.to_yaml(), Path("/elsewhere"))
    assert again == spec
    assert again.resolved() == spec.resolved()
    assert again.to_yaml() == spec.to_yaml()


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_project_are_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFLARE_DATA", "/data")
    assert load_spec(path).name == path.stem


def test_control_equality_sees_every_field(recipe: Path) -> None:
    spec = load_spec(recipe)
    assert replace(spec, stage2=replace(spec.stage2, r=4)) != spec
    assert isinstance(spec, Spec)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_gets_an_alignment_that_it_takes(fusion: str) -> None:
    method = MethodSpec("flare", "flare", fusion=fusion)
    assert FlareConfig(fusion=fusion, alignment=method.alignment).alignment == method.alignment
