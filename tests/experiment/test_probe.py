"""A probe is a regression on the base's mean sentence vectors: needs no stage 1, is one for all seeds, and predicts."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

import crossflare
from crossflare.disk.files import CARD, commit_dir, open_dir, read_json
from crossflare.errors import UserError
from crossflare.evaluation.calibration import tempered
from crossflare.experiment.making.building import form_of, load_base_of
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.fusion.saved.tensor_files import PROBE
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.tasks.example import Split
from crossflare.training.probe import STRENGTHS, fit_probe
from tiny_experiment import Lab, said

METHODS: dict[str, Any] = {
    "probe": None,
    "probe-en": {"kind": "probe", "trained_in": "en"},
    "probe-joint": {"kind": "probe", "joint": True},
    "zero-shot": None,
    "both": {"kind": "ensemble", "of": "probe"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Spec:
    return lab.spec({"methods": METHODS, "stage1.epochs": 1})


def model_of(ran: Path, spec: Spec, method: str, language: str = "sw") -> Stage2:
    return Stage2.of(Context(spec, ran), spec.method(method), language, 0)


def mean_vectors(lab: Lab, split: Split) -> np.ndarray:
    """Return sentence vectors as transformers alone makes them, one text at a time."""
    base = Path(lab.recipe["model"]["name"])
    model, tokenizer = AutoModel.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    found = []
    for row in split:
        with torch.no_grad():
            states = model(**tokenizer(*row.texts, return_tensors="pt")).last_hidden_state[0].mean(0)
        found.append((states / states.norm()).double().numpy())
    return np.stack(found)


@pytest.mark.parametrize("method", ["probe", "probe-en", "probe-joint"])
def test_a_probe_is_the_regression_of_its_rows_that_does_best_on_dev(
    lab: Lab, spec: Spec, ran: Path, method: str
) -> None:
    step = model_of(ran, spec, method)
    rows, dev = step.splits
    train, held, test = (mean_vectors(lab, each) for each in (rows, dev, step.context.data.test("sw", "none")))
    gold, right = [row.label for row in rows], [row.label for row in dev]
    fitted = [LogisticRegression(C=each, max_iter=10_000).fit(train, gold) for each in STRENGTHS]
    scores = [each.score(held, right) for each in fitted]
    best = fitted[scores.index(max(scores))]
    card = read_json(step.path / CARD)["training"]
    assert (card["strength"], card["dev_score"]) == (best.C, pytest.approx(max(scores)))
    assert np.allclose(said(ran, spec, method), best.predict_log_proba(test), atol=1e-4)


def test_the_first_of_equal_strengths_is_kept_and_the_best_of_unequal_ones() -> None:
    vectors, gold = np.eye(4), [0, 1, 2, 2]
    assert fit_probe(vectors, gold, "abc", lambda tensors: 0.5).strength == STRENGTHS[0]
    size = fit_probe(vectors, gold, "abc", lambda tensors: float(tensors["weight"].norm()))
    assert size.strength == STRENGTHS[-1]
    assert list(size.scores) == list(STRENGTHS)


@pytest.mark.parametrize("gold", [[0, 2, 0, 2], [0, 2, 3, 3]])
def test_a_label_without_rows_is_never_given_and_changes_nothing_else(gold: list[int]) -> None:
    met = sorted(set(gold))
    made = fit_probe(np.eye(4), gold, "abcd", lambda tensors: 0).tensors
    alone = fit_probe(np.eye(4), [met.index(each) for each in gold], "abcd"[: len(met)], lambda tensors: 0).tensors
    found, expected = (torch.softmax(torch.eye(4) @ each["weight"].T + each["bias"], -1) for each in (made, alone))
    absent = [label for label in range(4) if label not in met]
    assert float(found[:, absent].max()) == 0
    torch.testing.assert_close(found[:, met], expected)


def test_rows_of_one_label_give_that_label() -> None:
    made = fit_probe(np.eye(2), [2, 2], "abc", lambda tensors: 0).tensors
    found = torch.softmax(torch.eye(2) @ made["weight"].T + made["bias"], -1)
    assert torch.equal(found, torch.tensor([[0.0, 0, 1]] * 2))


def test_one_probe_serves_all_seeds_and_one_of_the_source_all_languages(spec: Spec, ran: Path) -> None:
    steps = [step for step in all_steps(Context(spec, ran)) if isinstance(step, Stage2)]
    assert sorted(step.label for step in steps) == [
        "probe, es, seed 0", "probe, sw, seed 0", "probe-en, en, seed 0", "probe-joint, es+sw, seed 0",
    ]  # fmt: skip
    assert np.array_equal(said(ran, spec, "probe", seed=0), said(ran, spec, "probe", seed=1))
    records = [read_json(path) for path in (ran / "records").glob("*.json")]
    assert len(records) == len(METHODS) * 2 * 2
    source = [each for each in records if each["method"]["name"] == "probe-en"]
    assert {each["method"]["trained_in"] for each in source} == {"en"}
    assert {each["data"]["train"] for each in source}.isdisjoint(
        each["data"]["train"] for each in records if each["method"]["name"] == "probe"
    )


def test_a_probe_needs_no_stage_1(lab: Lab, ran: Path) -> None:
    alone = lab.spec({"methods": {"probe": None}, "stage1.lr": 0.5})
    assert not any(isinstance(step, Stage1) for step in all_steps(Context(alone, ran)))
    files = {"sw": lab.recipe["task"]["files"]["sw"]}
    own = lab.spec(
        {"methods": {"probe": None}, "targets": ["sw"], "task.files": files, "translation.to_target": "none"}
    )
    assert run(own, lab.folder / "alone", workers=1)


def test_what_stage_1_and_stage_2_train_with_is_no_part_of_its_id(lab: Lab, spec: Spec, ran: Path) -> None:
    def id_of(changes: dict[str, Any]) -> str:
        return model_of(ran, lab.spec({"methods": METHODS, **changes}), "probe").id

    assert (
        id_of({"stage1.lr": 0.5, "stage2.lr": [0.1, 0.2], "stage2.r": 1, "seeds": [7]})
        == model_of(ran, spec, "probe").id
    )
    others = [
        id_of({"stage2.max_length": 9}),
        id_of({"task.limit": {"train": 8}}),
        id_of({"task.main_metric": "macro_f1"}),
    ]
    assert len({*others, model_of(ran, spec, "probe").id, model_of(ran, spec, "probe-en").id}) == 5


def test_an_opened_probe_says_what_the_run_said(spec: Spec, ran: Path) -> None:
    step = model_of(ran, spec, "probe")
    texts = [row.texts[0] for row in step.context.data.test("sw", "none")]
    adapter = crossflare.open_adapter(ran / "adapters" / "probe-sw-seed0")
    found = [list(each.probabilities.values()) for each in adapter.predict(texts, batch_size=2)]
    assert adapter.calibration is not None
    assert np.allclose(found, np.exp(tempered(said(ran, spec, "probe"), adapter.calibration.temperature)), atol=1e-4)
    with pytest.raises(UserError, match="probe reads no source"):
        adapter.predict(texts, texts)


def test_a_probe_can_be_averaged_with_translate_test(spec: Spec, ran: Path) -> None:
    assert not np.allclose(said(ran, spec, "both"), said(ran, spec, "probe"), atol=1e-3)


def test_a_finished_probe_is_not_made_again(lab: Lab, spec: Spec, ran: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (ran / "models").rglob("*.safetensors")}
    shutil.rmtree(model_of(ran, spec, "probe-en").path)
    run(spec, lab.folder / "runs", workers=1)
    after = {path: path.stat().st_mtime_ns for path in (ran / "models").rglob("*.safetensors")}
    assert {path for path in before if before[path] != after[path]} == {model_of(ran, spec, "probe-en").path / PROBE}


def damaged(step: Stage2, folder: Path, change: Any) -> str:
    """Return what is said of a probe's folder whose content was changed and sealed again."""

    def fill(place: Path) -> None:
        for name in open_dir(step.path):
            shutil.copyfile(step.path / name, place / name)
        change(place)

    commit_dir(folder, fill)
    with pytest.raises(UserError) as error:
        crossflare.open_adapter(folder)
    return str(error.value)


