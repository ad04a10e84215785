"""Whatever runs a model runs it on the device that trained, and gives what the processor gives."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import crossflare
from crossflare import devices
from crossflare.disk.files import read_json
from crossflare.experiment.running.run import run
from crossflare.recipe.read import spec_from
from crossflare.serving.file import Column, predict_file
from crossflare.tasks.kinds import TextTask
from second_device import SECOND, Visits, second_device
from tiny_experiment import Lab, read_jsonl


@pytest.fixture
def visits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Visits]:
    with second_device(monkeypatch) as watched:
        yield watched


# The second device itself -----------------------------------------------------------------------------------------


def test_its_tensors_compute_and_know_where_they_are(visits: Visits) -> None:
    tensor = torch.arange(6.0, device=SECOND).view(2, 3)
    assert (tensor + 1).device == torch.zeros(3, device=SECOND).device == SECOND
    assert (tensor @ tensor.T).cpu().tolist() == [[5, 14], [14, 50]]
    assert type(tensor.cpu()) is torch.Tensor
    layer = torch.nn.Linear(3, 1)
    weight = layer.weight
    assert layer.to(SECOND).weight is weight
    layer(tensor).sum().backward()
    assert weight.grad is not None
    assert weight.grad.device == SECOND
    assert weight.grad.tolist() == [[3, 5, 7]]


def test_control_tensors_of_two_devices_do_not_meet(visits: Visits) -> None:
    here, there = torch.ones(3), torch.ones(3, device=SECOND)
    for meet in (torch.add, torch.mul, torch.dot):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            meet(there, here)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        torch.where(there > 0, there, here)
    assert (there + torch.tensor(1.0)).device == SECOND  # a number may be anywhere
    assert there[torch.tensor([0, 2])].tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()
    with pytest.raises(TypeError, match="no float64"):
        there.double()


def test_control_a_forgotten_batch_and_a_forgotten_model_are_seen(visits: Visits, tmp_path: Path) -> None:
    from crossflare.training.bases.load import load_base
    from tiny_experiment import make_base

    base = load_base(str(make_base(tmp_path)), TextTask("tiny", 1, ("bad", "good")), seed=0)
    batch = base.tokenizer(["el cine malo"], return_tensors="pt")
    with pytest.raises(AssertionError, match="parameters in main memory"):
        base.model(**batch)
    devices.to_device(base.model)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        base.model(**batch)
    assert base.model(**{name: tensor.to(SECOND) for name, tensor in batch.items()}).logits.device == SECOND


# Training and reading ---------------------------------------------------------------------------------------------


def test_a_trained_model_is_read_where_it_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training, scoring on dev, saving, loading and predicting, there and here."""
    from peft import get_peft_model

    from crossflare.experiment.making.building import form_of, load_base_of, task_card
    from crossflare.experiment.steps.context import Context
    from crossflare.fusion.saved.adapter_files import save_adapter
    from crossflare.recipe.kinds import KINDS
    from crossflare.tasks.example import Example, Split
    from crossflare.training.forms.protocol import Choices
    from crossflare.training.loop import checkpoints
    from crossflare.training.loop.settings import Settings
    from crossflare.training.train import train

    words = ("malo", "bueno", "soso", "genial")
    rows = Split("train", "es", tuple(Example(w, (f"el cine {w}",), n % 2, (f"the {w}",)) for n, w in enumerate(words)))

    lab = Lab(tmp_path, languages=("es",), seeds=(0,))
    lab.edit("es", "test", lambda rows: [row.update(english="the film bad") for row in rows])

    def said(folder: Path) -> np.ndarray:
        context = Context(lab.spec(), folder)
        base = load_base_of(context, 0)
        with devices.seeded(0):
            model = get_peft_model(base.model, crossflare.FlareConfig(task_type="SEQ_CLS", r=2))
        form = form_of(context, context.spec.stage2, model, base.tokenizer, KINDS["flare"], "machine")
        train(
            model, rows, rows, base.tokenizer, form,
            Settings(lr=0.02, epochs=1, batch_size=2, max_length=16, precision="fp32", evaluations=1),
            folder / "run", measure=lambda said, _: float(said.log_probabilities.max()), identity={},
        )  # fmt: skip
        about = {"kind": "flare", "source": "en", "language": "es", "settings": {"precision": "fp32"}, "max_length": 16}
        card = {**about, "model": asdict(context.spec.model), "task": task_card(context)}
        save_adapter(model, folder / "adapter", base=base.identity, card=card)
        outputs = crossflare.open_adapter(folder / "adapter").read(rows.examples, "both")
        assert isinstance(outputs, Choices)
        assert outputs.source is not None
        predict_file(
            adapter=folder / "adapter", input=lab.data("es", "test"), output=folder / "out.jsonl",
            source=Column(("english",)),
        )  # fmt: skip
        file = [list(row["probabilities"].values()) for row in read_jsonl(folder / "out.jsonl")]
        return np.concatenate([outputs.log_probabilities, np.log(file)])

    expected = said(tmp_path / "here")
    with second_device(monkeypatch) as visits:
        found = said(tmp_path / "there")
        kept = checkpoints.newest(tmp_path / "there" / "run")
    np.testing.assert_allclose(found, expected, atol=1e-3)  # files have four digits
    assert visits["BertForSequenceClassification"] == 5 * 2  # two steps, dev, test and a file, each after its source
    assert kept is not None
    assert kept[1].state["fingerprint"]["device"] == SECOND.type
    assert f"{SECOND.type}.0" in kept[1].tensors["random"]
    assert {tensor.device.type for part in kept[1].tensors.values() for tensor in part.values()} == {"cpu"}


