"""Labels that occur nowhere: they do not lower macro-F1, and every report says how they were counted."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from crossflare.evaluation.metrics import score
from crossflare.evaluation.paired import label_pair, swap
from crossflare.evaluation.record import load_record
from crossflare.evaluation.signature import Signature
from crossflare.evaluation.significance import interval, sample
from crossflare.report.results import collect
from crossflare.report.runs import read_runs
from crossflare.report.summary import label_warnings
from report.fake_runs import change_record, write_run

NAMES = [str(number) for number in range(400)]
GOLD = np.array([0, 1, 2, 3] * 100)
OLD = {"task": "t", "task_version": "1", "split": "test", "language": "sw", "n": 4, "model": "m", "model_digest": "d",
       "source": "none", "method": "lora", "seeds": [1], "data": "x", "version": "0.1.0"}  # fmt: skip


def test_right_predictions_score_1_where_a_language_has_some_of_the_labels() -> None:
    assert score("macro_f1", GOLD, GOLD, 7) == 1.0
    assert score("macro_f1", GOLD, GOLD, 7, "all") == pytest.approx(4 / 7)


def test_a_label_that_is_predicted_and_never_there_counts_as_0_as_in_scikit_learn() -> None:
    predicted = GOLD.copy()
    predicted[:20] = 6
    assert score("macro_f1", GOLD, predicted, 7) == pytest.approx(f1_score(GOLD, predicted, average="macro"), abs=1e-12)


def test_resamples_that_lose_a_label_do_not_pull_the_interval_down() -> None:
    rare = np.array([0, 1] * 199 + [2, 2])
    drawn = sample(NAMES, rare, [rare], 7, [1], resamples=500)["macro_f1"]
    assert (drawn.resampled == 1).all()
    assert interval(drawn).low == 1
    older = sample(NAMES, rare, [rare], 7, [1], labels="all", resamples=500)["macro_f1"]
    assert older.observed[0] == pytest.approx(3 / 7)
    assert older.resampled.min() == pytest.approx(2 / 7)


def test_a_resample_is_what_scikit_learn_says_of_its_rows() -> None:
    generator = np.random.default_rng(0)
    rare = np.where(generator.random(400) < 0.01, 5, GOLD)
    predicted = np.where(generator.random(400) < 0.3, 4, rare)
    drawn = sample(NAMES, rare, [predicted], 7, [1], resamples=300)["macro_f1"].resampled[:, 0]
    again = []
    stream = np.random.default_rng(1)
    for _ in range(300):
        rows = stream.integers(400, size=400)
        again.append(f1_score(rare[rows], predicted[rows], average="macro"))
    assert np.quantile(drawn, [0.05, 0.5, 0.95]) == pytest.approx(np.quantile(again, [0.05, 0.5, 0.95]), abs=0.02)


def test_swapped_answers_follow_the_rule_that_is_named() -> None:
    one, other = GOLD.copy(), GOLD.copy()
    other[:40] = 0
    for over in ("met", "all"):
        found = swap("sw", NAMES, {"x": label_pair(GOLD, [one], [other], 7, "macro_f1", over)}, resamples=50)["x"]  # type: ignore[arg-type]
        expected = score("macro_f1", GOLD, one, 7, over) - score("macro_f1", GOLD, other, 7, over)  # type: ignore[arg-type]
        assert found.observed == pytest.approx(expected)


def test_the_signature_says_the_rule_and_older_ones_stay_as_they_were() -> None:
    older = Signature.from_json(OLD, metric="macro_f1")
    newer = Signature.from_json({**OLD, "labels": "met"}, metric="macro_f1")
    assert str(newer) == f"{older}|labels:met"
    assert "labels" not in str(older)
    assert Signature.from_json(newer.to_json()) == newer
    assert "labels" not in older.to_json()


def runs(folder: Path, gold: np.ndarray, rule: str | None, guesses: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for method, predicted in guesses.items():
        write_run(folder, method, "sw", 1, gold, predicted, np.random.default_rng(0), {"kind": method})
    for path in (folder / "records").glob("*.json"):
        record = load_record(path)
        signature = {name: value for name, value in record.signature.items() if name != "labels"}
        scores = {
            name: score(name, gold, guesses[str(record.method["name"])], 3, rule or "all") for name in record.scores
        }  # type: ignore[arg-type]
        change_record(path, signature=signature | ({"labels": rule} if rule else {}), scores=scores)
    return folder


TWO = np.array([0, 1] * 50)


@pytest.mark.parametrize(("rule", "expected"), [("met", 1.0), (None, 2 / 3)])
def test_a_report_uses_the_rule_of_its_records_and_says_what_is_absent(
    tmp_path: Path, rule: str | None, expected: float
) -> None:
    results = collect(runs(tmp_path / "run", TWO, rule, {"lora": TWO, "flare": TWO}))
    cell = results.cells["macro_f1", "flare", "sw"]
    assert cell.score is not None
    assert (cell.score.score, cell.score.low) == pytest.approx((expected, expected))
    assert ("labels:met" in str(cell.signature)) == (rule == "met")
    assert "labels" not in str(results.cells["accuracy", "flare", "sw"].signature)
    (line,) = label_warnings(results.folder)
    said = (
        "occur there or were predicted" if rule else "counts each such label as 0, by the rule of these older records"
    )
    assert line.startswith("sw: no test row has the label positive; ")
    assert said in line


def test_scores_by_two_rules_are_not_compared(tmp_path: Path) -> None:
    folder = runs(tmp_path / "run", TWO, "met", {"lora": TWO, "flare": TWO})
    path = next(p for p in (folder / "records").glob("*.json") if load_record(p).method["name"] == "lora")
    record = load_record(path)
    signature = {name: value for name, value in record.signature.items() if name != "labels"}
    change_record(path, signature=signature, scores={**record.scores, "macro_f1": 2 / 3})
    results = collect(folder)
    assert "unlike things" in results.contrasts["macro_f1", "lora", "sw"].gap
    assert results.contrasts["accuracy", "lora", "sw"].difference is not None


def test_one_class_and_one_answer_are_said(tmp_path: Path) -> None:
    same = np.zeros(100, dtype=int)
    folder = read_runs(runs(tmp_path / "one", same, "met", {"lora": same}))
    (line,) = label_warnings(folder)
    assert line.startswith("sw: every test row has the label negative: a model that says nothing else scores 100 there")
    folder = read_runs(runs(tmp_path / "two", GOLD % 3, "met", {"lora": np.zeros(400, dtype=int), "flare": GOLD % 3}))
    assert label_warnings(folder) == [
        "lora: every test row got the same label in sw (seed 1); nothing was learnt to tell them apart."
    ]


def test_control_ordinary_runs_need_no_word(tmp_path: Path) -> None:
    assert label_warnings(read_runs(runs(tmp_path / "run", GOLD % 3, "met", {"lora": GOLD % 3}))) == []
