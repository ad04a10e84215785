"""The recipes of the paper: each resolves with nothing downloaded, runs tiny, and gives what the paper's page lists."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from crossflare.cli.main import app
from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.evaluation.record import load_record
from crossflare.recipe.first import first_languages
from crossflare.recipe.grid import load_recipe
from crossflare.tasks.sets import load_set
from crossflare.translation.engines.lexicon import Lexicon
from crossflare_lab.tiny import tiny
from crossflare_lab.tiny_rows import ROWS, lexicons, tiny_languages, tiny_set, vocabulary
from lanes import only

PAGE = Path(__file__).parents[2] / "docs" / "paper.md"
PAPER = Path(__file__).parents[2] / "recipes" / "paper"
RECIPES = sorted(PAPER.glob("*.yaml"))
MINUTES = 4
"""The most minutes of a processor for one recipe; all of them take about five on two cores."""
XNLI = ("ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
TYDIQA = ("ar", "bn", "fi", "id", "ko", "ru", "sw", "te")
NUSAX = ("ace", "ban", "bbc", "bjn", "bug", "id", "jv", "mad", "min", "nij", "su")


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSFLARE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def made_in(folder: Path) -> set[tuple[str, str]]:
    """Return the (method, language) pairs that there are records of."""
    records = [load_record(path) for path in (folder / "records").glob("*.json")]
    return {(record.method["name"], record.language) for record in records}


@pytest.mark.parametrize("path", only(RECIPES, [PAPER / "activations.yaml"]), ids=lambda path: path.stem)
def test_every_cell_is_sound_with_no_weights_at_hand(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = CliRunner().invoke(app, ["run", str(path), "--dry-run"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "nothing was run" in done.output


def test_the_main_recipe_is_the_paper_s_table() -> None:
    recipe = load_recipe(PAPER / "main.yaml")
    assert {name: len(values) for name, values in recipe.axes.items()} == {"task": 3, "model": 5}
    targets = {cell.values["task"]: cell.spec.targets for cell in recipe.cells}
    assert targets == {"xnli": XNLI, "tydiqa": TYDIQA, "nusax": NUSAX}
    methods = {cell.values["model"]: {method.name for method in cell.spec.methods} for cell in recipe.cells}
    columns = {"zero-shot", "translate-test", "lora", "xmixup-lora", "input-fusion", "flare-mt", "flare"}
    assert all(found == columns for found in methods.values())
    forms = {cell.values["model"]: cell.spec.task.form for cell in recipe.cells}
    assert {name for name, form in forms.items() if form == "head"} == {"xlm-r-large", "mt5-xl-head"}
    for cell in recipe.cells:
        writes = cell.spec.task.form == "text"
        assert {cell.spec.stage1.answer_tokens, cell.spec.stage2.answer_tokens} == {100 if writes else 30}
        assert cell.spec.model.quantise == ("nf4-single" if cell.values["model"][0] in "lg" else "none")
        training = cell.spec.stage2
        assert (training.lr, training.r, training.alpha, training.batch_size, training.warmup) == (2e-5, 8, 16, 32, 0.1)


def test_tuned_rates_are_the_same_trials_for_every_method() -> None:
    for cell in load_recipe(PAPER / "main-tuned.yaml").cells:
        assert len(cell.spec.stage2.lrs) == 5
        assert all(method.lr is None and method.epochs is None for method in cell.spec.methods)
        assert len(cell.spec.seeds) >= 3


def test_languages_that_nllb_lacks_have_a_stand_in_that_the_recipe_names() -> None:
    from crossflare.languages import find_language

    for path in RECIPES:
        for cell in load_recipe(path).cells:
            lacking = {tag for tag in cell.spec.targets if find_language(tag).nllb is None}
            translation = cell.spec.translation
            for engine in (translation.to_target, translation.to_source, translation.latents):
                if engine is not None:
                    assert lacking <= dict(engine.options.get("mt_language", {})).keys(), path.name


@pytest.mark.parametrize("name", ["xnli", "tydiqa", "nusax"])
def test_the_hub_s_files_hold_every_language_of_the_paper(name: str) -> None:
    wanted = {"xnli": XNLI, "tydiqa": TYDIQA, "nusax": NUSAX}[name]
    data = load_set(name)
    assert {*wanted, "en"} <= set(data.languages)
    assert all("test" in data.parts(language) for language in wanted)
    assert "train" in data.parts("en")


@pytest.mark.parametrize("name", ["xnli", "tydiqa", "nusax"])
def test_made_up_rows_are_read_by_the_set_s_own_reader(name: str) -> None:
    """Every language of the set is there, with 32 rows a part, and parallel texts say the same."""
    data = load_set(name, tiny_set(name))
    assert set(data.languages) == set(load_set(name).languages)
    for language in data.languages:
        for part in data.parts(language):
            assert len(data.split(language, part)) == (2 * ROWS if (name, part) == ("tydiqa", "train") else ROWS)
    if name == "tydiqa":
        assert all(answer.start is not None for e in data.split("sw", "test") for answer in e.answers)
    else:
        language = "jv" if name == "nusax" else "sw"
        meant = dict(zip(vocabulary(language), vocabulary("en"), strict=True))
        for example in data.parallel(language, "test", "en"):
            assert example.source is not None
            for text, source in zip(example.texts, example.source, strict=True):
                assert " ".join(meant[word] for word in text.split()) == source


def test_the_lexicons_know_every_word_of_every_language_both_ways() -> None:
    folder = lexicons("en")
    for language in set(tiny_languages()) - {"en"}:
        there = Lexicon.load(folder / f"en-{language}.tsv").entries
        back = Lexicon.load(folder / f"{language}-en.tsv").entries
        assert [there[word] for word in vocabulary("en")] == vocabulary(language)
        assert [back[word] for word in vocabulary(language)] == vocabulary("en")


def test_only_what_is_large_is_replaced() -> None:
    full = load_recipe(PAPER / "main.yaml")
    small = tiny(full)
    assert small.name == "paper-main-tiny"
    assert small.axes == full.axes
    kinds = {
        "xlm-r-large": "xlm-roberta",
        "mt5-xl": "mt5",
        "mt5-xl-head": "mt5",
        "llama-3.1-8b": "llama",
        "gemma-2-9b": "gemma2",
    }
    for before, after in zip(full.cells, small.cells, strict=True):
        assert after.values == before.values
        assert after.spec.targets == before.spec.targets
        assert after.spec.methods == before.spec.methods
        assert after.spec.task.form == before.spec.task.form
        assert after.spec.stage2.lr == before.spec.stage2.lr
        assert after.spec.model.quantise == "none"
        assert len(after.spec.seeds) == 1
        config = read_json(Path(after.spec.model.name) / "config.json")
        assert config["model_type"] == kinds[after.values["model"]]


def test_what_cannot_be_made_tiny_is_named() -> None:
    with pytest.raises(UserError, match="XLM-R, mT5, Llama, Gemma 2; model 'bert-base-uncased' is none"):
        tiny(load_recipe(PAPER / "activations.yaml", ["model.name=bert-base-uncased"]))
    with pytest.raises(UserError, match="makes up rows for nusax, xnli, tydiqa, not for phrasebook"):
        tiny(load_recipe(PAPER / "activations.yaml", ["task.set=phrasebook"]))


@pytest.mark.slow
def test_one_language_of_the_activations_recipe_runs_tiny(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["run", str(PAPER / "activations.yaml"), "--tiny", "--runs", str(tmp_path), "--workers", "1"]
    )
    assert done.exit_code == 0, done.output
    assert made_in(tmp_path / "paper-activations-tiny") == {("lora", "ace"), ("flare", "ace")}


@dataclass(frozen=True)
class Listed:
    """One row of the page's list."""

    title: str
    recipe: str
    file: str
    """A file of the run's folder, or a pattern that fits one in each cell."""
    texts: tuple[str, ...]