# Whole recipes ----------------------------------------------------------------------------------------------------


def _said(ran: Path) -> dict[tuple[str, str], list[Any]]:
    """Return what each method of a run says of each row."""
    found: dict[tuple[str, str], list[Any]] = {}
    for path in (ran / "records").glob("*.json"):
        record = read_json(path)
        rows = read_jsonl(ran / record["predictions"])
        numbers = [row.get("log_probabilities", row.get("score")) for row in rows]
        found[record["method"]["name"], record["language"]] = [numbers, [row["prediction"] for row in rows]]
    return found


def _compare(there: Path, here: Path) -> None:
    """Compare two runs' predictions."""
    found, expected = _said(there), _said(here)
    assert found.keys() == expected.keys()
    for name, (numbers, predictions) in found.items():
        np.testing.assert_allclose(np.array(numbers), np.array(expected[name][0]), atol=2e-3, err_msg=str(name))
        assert predictions == expected[name][1], name


LABELS: dict[str, Any] = {
    "zero-shot": None,
    "translate-test": None,
    "lora": None,
    "flare": None,
    "flare-no-source": {"of": "flare"},
    "flare+source": {"of": "flare"},
    "oracle": {"kind": "flare", "of": "flare", "test_source": "oracle"},
    "ensemble": {"of": "lora"},
    "stack": {"of": "lora"},
    "cross": {"kind": "flare", "fusion": "cross_attention"},
    "soft": {"kind": "flare", "alignment": "attention"},
    "flare-joint": {"kind": "flare", "joint": True},
    "flare-annealed": {"kind": "flare", "train_source": "annealed(2)"},
    "xmixup": {"train_source": "annealed(2)"},
    "xmixup-lora": {"mix_block": 1},
    "filter": None,
    "flare-released": None,
    "input-fusion": None,
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_recipe_over_labels_analyses_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossflare.cli import main

    pytest.importorskip("matplotlib")
    lab = Lab(tmp_path, seeds=(0,))
    spec = lab.spec({"methods": LABELS})
    here = run(spec, tmp_path / "here", workers=1)
    with second_device(monkeypatch) as visits:
        there = run(spec, tmp_path / "there", workers=1)
        for look in ("activations", "alignment", "layers"):
            before = visits.total()
            words = ["analyse", look, str(there), "--method", "soft", "--language", "es"]
            assert main([*words, "--out", str(tmp_path / look)]) == 0
            assert visits.total() > before
        before = visits.total()
        _label_a_file(lab, there / "adapters" / "flare-es-seed0", tmp_path / "out.jsonl")
        assert visits.total() > before
    _compare(there, here)
    assert read_json(next((there / "records").glob("*.json")))["hardware"]["accelerator"] == SECOND.type
    with (tmp_path / "out.jsonl").open(encoding="utf-8") as file:
        assert len(file.readlines()) == 7


def _label_a_file(lab: Lab, adapter: Path, output: Path) -> None:
    lab.edit("es", "test", lambda rows: [row.update(english="the film bad") for row in rows])
    predict_file(adapter=adapter, input=lab.data("es", "test"), output=output, source=Column(("english",)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "llama", "mt5"])
def test_a_recipe_over_questions(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_questions import recipe

    methods: dict[str, Any] = {"zero-shot": None, "translate-test": None, "lora": None, "flare": None}
    if kind == "bert":
        methods |= {"xmixup": {"train_source": "original"}, "filter": None}
    else:
        methods |= {"cross": {"kind": "flare", "fusion": "cross_attention"}}
    spec = spec_from(json.dumps(recipe(tmp_path, kind, methods)), tmp_path)
    here = run(spec, tmp_path / "here", workers=1)
    with second_device(monkeypatch) as visits:
        there = run(spec, tmp_path / "there", workers=1)
    assert visits
    _compare(there, here)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "mt5"])
