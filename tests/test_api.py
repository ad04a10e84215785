"""The Python door does what the command line does: the same recipe, the same run, the same numbers."""

import doctest
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import crossflare
from crossflare.errors import UserError
from crossflare.experiment.steps.context import Context
from crossflare.recipe.grid import Recipe
from crossflare.serving.adapter import TrainedAdapter
from evaluated import check_against_report
from tiny_experiment import LABELS, Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("api"), languages=("sw",), seeds=(0,))


@pytest.fixture(scope="module")
def recipe(lab: Lab) -> Path:
    return lab.write({"name": "reviews"}, ("zero-shot", "flare")).rename(lab.folder / "reviews.yaml")


@pytest.fixture(scope="module")
def done(lab: Lab, recipe: Path) -> "crossflare.api.FinishedRun":  # type: ignore[name-defined]
    return crossflare.run(recipe, runs=lab.folder / "runs", workers=1)


def test_a_mapping_is_its_file(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe.parent)
    said = yaml.safe_load(recipe.read_text())
    said["targets"], said["task"]["texts"] = tuple(said["targets"]), tuple(said["task"]["texts"])
    assert crossflare.load_recipe(said) == crossflare.load_recipe(recipe) == crossflare.load_recipe(str(recipe))


def test_overrides_are_those_of_the_command_line(recipe: Path) -> None:
    made: Recipe = crossflare.load_recipe(recipe, ["seeds=[3, 4]"])
    assert made.cells[0].spec.seeds == (3, 4)


def test_every_mistake_of_a_mapping_is_told_at_once() -> None:
    with pytest.raises(UserError) as raised:
        crossflare.load_recipe({"name": "x", "sauce": "en", "targets": 3})
    for each in ("sauce", "targets", "methods"):
        assert each in str(raised.value)
    with pytest.raises(UserError, match=r"seeds\.1: expected text, a number.*got object"):
        crossflare.load_recipe({"seeds": [0, object()]})


def test_scores_are_those_of_the_report(done) -> None:  # type: ignore[no-untyped-def]
    table = done.scores()
    assert list(table.columns) == ["metric", "method", "language", "score", "low", "high", "seeds"]
    done.report()
    kept = json.loads((done.folder / "results.json").read_text())
    for row in table.itertuples():
        (same,) = [
            each for each in kept["scores"]
            if (each["metric"], each["method"], each["language"]) == (row.metric, row.method, row.language)
        ]  # fmt: skip
        assert (same["score"], same["low"], same["high"]) == pytest.approx((row.score, row.low, row.high))
    assert {"zero-shot", "flare"} == {*table.method}
    assert "zero-shot" in done._repr_html_()


def test_evaluate_gives_the_scores_of_the_report(lab: Lab, done) -> None:  # type: ignore[no-untyped-def]
    context = Context(lab.spec({"name": "reviews"}), done.folder)
    rows = [
        {"id": each.id, "text": each.texts[0], "source": (each.source or (None,))[0], "label": LABELS[each.label or 0]}
        for each in context.data.test("sw", "machine").examples
    ]
    check_against_report(done, "flare", "sw", rows)


def test_its_adapters_open_by_method_language_and_seed(done) -> None:  # type: ignore[no-untyped-def]
    adapter = done.adapter("flare", "swa", 0)
    assert adapter.predict(["a"], [None])[0].label in adapter.task.labels
    with pytest.raises(UserError, match=r"unknown adapter 'flare-sw-seed7'.*flare-sw-seed0"):
        done.adapter("flare", "sw", 7)


def test_nothing_that_is_not_ours_is_said(lab: Lab, recipe: Path) -> None:
    code = """
import sys, crossflare
done = crossflare.run(sys.argv[1], runs=sys.argv[2])
done.adapter("flare", "sw", 0).predict(["a"], ["b"])
"""
    said = subprocess.run(
        [sys.executable, "-c", code, str(recipe), str(lab.folder / "said")], capture_output=True, text=True, check=True
    )
    ours = ("note: ", "step ", "steps ", "time of the steps: ")
    assert [line for line in said.stderr.splitlines() if not line.startswith(ours)] == []
    assert said.stdout == ""


def test_a_second_call_makes_nothing(lab: Lab, recipe: Path, done) -> None:  # type: ignore[no-untyped-def]
    before = {path: path.stat().st_mtime_ns for path in (done.folder / "records").iterdir()}
    assert crossflare.run(crossflare.load_recipe(recipe), runs=lab.folder / "runs") == done
    assert {path: path.stat().st_mtime_ns for path in (done.folder / "records").iterdir()} == before


def test_texts_are_translated_and_kept(tmp_path: Path) -> None:
    (tmp_path / "lexicon.tsv").write_text("moja\tone\nmbili\ttwo\n")
    given = {"engine": "dictionary", "lexicon": str(tmp_path / "lexicon.tsv")}
    for store in (None, tmp_path / "store"):
        assert crossflare.translate(["moja mbili", ""], from_="swa", to="eng", store=store, **given) == ["one two", ""]
    assert [path.name for path in tmp_path.glob("store/*/*/")] == ["sw-en"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"texts": "moja"}, "expected a list of texts"),
        ({"texts": ["a", 3]}, "expected a list of texts"),
        ({"engine": "dictionery"}, "did you mean 'dictionary'"),
        ({"lexikon": "x"}, "lexikon"),
        ({"to": "sw"}, "both 'sw'"),
    ],
)
def test_mistakes_are_one_line(given: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "lexicon.tsv").write_text("moja\tone\n")
    right = {"texts": ["moja"], "from_": "sw", "to": "en", "engine": "dictionary", "lexicon": tmp_path / "lexicon.tsv"}
    with pytest.raises(UserError, match=message):
        crossflare.translate(**{**right, **given})  # type: ignore[arg-type]


NAMED = [getattr(crossflare, name) for name in crossflare.__all__]


@pytest.mark.parametrize("public", [*NAMED, TrainedAdapter.predict], ids=lambda public: public.__name__)
def test_every_public_name_has_an_example_that_runs(
    public: Any, lab: Lab, done: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The examples share a folder with a recipe, its run, its base model and its dictionary."""
    monkeypatch.chdir(lab.folder)
    finder, said = doctest.DocTestFinder(recurse=False), io.StringIO()
    (example,) = finder.find(public, public.__name__, globs={"crossflare": crossflare})
    assert not any(doctest.SKIP in each.options for each in example.examples)
    found = doctest.DocTestRunner(verbose=False).run(example, out=said.write)
    assert found.attempted > 0
    assert found.failed == 0, said.getvalue()


@pytest.mark.parametrize("public", NAMED, ids=lambda public: public.__name__)
def test_every_public_name_says_what_it_raises(public: Any) -> None:
    if not (isinstance(public, type) and issubclass(public, Exception)):
        assert re.search(r"\n +Raises:\n +\w*Error: ", public.__doc__)
