"""The temperature of what no adapter was calibrated for: fitted on dev rows of the language that is read, or none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossflare
from crossflare.cli import main
from crossflare.disk.files import CARD
from crossflare.errors import UserError
from crossflare.evaluation.calibration import fit_calibration, tempered
from crossflare.evaluation.record import load_record
from crossflare.evaluation.scoring import FOLDS, held_out, stack
from crossflare.experiment.making.calibrating import calibration_of
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.recipe.spec import Spec
from crossflare.report.build import build_report
from crossflare.tasks.example import Split
from crossflare.training.forms.protocol import Choices, average
from tiny_experiment import Lab, said

METHODS: dict[str, Any] = {
    "zero-shot": None,
    "translate-test": None,
    "joint": {"kind": "lora", "joint": True},
    "ensemble": {"of": "joint"},
    "stack": {"of": "joint"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"), seeds=(0,))


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Spec:
    return lab.spec({"methods": METHODS})


def step_of(spec: Spec, folder: Path, method: str, language: str = "sw") -> PredictionStep:
    return PredictionStep(Context(spec, folder), spec.method(method), language, 0)


def spoken(step: PredictionStep, rows: Split) -> Choices:
    """Return what stands for a model's word: random, and another for every kind of method."""
    assert step.split == "dev"
    chance = np.random.default_rng(len(step.method.kind))
    values = chance.normal(size=(2, len(rows), 2)) * 3
    logs = values - np.logaddexp.reduce(values, axis=2, keepdims=True)
    return Choices(logs[0], logs[1])


def with_card(step: PredictionStep, language: str) -> PredictionStep:
    """Put a card beside the step's model, calibrated in a language."""
    step.model.path.mkdir(parents=True)
    known = {language: {"temperature": 7.0, "thresholds": [], "rows": 3}}
    (step.model.path / CARD).write_text(json.dumps({"calibration": known}))
    return step


def gold_of(spec: Spec, folder: Path) -> list[int]:
    return [row.label or 0 for row in Context(spec, folder).data.dev("sw", "none")]


def test_a_combination_is_calibrated_on_the_dev_rows_as_it_combines(spec: Spec, tmp_path: Path) -> None:
    gold = gold_of(spec, tmp_path)
    for name, combine in (("ensemble", average), ("stack", lambda *parts: held_out(parts, gold))):
        step = step_of(spec, tmp_path, name)
        rows = step.context.data.dev("sw", "machine")
        parts = [spoken(PredictionStep(step.context, each.method, "sw", 0, "dev"), rows) for each in step.parts]
        expected = fit_calibration(combine(*(each.log_probabilities for each in parts)), gold)
        found = calibration_of(step, spoken)
        assert found == {"temperature": expected.temperature, "language": "sw", "rows": len(gold)}, name


def test_stage_1_is_calibrated_on_the_target_s_dev_rows(spec: Spec, tmp_path: Path) -> None:
    step = with_card(step_of(spec, tmp_path, "zero-shot"), "en")
    own = spoken(PredictionStep(step.context, step.method, "sw", 0, "dev"), step.context.data.dev("sw", "none"))
    found = calibration_of(step, spoken)
    expected = fit_calibration(own.log_probabilities, gold_of(spec, tmp_path))
    assert (found["language"], found["temperature"]) == ("sw", expected.temperature)


def test_without_such_rows_it_stays_raw_and_translate_test_has_the_source_s(lab: Lab, tmp_path: Path) -> None:
    files = {language: dict(parts) for language, parts in lab.recipe["task"]["files"].items()}
    del files["sw"]["dev"], files["es"]
    for name, expected in (("zero-shot", {}), ("translate-test", {"temperature": 7.0, "language": "en", "rows": 3})):
        spec = lab.spec({"task.files": files, "targets": ["sw"], "methods": {name: None}})
        found = calibration_of(with_card(step_of(spec, tmp_path / name, name), "en"), spoken)
        assert found == expected, name


def test_an_adapter_s_own_language_is_on_its_card(spec: Spec, tmp_path: Path) -> None:
    step = with_card(step_of(spec, tmp_path, "joint"), "sw")
    assert calibration_of(step, spoken) == {"temperature": 7.0, "language": "sw", "rows": 3}


def test_dev_rows_that_cannot_be_read_leave_it_raw(own_lab: Lab, tmp_path: Path) -> None:
    own_lab.data("sw", "dev").write_text("id,text,label\n1,filamu,neither\n")
    files = {language: own_lab.recipe["task"]["files"][language] for language in ("en", "sw")}
    spec = own_lab.spec({"task.files": files, "targets": ["sw"], "methods": {"zero-shot": None}})
    assert calibration_of(with_card(step_of(spec, tmp_path, "zero-shot"), "en"), spoken) == {}


def test_no_row_is_read_by_a_stack_that_was_fitted_on_it() -> None:
    chance = np.random.default_rng(0)
    said_of = [np.log(chance.dirichlet(np.ones(2), 20)) for _ in range(2)]
    gold = [number % 2 for number in range(20)]
    found = held_out(said_of, gold)
    assert not np.allclose(found, stack(said_of, gold, said_of))
    for row in range(20):
        moved = [each.copy() for each in said_of]
        moved[0][row] = moved[0][row, ::-1]
        same = np.isclose(held_out(moved, gold), found, atol=1e-12).all(1)
        assert same.sum() == 20 / FOLDS - 1  # those that are held out with it
    single = [1, *[0] * 19]
    assert np.allclose(held_out(said_of, single), stack(said_of, single, said_of))


@pytest.mark.slow
def test_the_report_has_them_and_predict_asks_for_the_language(
    ran: Path, spec: Spec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in METHODS:
        found = load_record(step_of(spec, ran, method).record).calibration
        assert found["language"] == "sw", method
    page = build_report(ran).markdown.read_text("utf-8")
    assert "| ensemble |" in page.partition("## Calibration")[2].partition("\n## ")[0]
    assert "for want of a temperature" not in page

    adapter = crossflare.open_adapter(step_of(spec, ran, "joint").model.path)
    rows = Context(spec, ran).data.test("sw", "none").examples
    raw = said(ran, spec, "joint")
    for language in ("es", "sw"):
        known = adapter.calibration_in(language)
        assert known is not None
        served = adapter.predict([row.texts[0] for row in rows], language=language)
        assert all(each.calibrated for each in served)
        found = np.array([list(each.probabilities.values()) for each in served])
        np.testing.assert_allclose(found, np.exp(tempered(raw, known.temperature)), atol=1e-4)
    assert not any(each.calibrated for each in adapter.predict([rows[0].texts[0]]))
    with pytest.raises(UserError, match="language of the adapter"):
        adapter.predict(["filamu"], language="fr")

    given = tmp_path / "in.txt"
    given.write_text("filamu mbaya\n")
    words = ["predict", "--adapter", str(adapter.folder), "--input", str(given), "--output", str(tmp_path / "o.csv")]
    assert main(words) == 0
    assert "temperatures are known of es, sw, --language names one" in " ".join("".join(capsys.readouterr()).split())
    assert main([*words, "--language", "Swahili"]) == 0
    assert "probabilities calibrated: temperature" in " ".join("".join(capsys.readouterr()).split())
