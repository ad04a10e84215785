"""What a saved adapter's card says of its base and its data: names and licences where they are known, and no others."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from crossflare.experiment.making.building import model_card, set_card
from crossflare.experiment.steps.context import Context
from crossflare.recipe.grid import load_recipe
from crossflare.recipe.spec import ModelSpec
from hub_cache import hub_snapshot
from tiny_experiment import Lab

DEMO = Path(__file__).parents[2] / "src" / "crossflare" / "recipes" / "demo.yaml"


@pytest.fixture(scope="module")
def context() -> Context:
    return Context(load_recipe(DEMO).cells[0].spec, Path("runs/x"))


def with_base(context: Context, name: str, revision: str | None = None) -> Context:
    return Context(replace(context.spec, model=ModelSpec(name, revision)), Path("runs/x"))


def test_a_named_set_and_a_packaged_base_are_known(context: Context) -> None:
    said = set_card(context)
    assert said["licence"] == "Apache-2.0"
    assert said["name"].startswith("Phrase book: ")
    base = model_card(with_base(context, "multilingual-e5-small"))
    assert (base["hub"], base["licence"]) == ("intfloat/multilingual-e5-small", "MIT")


def test_own_files_and_a_base_without_a_card_are_not_guessed(tmp_path: Path) -> None:
    context = Context(Lab(tmp_path, languages=("sw",), seeds=(0,)).spec(), tmp_path)
    assert set_card(context) == {"name": "own files"}
    nllb = tmp_path / "nllb-base"  # the name alone is no statement
    nllb.mkdir()
    assert "licence" not in model_card(with_base(context, str(nllb)))
    (nllb / "README.md").write_text("---\nlicense: mit\n---\n")
    assert model_card(with_base(context, str(nllb)))["licence"] == "mit"


def test_a_base_on_the_hub_is_known_by_commit_and_card(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    hub_snapshot(tmp_path / "base", tmp_path / "cache")
    said = model_card(with_base(context, "a/b"))
    assert (said["commit"], said["licence"]) == ("0" * 40, "CC-BY-NC-4.0")


def test_a_repository_of_data_states_its_licence(context: Context, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump({'license': ['mit', 'cc0-1.0']})}---\n")
    task = replace(context.spec.task, set=None, hub=str(tmp_path))
    said = set_card(Context(replace(context.spec, task=task), Path("runs/x")))
    assert said == {"name": tmp_path.name, "licence": "mit, cc0-1.0"}
