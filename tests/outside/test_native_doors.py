"""What is refused of labels of the target language says a way out that helps; joint adapters are found."""

from pathlib import Path
from typing import Any

import pytest

import crossflare
from crossflare.errors import UserError
from crossflare.experiment.promise.check import check
from crossflare.experiment.steps.graph import contexts_of
from crossflare.recipe.grid import load_recipe
from tiny_experiment import Lab

NONE = {"translation.to_target": "none"}
LEARNT = {"translation.to_source": {"engine": "dictionary", "learn": "train"}}
MACHINE = {"methods.flare": {"train_source": "machine"}}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Swahili rows whose ids no English row has."""
    made = Lab(tmp_path / "lab", languages=("sw",), seeds=(0,))
    for part in ("train", "dev"):
        made.edit("sw", part, lambda rows: [row.update(id=f"own {row['id']}") for row in rows])
    return made


def promise(lab: Lab, changes: dict[str, Any]) -> None:
    check(contexts_of(load_recipe(lab.write(changes, ("lora", "flare"))), lab.folder / "runs" / "tiny"))


def refused(lab: Lab, changes: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        promise(lab, changes)
    return str(caught.value)


def test_a_lexicon_that_is_learnt_is_named_as_what_needs_partners(lab: Lab) -> None:
    """Not `to_target: none`, which the recipe says already."""
    said = refused(lab, {**NONE, **LEARNT})
    assert "have no partner in" in said
    assert "; give both files the same ids" in said
    assert "translation.to_source cannot learn from them (learn: train)" in said
    assert "to_target" not in said
    promise(lab, NONE)


@pytest.mark.parametrize("changes", [{"task.align": "none"}, NONE])
def test_rows_without_an_original_can_be_read_with_their_translation(lab: Lab, changes: dict[str, Any]) -> None:
    said = refused(lab, {**changes, "methods.flare": {"train_source": "annealed(2)"}})
    assert "(train_source: annealed(2)); say train_source: machine" in said
    promise(lab, {**changes, **MACHINE})


@pytest.mark.parametrize("joint", [True, False])
def test_a_joint_adapter_is_found_by_each_of_its_languages(tmp_path: Path, joint: bool) -> None:
    lab = Lab(tmp_path / "lab", languages=("es", "sw"), seeds=(0,))
    changes = {"stage1.epochs": 0, "methods.lora": {"joint": joint}}
    done = crossflare.run(load_recipe(lab.write(changes, ("lora",))), runs=lab.folder / "runs")
    found = {language: done.adapter("lora", language, 0).folder.name for language in ("es", "Swahili")}
    assert found == {
        "es": "lora-es+sw-seed0" if joint else "lora-es-seed0",
        "Swahili": "lora-es+sw-seed0" if joint else "lora-sw-seed0",
    }
    for method, language, seed in (("lora", "fr", 0), ("lor", "es", 0), ("lora", "es", 1)):
        with pytest.raises(UserError, match=r"unknown adapter '.*': did you mean 'lora-"):
            done.adapter(method, language, seed)


@pytest.mark.parametrize("name", ["overrides", "only"])
def test_one_text_in_place_of_a_list_is_not_taken_letter_by_letter(lab: Lab, name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}: expected a list, got 'seeds=\[0\]'; put it in a list$"):
        load_recipe(lab.write(), **{name: "seeds=[0]"})


def test_words_that_stand_for_keys_are_said(lab: Lab) -> None:
    assert "translation.to_target: expected keys with values under it or a name alone, got 'None'" in refused(
        lab, {"translation.to_target": "None"}
    )
    assert "got 'nonne': did you mean 'none'?" in refused(lab, {"translation.to_target": "nonne"})
    assert "got 'dictionery': did you mean 'dictionary'?" in refused(lab, {"translation.to_source": "dictionery"})
    assert "stage1: expected keys with values under it or none, got false" in refused(lab, {"stage1": False})
