"""Labels of the target language: what is refused says a way out that the recipe has not taken, and that helps."""

from pathlib import Path
from typing import Any

import pytest

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


def test_words_that_stand_for_keys_are_said(lab: Lab) -> None:
    assert "translation.to_target: expected keys with values under it or a name alone, got 'None'" in refused(
        lab, {"translation.to_target": "None"}
    )
    assert "stage1: expected keys with values under it or none, got false" in refused(lab, {"stage1": False})