def test_a_recipe_over_labels_in_words(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_questions import make_writer

    lab = Lab(tmp_path, languages=("es",), seeds=(0,))
    model = make_writer(tmp_path / "writer", kind)
    changes = {"model.name": str(model), "task.form": "text", "methods": {"lora": None, "flare": None}}
    spec = lab.spec(changes)
    here = run(spec, tmp_path / "here", workers=1)
    with second_device(monkeypatch) as visits:
        there = run(spec, tmp_path / "there", workers=1)
    assert visits
    _compare(there, here)


@pytest.mark.slow
@pytest.mark.parametrize("store", [False, True])
def test_a_recipe_with_a_neural_translator(store: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The translator writes, and its encoder's states are what FLARE MT reads."""
    pytest.importorskip("sentencepiece")
    from translation_models import m2m

    lab = Lab(tmp_path, languages=("sw",), seeds=(0,))
    engine = {"engine": "transformers", "model": str(m2m(tmp_path / "m2m"))}
    latents = engine | ({"store": True} if store else {})
    methods = {"mt": {"kind": "flare-mt"}, "translate-test": None}
    spec = lab.spec({"translation": {"latents": latents, "to_source": engine}, "methods": methods})
    here = run(spec, tmp_path / "here", workers=1)
    with second_device(monkeypatch) as visits:
        there = run(spec, tmp_path / "there", workers=1)
    assert visits["M2M100ForConditionalGeneration"]
    assert visits["M2M100Encoder"]
    _compare(there, here)


@pytest.mark.slow
def test_a_translator_is_trained_and_measured_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossflare.training.translator import Sizes, train_translator
    from crossflare.translation.engines.hf import Transformers

    pairs = [("nyumba kubwa", "a big house"), ("mbwa mdogo", "a small dog"), ("samaki mkubwa", "a big fish")]
    sizes = Sizes(width=64, layers=1, vocabulary=64, epochs=2, batch_size=2, max_tokens=32, precision="fp32")
    with second_device(monkeypatch) as visits:
        folder = train_translator(tmp_path, ("sw", "en"), pairs, pairs, sizes, "MIT")
        made = Transformers(str(folder), beams=2).translate(["mbwa mkubwa"], source="sw", target="en")
        states = Transformers(str(folder)).encode(["mbwa mkubwa"], "sw")
    assert type(states[0]) is torch.Tensor  # all rows' states together are too much for a GPU, and cannot be pinned
    assert visits["M2M100Model"]
    assert Transformers(str(folder), beams=2).translate(["mbwa mkubwa"], source="sw", target="en") == made


@pytest.mark.slow
def test_a_killed_training_goes_on_there(tmp_path: Path, visits: Visits) -> None:
    """The weights are those of the undisturbed run, dropout included."""
    import importlib.util

    where = importlib.util.spec_from_file_location("lab", Path(__file__).parents[1] / "training" / "conftest.py")
    assert where is not None
    assert where.loader is not None
    lab = importlib.util.module_from_spec(where)
    where.loader.exec_module(lab)
    settings = lab.Settings(lr=1e-2, epochs=2, batch_size=8, max_length=16, precision="fp32", save_steps=1)
    whole, _ = lab.run(tmp_path / "whole", settings)
    with pytest.raises(lab.Stop):
        lab.run(tmp_path / "cut", settings, loss=lab.Stopping(4))
    model, outcome = lab.run(tmp_path / "cut", settings)
    assert outcome.resumed_from == 3
    assert lab.weights_of(model) == lab.weights_of(whole)
    assert visits