def test_a_strangers_probe_is_checked_in_full(spec: Spec, ran: Path, tmp_path: Path) -> None:
    step = model_of(ran, spec, "probe")

    def tensors(change: Any) -> Any:
        def write(place: Path) -> None:
            found = load_file(place / PROBE)
            change(found)
            save_file(found, place / PROBE)

        return write

    def text(name: str, old: str, new: str) -> Any:
        return lambda place: (place / name).write_text((place / name).read_text().replace(old, new))

    nan = tensors(lambda found: found["bias"].fill_(torch.nan))
    more = tensors(lambda found: found.update(other=torch.zeros(1)))
    wide = tensors(lambda found: found.update(bias=torch.zeros(3)))
    digest = read_json(step.path / CARD)["base"]["digest"]
    assert "not finite" in damaged(step, tmp_path / "nan", nan)
    assert "unexpected other" in damaged(step, tmp_path / "more", more)
    assert "bias is [3], expected [2]" in damaged(step, tmp_path / "wide", wide)
    assert "this base is" in damaged(step, tmp_path / "base", text(CARD, digest, "0" * 64))
    assert "what is trained as lora is in" in damaged(step, tmp_path / "kind", text(CARD, '"probe"', '"lora"'))
    assert "its manifest names 'x.bin'" in damaged(step, tmp_path / "file", lambda place: (place / "x.bin").touch())
    with (step.path / "README.md").open(encoding="utf-8") as file:
        assert "# A probe on" in file.read()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task.form": "text"}, "methods.probe: a probe puts its own regression in place of words"),
        ({"methods.lora": {"trained_in": "en"}}, "methods.lora.trained_in: 'en' is no target"),
        ({"methods.probe": {"lr": 0.1}}, "methods.probe.lr: means nothing here"),
        ({"targets": ["en", "sw"], "methods.probe-en": None}, "probe would train an adapter in it"),
    ],
)
def test_what_cannot_be_is_refused(lab: Lab, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GatheredError) as error:
        lab.spec(
            {
                "methods": {"probe": None, "lora": None, **{k: v for k, v in METHODS.items() if k == "probe-en"}},
                **changes,
            }
        )
    assert message in str(error.value)


def test_the_source_itself_can_be_a_target_of_the_probe_that_was_trained_there(lab: Lab) -> None:
    spec = lab.spec({"methods": {"probe-en": METHODS["probe-en"]}, "targets": ["en", "es", "sw"]})
    assert spec.targets == ("en", "es", "sw")


def test_a_probe_reads_the_very_tokens_that_lora_reads(spec: Spec, ran: Path) -> None:
    """No method puts a word before a text, such as the `query: ` that E5 was trained with."""
    step = model_of(ran, spec, "probe")
    base = load_base_of(step.context, 0)
    rows = step.splits[0].examples
    made = [
        form_of(step.context, step.training, base.model, base.tokenizer, KINDS[kind], "none").encode(rows)
        for kind in ("probe", "lora")
    ]
    for probe, lora in zip(*made, strict=True):
        assert np.array_equal(probe.target.ids, lora.target.ids)
        assert probe.target.ids.tolist() == base.tokenizer(rows[probe.position].texts[0]).input_ids
