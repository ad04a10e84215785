"""Each kind of method is a small difference in data, model or prediction: what each reads, trains on and combines."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from crossflare.disk.files import CARD, content_id, read_json
from crossflare.errors import UserError
from crossflare.evaluation.calibration import confidence, tempered
from crossflare.evaluation.scoring import stack
from crossflare.experiment.making.models import _settings, measure_of  # pyright: ignore[reportPrivateUsage]
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import IDS
from crossflare.recipe.kinds import KINDS, group_of
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import Spec, Training
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.serving.card import read_saved
from crossflare.serving.file import Column, predict_file
from crossflare.training.forms.protocol import choices
from tiny_experiment import Lab, read_jsonl

METHODS: dict[str, Any] = {
    "translate-test": None,
    "lora": None,
    "lora-joint": {"kind": "lora", "joint": True},
    "flare-joint": {"kind": "flare", "joint": True},
    "self": {"kind": "flare", "train_source": "target", "test_source": "target"},
    "translate-test-roundtrip": None,
    "flare-annealed": {"kind": "flare", "train_source": "annealed(2)"},
    "xmixup": {"train_source": "annealed(2)"},
    "xmixup-lora": {"mix_block": 1},
    "filter": None,
    "flare-released": None,
    "input-fusion": None,
    "input-fusion-none": {"kind": "input-fusion", "train_source": "none", "test_source": "none"},
    "stack": {"of": "lora"},
    "stack-flare": {"kind": "stack", "of": "self", "test_source": "target"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"), seeds=(0,))


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Spec:
    return lab.spec({"methods": METHODS})


def said(folder: Path, method: str, language: str, part: str = "records") -> np.ndarray:
    """Return the log-probabilities [N,K] of a method."""
    for path in (folder / part).glob("*.json"):
        record = read_json(path)
        if (record["method"]["name"], record["language"]) == (method, language):
            return np.array([row["log_probabilities"] for row in read_jsonl(folder / record["predictions"])])
    raise AssertionError(method)


def test_a_joint_adapter_is_trained_once_for_all_languages(ran: Path, spec: Spec) -> None:
    steps = all_steps(Context(spec, ran))
    trained = [step for step in steps if isinstance(step, Stage2)]
    assert [s.language for s in trained if s.method.name == "flare-joint"] == ["es+sw"]
    assert [s.language for s in trained if s.method.name == "lora"] == ["es", "sw"]
    readers = [s for s in steps if isinstance(s, PredictionStep) and s.method.name == "flare-joint"]
    assert [s.language for s in readers] == ["es", "sw"]
    assert len({s.model.id for s in readers}) == 1
    card = read_json(readers[0].model.path / CARD)
    assert card["data"]["n_train"] == 24
    assert card["language"] == "es+sw"


def test_joint_rows_hold_each_item_in_every_language_with_one_source(ran: Path, spec: Spec) -> None:
    data = Context(spec, ran).data
    rows = data.joint(("es", "sw"), "train", "original").examples
    assert [row.id for row in rows[:4]] == ["es:train 0", "sw:train 0", "es:train 1", "sw:train 1"]
    for es, sw in zip(rows[::2], rows[1::2], strict=True):
        assert es.source == sw.source
        assert es.label == sw.label
        assert es.texts != sw.texts
    alone = data.training("es", "train", "original").examples
    assert [replace(row, id=row.id.removeprefix("es:")) for row in rows[::2]] == list(alone)


def test_annealed_rows_hold_both_sources(ran: Path, spec: Spec) -> None:
    data = Context(spec, ran).data
    rows = data.training("sw", "train", "annealed(2)").examples
    assert [row.clean_source for row in rows] == [e.source for e in data.training("sw", "train", "original")]
    assert [row.source for row in rows] == [e.source for e in data.training("sw", "train", "machine")]
    assert all(row.clean_source is None for row in data.training("sw", "dev", "annealed(2)"))
    assert any(row.clean_source != row.source for row in rows)


def test_batches_of_a_joint_adapter_hold_whole_items(lab: Lab) -> None:
    training = replace(lab.spec().stage2, batch_size=5)
    assert _settings(training, 0.1, 0, group=2).batch_size == 4
    assert _settings(training, 0.1, 0, group=7).batch_size == 7
    assert _settings(training, 0.1, 0, group=1).batch_size == 5


def test_the_dev_score_of_a_joint_adapter_is_the_mean_over_its_languages(ran: Path, spec: Spec) -> None:
    context = Context(spec, ran)
    joint = Stage2.of(context, spec.method("lora-joint"), "es", 0)
    measure = measure_of(context, ("es", "sw"))
    dev = joint.splits[1]
    gold = torch.tensor([example.label for example in dev])
    right = torch.nn.functional.one_hot(gold, 2).float()
    right[1::2] = right[1::2].flip(1)  # all of Swahili wrong
    assert measure(choices(right, torch.full_like(right, float("nan"))), dev) == pytest.approx(0.5)


def test_the_target_as_its_own_source_needs_no_translation(ran: Path, spec: Spec) -> None:
    data = Context(spec, ran).data
    for split in (data.training("es", "train", "target"), data.test("es", "target")):
        assert all(row.source == row.texts for row in split)
    assert data.identity("es", "target") is None


def test_round_trip_translate_test_is_tuned_on_what_it_reads(ran: Path, spec: Spec) -> None:
    context = Context(spec, ran)
    step = Stage2.of(context, spec.method("translate-test-roundtrip"), "sw", 0)
    back = context.data.training("sw", "train", "machine")
    assert [row.texts for row in step.splits[0]] == [row.source for row in back]
    assert all(row.source is None for row in step.splits[0])
    assert not np.allclose(said(ran, "translate-test-roundtrip", "sw"), said(ran, "translate-test", "sw"))


def test_input_fusion_without_sources_is_lora(ran: Path) -> None:
    assert np.allclose(said(ran, "input-fusion-none", "sw"), said(ran, "lora", "sw"), atol=1e-5)
    assert not np.allclose(said(ran, "input-fusion", "sw"), said(ran, "lora", "sw"), atol=1e-3)


def test_a_stack_is_the_regression_fitted_on_dev_rows(ran: Path, spec: Spec) -> None:
    gold = [row.label for row in Context(spec, ran).data.dev("sw", "machine")]
    dev = [said_of_dev(ran, spec, name) for name in ("lora", "translate-test")]
    test = [said(ran, name, "sw") for name in ("lora", "translate-test")]
    fitted = LogisticRegression(max_iter=10_000).fit(np.hstack(dev), gold)
    assert np.allclose(said(ran, "stack", "sw"), fitted.predict_log_proba(np.hstack(test)), atol=1e-5)


def said_of_dev(ran: Path, spec: Spec, method: str) -> np.ndarray:
    step = PredictionStep(Context(spec, ran), spec.method(method), "sw", 0, split="dev")
    assert step.hidden
    assert step.record.parent.name == "parts"
    return np.array([row["log_probabilities"] for row in read_jsonl(step.predictions)])


def test_dev_rows_are_read_as_test_rows_are(ran: Path, spec: Spec, lab: Lab) -> None:
    data = Context(spec, ran).data
    assert data.dev_source("machine") == "machine"
    assert data.dev_source("target") == "target"
    assert data.dev_source("oracle") == "original"
    own = lab.spec({"translation.to_source": {"engine": "parallel"}}, methods=("translate-test",))
    assert Context(own, ran).data.dev_source("machine") == "original"  # nobody can translate them back


@pytest.mark.parametrize("method", ["xmixup", "xmixup-lora", "filter", "flare-released", "input-fusion"])
def test_rivals_read_the_source(ran: Path, method: str) -> None:
    scores = said(ran, method, "sw")
    assert np.isfinite(scores).all()
    assert not np.allclose(scores, said(ran, "lora", "sw"), atol=1e-3)


def test_where_a_method_mixes_is_on_its_card(ran: Path, spec: Spec) -> None:
    context = Context(spec, ran)
    cards = {
        name: read_json(Stage2.of(context, spec.method(name), "sw", 0).path / CARD)
        for name in ("lora", "xmixup-lora", "filter")
    }
    assert cards["xmixup-lora"]["mixing"] == {"mix_block": 1}
    assert cards["filter"]["mixing"] == {"mix_block": None, "mix_blocks": None}
    assert "mixing" not in cards["lora"]


def test_an_adapter_that_mixes_predicts_for_a_file(ran: Path, spec: Spec, tmp_path: Path) -> None:
    """From its folder alone it says what it said in its run."""
    rows = Context(spec, ran).data.test("sw", "machine")
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"id": e.id, "text": e.texts[0], "english": (e.source or ("",))[0]}) + "\n" for e in rows)
    )
    for name in ("xmixup", "filter", "input-fusion", "flare-released"):
        adapter = Stage2.of(Context(spec, ran), spec.method(name), "sw", 0).path
        predict_file(
            adapter=adapter, input=tmp_path / "in.jsonl", output=tmp_path / "out.jsonl", source=Column(("english",))
        )
        found = [max(row["probabilities"].values()) for row in read_jsonl(tmp_path / "out.jsonl")]
        known = read_saved(adapter).calibration
        assert known is not None
        assert np.allclose(found, confidence(tempered(said(ran, name, "sw"), known.temperature)), atol=2e-3), name


def test_a_label_without_dev_rows_cannot_be_stacked() -> None:
    dev = np.log(np.full((4, 3), 1 / 3))
    with pytest.raises(UserError, match="no dev row has label 1"):
        stack([dev, dev], [0, 2, 2, 0], [dev, dev])


def test_the_texts_of_the_test_rows_are_kept_for_the_report(ran: Path, spec: Spec) -> None:
    rows = read_jsonl(ran / "examples" / "sw.jsonl")
    assert [(row["id"], tuple(row["texts"]), tuple(row["source"])) for row in rows] == [
        (e.id, e.texts, e.source) for e in Context(spec, ran).data.test("sw", "machine")
    ]


@pytest.mark.parametrize(
    ("options", "group"),
    [
        ({"kind": "flare"}, "flare"),
        ({"kind": "flare", "test_source": "oracle"}, "upper bound"),
        ({"kind": "flare", "train_source": "none", "test_source": "none"}, "control"),
        ({"kind": "lora"}, "baseline"),
        ({"kind": "nothing"}, None),
    ],
)
def test_a_table_knows_where_a_method_belongs(options: dict[str, Any], group: str | None) -> None:
    assert group_of(options) == group
    if group is not None:
        assert MethodSpec("x", **options).group == group


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"flare": {"joint": True, "trained_in": "es"}}, "methods.flare.trained_in: means nothing here"),
        ({"flare-mt": {"joint": True}}, "methods.flare-mt.joint: means nothing here"),
        ({"stack": None}, "missing `of`: the trained method that stack reads"),
        ({"flare": {"train_source": "annealed(0)"}}, "expected annealed(k) with k steps above 0, got 'annealed(0)'"),
        ({"flare": {"train_source": "anealed(3)"}}, "did you mean 'annealed(k)'"),
        ({"filter": None}, "filter is for heads, not for written answers"),
        ({"flare": {"train_source": "mixed(p)"}}, "expected mixed(p) with p from 0 to 1"),
        ({"lora": {"mix_block": 1}}, "methods.lora.mix_block: means nothing here"),
    ],
)
def test_mistakes_in_methods_are_named(lab: Lab, methods: dict[str, Any], message: str) -> None:
    with pytest.raises(GatheredError) as error:
        lab.spec({"methods": methods, **({"task.form": "text"} if "filter" in methods else {})})
    assert message in str(error.value)


def test_an_id_names_what_differs_from_the_defaults_alone(lab: Lab) -> None:
    """A run of an earlier version goes on: options that come later leave the ids of what they do not touch alone."""
    changes = {"methods.flare": {"lead": 0}, "methods.lora": {"r": Training().r}}
    context = Context(lab.spec(changes, ("flare", "lora")), lab.folder)
    default = Training()
    for name, adapter in (("flare", {"lead": 0}), ("lora", {})):
        step = Stage2(context, context.spec.method(name), ("es",), 0)
        training = {key: value for key, value in asdict(step.training).items() if value != getattr(default, key)}
        assert training
        assert ("r" in training) == (name == "flare")
        assert step.id == content_id(
            {
                "ids": IDS,
                "stage": 2,
                "stage1": Stage1(context, 0).id,
                "kind": name,
                "adapter": adapter,
                "rows": context.training_key(("es",), "original" if name == "flare" else "none"),
                "training": {**training, "lr": 0.02},
                "seed": 0,
            }
        )


def test_the_defaults_that_ids_leave_out_stand_fast() -> None:
    """Whoever changes a default, or a table of kinds, raises `IDS`: else one id would mean two things."""
    training = {
        "lr": 1e-3, "epochs": 10, "batch_size": 32, "accumulation": 1, "activation_checkpointing": False,
        "warmup": 0.1, "weight_decay": 0.0, "max_length": 128, "stride": 128, "answer_tokens": 30, "precision": "auto",
        "patience": None, "evaluations": 10, "r": 8, "alpha": 16, "dropout": 0.0, "modules": "attention",
    }  # fmt: skip
    adapter = {
        "fusion": "add_relu", "alignment": "position", "lead": 1, "source_dropout": 0.0, "source_norm": True,
        "mix_block": None, "mix_blocks": None,
    }  # fmt: skip
    released = {**adapter, "lead": 0, "source_norm": False}
    assert IDS == 2
    assert {name: getattr(Training(), name) for name in training} == training
    for kind in KINDS:
        expected = released if kind == "flare-released" else adapter
        assert {name: getattr(MethodSpec(kind, kind), name) for name in adapter} == expected


def test_every_kind_says_what_it_is() -> None:
    for name, kind in KINDS.items():
        assert kind.about, name
        assert kind.group, name
        assert not (kind.combines and kind.trains)
        assert not (kind.fuses and kind.mixes != "none")
        json.dumps(sorted(kind.options))
