"""Which methods the data of a recipe allow is said without a row being read, and agrees with what `validate` takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossflare.cli import main
from crossflare.errors import UserError
from crossflare.experiment.promise.check import check, methods_allowed
from crossflare.experiment.steps.graph import contexts_of
from crossflare.recipe.allowed import data_needed
from crossflare.recipe.grid import load_recipe
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.read import spec_from
from crossflare.recipe.spec import Spec
from tiny_experiment import Lab
from tiny_questions import recipe

NATIVE = {"translation.to_target": "none"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab", languages=("sw",), seeds=(0,))


def said(lab: Lab, changes: dict[str, Any]) -> dict[str, str]:
    """Return kind -> why not, out of the lines."""
    return reasons(lab.spec(changes, ("zero-shot",)))


def reasons(spec: Spec) -> dict[str, str]:
    first, *others = methods_allowed(spec)
    found = dict.fromkeys(first.removeprefix("methods that the data allow: ").split(", "), "")
    for line in others:
        names, _, why = line.removeprefix("not ").partition(": ")
        found |= dict.fromkeys(names.split(", "), why)
    return found


@pytest.mark.parametrize(
    ("changes", "kind", "why"),
    [
        ({}, "flare", ""),
        ({}, "zero-shot", ""),
        ({}, "flare-mt", "translation.latents is missing"),
        ({"translation.to_source": None}, "flare", "translation.to_source is missing"),
        ({"translation.to_source": None}, "flare-no-source", "reads translated test rows"),
        (
            {"task.align": "none"},
            "flare",
            "needs their source texts: 'sw' train rows with the set's own text in 'en' beside them",
        ),
        ({"task.align": "none"}, "lora", ""),
        ({**NATIVE, "task.align": "none"}, "flare", ""),
        ({**NATIVE, "stage1": "none"}, "zero-shot", "needs stage 1 (labelled source rows): it is left out"),
        ({**NATIVE, "stage1": "none"}, "lora", ""),
        ({}, "pivot", "needs training rows in a related language: no train rows beside"),
    ],
)
def test_what_lacks_is_named(lab: Lab, changes: dict[str, Any], kind: str, why: str) -> None:
    found = said(lab, changes)
    assert set(found) == set(KINDS)
    assert why in found[kind]
    assert bool(why) == bool(found[kind])


@pytest.mark.parametrize(
    "changes", [{}, {"translation.to_source": None}, {"task.align": "none"}, {**NATIVE, "stage1": "none"}]
)
def test_what_lacks_is_called_as_methods_calls_it(lab: Lab, changes: dict[str, Any]) -> None:
    for kind, why in said(lab, changes).items():
        needed = {each for name in (kind, *KINDS[kind].of) for each in data_needed(KINDS[name])}
        assert not why or why.removeprefix("needs ").partition(": ")[0] in needed, (kind, why)


def test_files_that_are_not_there_and_the_methods_are_said_before_the_check(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.data("sw", "train").unlink()
    assert main(["validate", str(lab.write({}, ("zero-shot", "lora")))]) == 2
    told = " ".join("".join(capsys.readouterr()).split())
    assert "methods that the data allow: zero-shot, translate-test" in told
    assert "pivot" in told
    assert "needs training rows in the target: task.files.sw.train: missing" in told
    assert told.index("methods that the data allow") < told.index("expected a file or folder at")


def test_nobody_is_told_to_take_out_what_the_recipe_does_not_have(tmp_path: Path) -> None:
    whys = reasons(spec_from(json.dumps(recipe(tmp_path, "bert", {"zero-shot": None})), tmp_path))
    assert whys["probe"] == "a probe chooses labels, and finds no spans"
    assert not [why for why in whys.values() if "take it out" in why]
    whys = reasons(spec_from(json.dumps(recipe(tmp_path, "mt5", {"zero-shot": None})), tmp_path))
    assert not [why for why in whys.values() if "take it out" in why]


def test_parts_that_are_not_there_are_named(lab: Lab) -> None:
    files = lab.recipe["task"]["files"]
    lacking = said(lab, {"task.files": {"en": files["en"], "sw": {"test": files["sw"]["test"]}}})
    assert lacking["zero-shot"] == ""
    assert "task.files.sw" in lacking["lora"]


def test_parts_that_a_named_set_lacks_are_named(lab: Lab, tmp_path: Path) -> None:
    for name in ("eng_Latn/train", "eng_Latn/dev", "swh_Latn/test"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.tsv").write_text("index_id\tcategory\ttext\n1\ttravel\ta\n")
    found = said(lab, {"task": {"set": "sib200", "folder": str(tmp_path)}})
    assert found["zero-shot"] == ""
    assert found["lora"] == "needs training rows in the target: no train rows in 'sw'"


def test_no_row_is_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("a row is read")

    for name in ("read_examples", "iterate_examples"):
        monkeypatch.setattr(f"crossflare.tasks.own.{name}", read)
    assert said(lab, {})["lora"] == ""
    assert said(lab, {"task.dev_from_train": 2})["lora"] == ""


@pytest.mark.slow  # every kind is looked at with its model; `test_what_lacks_is_named` is the fast one
@pytest.mark.parametrize("changes", [{}, {"translation.to_source": None}, {"task.align": "none"}, NATIVE])
def test_the_check_of_rows_agrees(lab: Lab, changes: dict[str, Any]) -> None:
    """A kind that is allowed passes, and one that is not is refused, by what a run is checked with."""
    for kind, why in said(lab, changes).items():
        if (KINDS[kind].of and not KINDS[kind].trains) or KINDS[kind].outside:  # a file or a model is not of the data
            continue
        try:
            recipe = load_recipe(lab.write({**changes, "methods": {kind: None}}))
            check(contexts_of(recipe, lab.folder / "runs" / kind))
            refused = ""
        except UserError as error:
            refused = str(error)
        assert bool(refused) == bool(why), (kind, why, refused)


def test_every_kind_says_what_it_needs() -> None:
    for name, kind in KINDS.items():
        needed = data_needed(kind)
        assert needed, name
        assert ("a translator into the source (to_source)" in needed) >= (
            kind.reads_source and kind.test_source != "none"
        ), name
        assert ("dev rows in the target" in needed) == kind.fitted, name
