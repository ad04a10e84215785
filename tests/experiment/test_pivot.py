"""A pivot goes through a related language: stage 1, LoRA there, and the adapter, each merged before the next."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import crossflare
from crossflare.disk.files import CARD, MANIFEST, commit_dir, open_dir, read_json
from crossflare.errors import UserError
from crossflare.evaluation.calibration import tempered
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.needs import Need, needs, routes
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.report.methods import descriptions
from crossflare.report.runs import read_runs
from tiny_experiment import Lab, said

METHODS: dict[str, Any] = {
    "pivot": {"through": "es"},
    "flare-es": {"kind": "flare", "through": "es"},
    "lora": None,
}
INSIDE = "source_task/source_task"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("lab"), seeds=(0,))
    made.recipe["targets"] = ["sw"]
    return made


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Spec:
    return lab.spec({"methods": METHODS})


@pytest.fixture(scope="module")
def pivot(ran: Path, spec: Spec) -> Stage2:
    return Stage2.of(Context(spec, ran), spec.method("pivot"), "sw", 0)


def test_peft_alone_makes_the_same_of_the_three_adapters(lab: Lab, spec: Spec, ran: Path, pivot: Stage2) -> None:
    base = lab.recipe["model"]["name"]
    model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    for folder in (pivot.path / INSIDE, pivot.path / "source_task"):
        model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    model = PeftModel.from_pretrained(model, str(pivot.path)).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    for row, expected in zip(pivot.context.data.test("sw", "none"), said(ran, spec, "pivot"), strict=True):
        with torch.no_grad():
            found = model(**tokenizer(*row.texts, return_tensors="pt")).logits.log_softmax(-1)
        assert np.allclose(found, expected, atol=1e-4)
    assert not np.allclose(said(ran, spec, "pivot"), said(ran, spec, "lora"), atol=1e-3)


@pytest.mark.parametrize("method", ["pivot", "flare-es"])
def test_an_opened_adapter_says_what_the_run_said(spec: Spec, ran: Path, method: str) -> None:
    rows = Context(spec, ran).data.test("sw", "machine").examples
    sources = [(row.source or ("",))[0] for row in rows] if method == "flare-es" else None
    adapter = crossflare.open_adapter(ran / "adapters" / f"{method}-sw-seed0")
    found = [list(each.probabilities.values()) for each in adapter.predict([row.texts[0] for row in rows], sources)]
    assert np.allclose(found, np.exp(tempered(said(ran, spec, method), adapter.calibration.temperature)), atol=1e-4)


def test_the_folder_holds_the_whole_chain_as_it_was_saved(pivot: Stage2) -> None:
    first, stage1 = pivot.start, pivot.stage1
    assert isinstance(first, Stage2)
    assert read_json(pivot.path / CARD)["through"] == "es"
    assert read_json(pivot.path / "source_task" / CARD)["language"] == "es"
    for inside, made in (("source_task", first), (INSIDE, stage1)):
        for name in (*open_dir(made.path), MANIFEST):
            assert (pivot.path / inside / name).read_bytes() == (made.path / name).read_bytes()
            assert f"{inside}/{name}" in open_dir(pivot.path)


def test_what_is_gone_through_is_the_lora_of_that_language(lab: Lab, spec: Spec, ran: Path, pivot: Stage2) -> None:
    """Whoever also asks for it has it already; both pivots share it; and a person finds it under no name of its own."""
    both = lab.spec({"methods": METHODS, "targets": ["sw", "es"], "methods.pivot.languages": ["sw"],
                     "methods.flare-es.languages": ["sw"]})  # fmt: skip
    context = Context(both, ran)
    assert Stage2.of(context, both.method("lora"), "es", 0).id == pivot.start.id
    other = Stage2.of(Context(spec, ran), spec.method("flare-es"), "sw", 0)
    assert other.start.id == pivot.start.id
    own = lab.spec({"methods": {**METHODS, "pivot": {"through": "es", "r": 2}}})
    assert Stage2.of(Context(own, ran), own.method("pivot"), "sw", 0).start.id != pivot.start.id
    made = {step.id for step in all_steps(Context(spec, ran)) if isinstance(step, Stage1 | Stage2)}
    assert {path.name for path in (ran / "models").iterdir()} == made
    assert len(made) == 5
    assert {path.name for path in (ran / "adapters").iterdir()} == {f"{name}-sw-seed0" for name in METHODS}


def test_the_language_gone_through_is_part_of_the_id(lab: Lab, ran: Path, pivot: Stage2) -> None:
    spec = lab.spec({"methods": {**METHODS, "flare": None}})
    steps = [Stage2.of(Context(spec, ran), spec.method(name), "sw", 0) for name in ("flare", "flare-es")]
    assert steps[0].id != steps[1].id
    assert steps[0].start == steps[0].stage1


def test_its_rows_are_checked_and_its_texts_translated(lab: Lab, spec: Spec) -> None:
    assert Need("es", "train", True) in needs(spec)
    own = lab.spec({"methods": METHODS, "translation.to_target": "none"})
    assert {Need("es", "train"), Need("es", "dev")} <= set(needs(own))
    assert Need("es", "test") not in needs(own)
    engine = {"engine": "dictionary", "lexicon": str(lab.folder / "words.tsv")}
    made = lab.spec({"methods": METHODS, "translation.to_target": engine})
    assert ("to_target", "es") in routes(made)
    assert ("to_source", "es") not in routes(made)


def test_a_learning_rate_is_chosen_for_each_leg(lab: Lab, spec: Spec, ran: Path) -> None:
    many = lab.spec({"methods": {"pivot": {"through": "es", "lr": [0.01, 0.02]}}})
    labels = [step.label for step in all_steps(Context(many, ran)) if isinstance(step, Stage2)]
    assert labels == [
        "pivot:es, es, seed 0, lr 0.01", "pivot:es, es, seed 0, lr 0.02", "pivot:es, es, seed 0",
        "pivot, sw, seed 0, lr 0.01", "pivot, sw, seed 0, lr 0.02", "pivot, sw, seed 0",
    ]  # fmt: skip


def test_a_record_and_a_report_name_the_language(ran: Path) -> None:
    records = [read_json(path)["method"] for path in (ran / "records").glob("*.json")]
    assert {each["name"]: each.get("through") for each in records} == {"pivot": "es", "flare-es": "es", "lora": None}
    told = dict(descriptions(read_runs(ran)))
    assert told["flare-es"] == f"{KINDS['flare'].about} ({KINDS['flare'].cites}); first trained in es"


def resealed(pivot: Stage2, folder: Path, change: Any) -> Path:
    """Return a copy of an adapter's folder whose content was changed before it was sealed."""

    def fill(place: Path) -> None:
        for name in open_dir(pivot.path):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pivot.path / name, place / name)
        change(place)

    commit_dir(folder, fill)
    return folder


