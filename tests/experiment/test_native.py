"""Rows of the target language with labels of their own: alone, beside translated ones, and with stage 1 left out."""

from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertForSequenceClassification, BertModel

from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.experiment.data.rows import Data
from crossflare.experiment.promise.check import check
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.graph import all_steps, contexts_of
from crossflare.recipe.grid import load_recipe
from crossflare.recipe.read import spec_from
from crossflare.recipe.strict_yaml import GatheredError
from tiny_experiment import LABELS, Lab, read_jsonl

NONE = {"translation.to_target": "none"}
ALONE: dict[str, Any] = {**NONE, "stage1": "none"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Swahili rows whose ids no English row has, and fewer of them."""
    made = Lab(tmp_path / "lab", languages=("sw",), seeds=(0,))
    for part in ("train", "dev"):
        made.edit("sw", part, lambda rows: [row.update(id=f"own {row['id']}") for row in rows])
    made.edit("sw", "train", lambda rows: rows.__delitem__(slice(8, None)))
    return made


def both(lab: Lab, times: int = 2) -> dict[str, Any]:
    """English rows are translated word by word, too."""
    words = lab.folder / "there.tsv"
    pairs = [line.split("\t") for line in (lab.folder / "words.tsv").read_text().splitlines()]
    words.write_text("".join(f"{english}\t{word}\n" for word, english in pairs))
    engine = {"engine": "dictionary", "lexicon": str(words)}
    return {"translation.to_target": engine, "translation.native": times}


def data(lab: Lab, changes: dict[str, Any]) -> Data:
    return Data(lab.spec(changes), lab.folder)


def test_adapters_learn_from_the_targets_own_rows_and_labels(lab: Lab) -> None:
    made = data(lab, NONE)
    rows = made.training("sw", "train", "machine")
    assert [row.id for row in rows] == [f"own train {number}" for number in range(8)]
    assert [LABELS[row.label or 0] for row in rows] == ["bad", "good"] * 4
    assert all(row.source is not None and row.source != row.texts for row in rows)
    assert made.size("sw", "train") == 8
    assert made.size("sw", "dev") == len(made.training("sw", "dev", "machine")) == 6


def test_the_source_of_such_rows_is_their_translation_unless_the_recipe_says_otherwise(lab: Lab) -> None:
    said = lab.spec({**NONE, "methods.relu": {"kind": "flare", "train_source": "none", "test_source": "none"}})
    assert said.method("flare").train_source == "machine"
    assert said.method("relu").train_source == "none"
    assert said.method("lora").training_source == "none"
    assert lab.spec().method("flare").train_source == "original"
    assert spec_from(said.to_yaml(), lab.folder) == said


def test_translated_rows_and_own_rows_are_learnt_from_together(lab: Lab) -> None:
    made = data(lab, both(lab))
    rows = made.training("sw", "train", "machine").examples
    assert [row.id for row in rows][:12] == [f"train {number}" for number in range(12)]
    own = [f"own train {number}" for number in range(8)]
    assert [row.id for row in rows][12:] == [f"native{turn}:{name}" for turn in (1, 2) for name in own]
    assert made.size("sw", "train") == 12 + 2 * 8
    assert [row.id for row in made.training("sw", "dev", "machine")] == [f"own dev {number}" for number in range(6)]
    alone = data(lab, {**both(lab), "translation.native": 0})
    assert len(alone.training("sw", "train", "machine")) == 12
    assert [row.id for row in alone.training("sw", "dev", "machine")] == [f"dev {number}" for number in range(6)]


def test_how_often_own_rows_are_read_is_part_of_what_an_adapter_is_named_by(lab: Lab) -> None:
    names = set[str]()
    for times in (0, 1, 2):
        path = lab.write(both(lab, times), ("lora",))
        (context,) = contexts_of(load_recipe(path), lab.folder / "runs")
        names |= {step.id for step in all_steps(context) if step.kind == "stage 2"}
    assert len(names) == 3


@pytest.mark.parametrize("english", [True, False])
def test_a_run_with_own_labels_alone(lab: Lab, english: bool) -> None:
    """Without stage 1 no English row is needed: there may be no file."""
    changes = dict(ALONE) if not english else {**NONE}
    methods = ("lora", "flare", "flare-no-source") + (("zero-shot", "ensemble") if english else ())
    if not english:
        changes["task.files"] = {"sw": lab.recipe["task"]["files"]["sw"]}
    recipe = load_recipe(lab.write(changes, methods))
    (context,) = contexts_of(recipe, lab.folder / "runs" / "tiny")
    check([context])
    run(recipe, lab.folder / "runs", workers=1)
    records = [read_json(path) for path in (lab.folder / "runs" / "tiny" / "records").glob("*.json")]
    assert {record["method"]["name"] for record in records} == set(methods)
    assert all(record["data"].get("n_train") == 8 for record in records if record["method"]["name"] != "zero-shot")
    flare = next(record for record in records if record["method"]["name"] == "flare")
    assert flare["method"]["train_source"] == "machine"
    assert flare["translation"]["to_target"] is None


def test_a_model_that_has_learnt_the_task_already_is_read_as_it_is(lab: Lab) -> None:
    """Its own head answers for zero-shot and translate-test; nothing of the source is labelled."""
    base = Path(lab.recipe["model"]["name"])
    config = BertConfig.from_pretrained(base, id2label=dict(enumerate(LABELS)), label2id={"bad": 0, "good": 1})
    model = BertForSequenceClassification(config)
    model.bert.load_state_dict(BertModel.from_pretrained(base).state_dict())
    model.save_pretrained(base)
    changes = {**ALONE, "task.files": {"sw": {"test": str(lab.data("sw", "test"))}}}
    recipe = load_recipe(lab.write(changes, ("zero-shot", "translate-test")))
    check(contexts_of(recipe, lab.folder / "runs" / "tiny"))
    run(recipe, lab.folder / "runs", workers=1)
    from crossflare import open_adapter

    folder = lab.folder / "runs" / "tiny"
    (place,) = (folder / "models").iterdir()
    assert read_json(place / "crossflare.json")["training"]["steps"] == 0
    record = next(r for r in map(read_json, (folder / "records").glob("*")) if r["method"]["name"] == "zero-shot")
    rows = read_jsonl(folder / record["predictions"])
    texts = [row.texts[0] for row in Data(recipe.cells[0].spec, lab.folder).test("sw", "none")]
    said = open_adapter(place).predict(texts)
    assert [each.label for each in said] == [LABELS[row["prediction"]] for row in rows]


def refused(lab: Lab, changes: dict[str, Any], methods: tuple[str, ...]) -> str:
    with pytest.raises(UserError) as caught:
        check(contexts_of(load_recipe(lab.write(changes, methods)), lab.folder / "runs" / "tiny"))
    return str(caught.value)


def test_ids_that_do_not_meet_name_both_ways_out_with_both_counts(lab: Lab) -> None:
    said = refused(lab, {}, ("lora",))
    assert (
        "(8 rows against 12 in the source language); say translation.to_target: none to learn from these labels as "
        "they are, or give both files the same ids"
    ) in said
    check(contexts_of(load_recipe(lab.write(NONE, ("lora",))), lab.folder / "runs" / "tiny"))


@pytest.mark.parametrize(
    ("changes", "methods", "message"),
    [
        (ALONE, ("zero-shot", "lora"), "zero-shot reads with the model of stage 1, which is left out, and .* has no"),
        (ALONE, ("lora", "ensemble"), "ensemble reads with the model of stage 1, which is left out"),
        ({**NONE, "methods.flare": {"train_source": "original"}}, ("flare",), "has no train rows of its own in 'en'"),
        ({**NONE, "stage2": "none"}, ("lora",), "stage2.epochs: expected at least 1: stage 1 can be left out"),
        ({**NONE, "translation.native": 2}, ("lora",), "native: means nothing with to_target: none"),
        ({"translation.native": 2}, ("lora",), "native: means nothing with to_target: parallel"),
        ({**NONE, "translation.to_source": "none"}, ("lora",), "to_source: expected an engine; take it out"),
        ({**NONE, "stage1": "later"}, ("lora",), "stage1: expected keys with values under it or none, got 'later'"),
    ],
)
def test_what_cannot_be_is_refused(lab: Lab, changes: Any, methods: tuple[str, ...], message: str) -> None:
    import re

    assert re.search(message, refused(lab, changes, methods))


def test_native_rows_beside_translated_ones_have_no_original(lab: Lab) -> None:
    changes = {**both(lab), "methods.flare": {"train_source": "mixed(0.5)"}}
    with pytest.raises(GatheredError, match=r"the target's own rows \(native\) have no original; say machine, or none"):
        lab.spec(changes)