def listed(page: str) -> list[Listed]:
    """Return what the list of tables and figures says comes out."""
    table = page.split("## Every table and figure")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    assert rows[0] == ["in the paper", "recipe", "file", "holds"]
    return [
        Listed(title, recipe.strip("`"), file.strip("`"), tuple(re.findall("`([^`]+)`", texts)))
        for title, recipe, file, texts in rows[2:]
    ]


def missing(top: Path, each: Listed, cells: int) -> list[str]:
    """Return what of a row is not in the folder of its run."""
    files = sorted(top.glob(each.file))
    found = [path.read_text("utf-8") for path in files]
    wanted = cells if "*" in each.file else 1
    lines = [f"{each.title}: {each.file}: expected {wanted}, found {len(files)}"] if len(files) != wanted else []
    return lines + [
        f"{each.title}: no '{text}' in {each.file}" for text in each.texts for one in found if text not in one
    ]


def test_the_page_lists_every_recipe_with_a_section_for_each() -> None:
    if not PAGE.is_file():
        pytest.skip("no documentation around the tests")
    page = PAGE.read_text("utf-8")
    rows = listed(page)
    assert {each.recipe for each in rows} == {path.name for path in RECIPES}
    assert all(each.texts for each in rows)
    sections = re.findall(r"\]\(#([\w-]+)\)", "".join(each.title for each in rows))
    assert len(sections) == len(set(sections)) == len(rows)
    for heading in re.findall(r"^##+ (.*)$", page, re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        if anchor in sections:
            text = page.split(f"# {heading}\n", 1)[1].split("\n## ")[0].split("\n### ")[0]
            assert "not run here" in " ".join(text.lower().split()), heading
            assert re.search(r"\d\.\d|not compared|not in the paper", text), f"{heading}: no number, and not said so"


def test_control_what_does_not_come_out_is_seen(tmp_path: Path) -> None:
    row = Listed("a", "a.yaml", "cells/*/report.md", ("one", "two"))
    for cell in ("x", "y"):
        (tmp_path / "cells" / cell).mkdir(parents=True)
        (tmp_path / "cells" / cell / "report.md").write_text("one two" if cell == "x" else "one")
    assert missing(tmp_path, row, 2) == ["a: no 'two' in cells/*/report.md"]
    assert missing(tmp_path, row, 3)[0] == "a: cells/*/report.md: expected 3, found 2"


# The longest first: two processes share them.
@pytest.mark.slow
@pytest.mark.paper
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("path", sorted(RECIPES, key=lambda path: "main" not in path.stem), ids=lambda path: path.stem)
def test_a_recipe_runs_tiny_and_gives_what_the_page_lists(path: Path, tmp_path: Path) -> None:
    recipe, before = first_languages(load_recipe(path), 1), os.times()
    runner, top = CliRunner(), tmp_path / f"{recipe.name}-tiny"
    command = ["run", str(path), "--tiny", "--languages", "1", "--runs", str(tmp_path), "--workers", "1"]
    done = runner.invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for cell in recipe.cells:
        made = made_in(top / "cells" / cell.name if recipe.axes else top)
        assert made == {(method.name, tag) for method in cell.spec.methods for tag in cell.spec.targets}, cell.name
    if path.stem == "activations":
        looked = runner.invoke(app, ["analyse", "activations", str(top)])
        assert looked.exit_code == 0, looked.output
    if PAGE.is_file():
        rows = [each for each in listed(PAGE.read_text("utf-8")) if each.recipe == path.name]
        assert [line for each in rows for line in missing(top, each, len(recipe.cells))] == []
    if recipe.axes:
        report = (top / "report.md").read_text("utf-8")
        assert "not run" not in report
        assert "failed" not in report
    spent = sum(after - begun for begun, after in zip(before[:4], os.times()[:4], strict=True))
    assert spent < 60 * MINUTES