def test_a_strangers_chain_is_checked_in_full(pivot: Stage2, tmp_path: Path) -> None:
    def refused(name: str, change: Any) -> str:
        with pytest.raises(UserError) as error:
            crossflare.open_adapter(resealed(pivot, tmp_path / name, change))
        return str(error.value)

    def deeper(place: Path) -> None:
        (place / INSIDE / "source_task").mkdir()
        shutil.copy(place / CARD, place / INSIDE / "source_task" / CARD)

    def fused(place: Path) -> None:
        path = place / INSIDE / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"peft_type": "FLARE"}))

    def without(place: Path) -> None:
        (place / INSIDE / "adapter_model.safetensors").unlink()

    assert "its manifest names 'source_task/source_task/source_task/" in refused("deeper", deeper)
    assert "expected the plain LoRA of stage 1, got FLARE" in refused("fused", fused)
    assert f"{INSIDE}/adapter_model.safetensors is missing" in refused("without", without)


@pytest.mark.parametrize("place", ["source_task", INSIDE])
def test_a_chain_that_cannot_be_merged_leaves_the_base_as_it_was(
    lab: Lab, pivot: Stage2, tmp_path: Path, place: str
) -> None:
    """In float16, where large weights are infinite: found in whichever adapter of the chain they are."""

    def large(folder: Path) -> None:
        path = folder / place / "adapter_model.safetensors"
        found = load_file(path)
        save_file({name: each.fill_(300.0) if "lora_" in name else each for name, each in found.items()}, path)

    folder = resealed(pivot, tmp_path / "large", large)
    model = AutoModelForSequenceClassification.from_pretrained(lab.recipe["model"]["name"], num_labels=2)
    identity = crossflare.identify(model, lab.recipe["model"]["name"])
    model = model.half()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with pytest.raises(UserError, match=f"{place}: merging it makes"):
        crossflare.load_adapter(model, folder, base=identity)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"pivot": None}, "methods.pivot: missing `through`"),
        ({"pivot": {"through": "en"}}, "methods.pivot.through: 'en' is the source, where stage 1 is trained"),
        ({"pivot": {"through": "sw"}}, "methods.pivot.through: 'sw' is one of its own languages"),
        ({"pivot": {"through": "su"}}, "task.files.su.train: missing; expected a file"),
        ({"lora": {"through": "es"}}, "methods.lora.through: means nothing here"),
    ],
)
def test_what_cannot_be_is_refused(lab: Lab, methods: dict[str, Any], message: str) -> None:
    with pytest.raises(GatheredError) as error:
        lab.spec({"methods": methods})
    assert message in str(error.value)
