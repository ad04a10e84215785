"""Runs whose numbers mean nothing say so: before they run, while they run, and in their report."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from crossflare.cli import main
from crossflare.experiment.data.rows import Data
from crossflare.experiment.promise.check import cautions
from crossflare.experiment.running.run import run
from crossflare.report.runs import read_runs
from crossflare.report.summary import label_warnings
from crossflare.training.loop.loop import new_schedule
from crossflare.training.loop.settings import Settings, few_steps
from tiny_experiment import Lab

ONE_STEP = {"stage1.epochs": 1, "stage1.batch_size": 64, "stage1.evaluations": 1,
            "stage2.epochs": 1, "stage2.batch_size": 64, "stage2.evaluations": 1}  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, languages=("sw",), seeds=(0,))


def sort_by_label(lab: Lab, part: str, *languages: str) -> None:
    for language in languages:
        lab.edit(language, part, lambda rows: rows.sort(key=lambda row: row["label"]))


def said(lab: Lab, changes: dict[str, object] | None = None) -> list[str]:
    return cautions(Data(lab.spec(changes, ("zero-shot", "lora")), lab.folder))


def test_an_ordinary_recipe_needs_no_word(lab: Lab) -> None:
    assert said(lab) == []


def test_a_limit_that_takes_the_head_of_a_sorted_file_is_named(lab: Lab) -> None:
    sort_by_label(lab, "train", "en", "sw")
    sort_by_label(lab, "test", "sw")
    lines = said(lab, {"task.limit": {"train": 3, "test": 2}, "stage1.epochs": 20, "stage2.epochs": 20})
    why = "; task.limit takes the first of {} rows, which are sorted: raise it, or set task.draw: 0"
    assert lines == [
        f"en train: all 3 rows have the label bad, so that nothing is learnt from them{why.format(12)}",
        f"sw train: all 3 rows have the label bad, so that nothing is learnt from them{why.format(12)}",
        f"sw test: all 2 rows have the label bad, so that scores there show nothing{why.format(7)}",
    ]


def test_a_part_of_one_label_is_named_without_a_limit(lab: Lab) -> None:
    for language in ("en", "sw"):
        lab.edit(language, "dev", lambda rows: [row.update(label="good") for row in rows])
    assert said(lab)[0] == "en dev: all 6 rows have the label good, so that they choose nothing"


def test_validate_says_it(lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    lab.edit("sw", "test", lambda rows: [row.update(label="good") for row in rows])
    assert main(["validate", str(lab.write(ONE_STEP, ("lora",)))]) == 0
    out = capsys.readouterr().out
    assert "! sw test: all 7 rows have the label good, so that scores there show nothing" in out
    assert "! stage1, lora: 1 optimizer step in all, in which next to nothing is learnt" in out


def test_one_step_moves_the_weights_and_is_warned_of(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    folder = run(lab.spec(ONE_STEP, ("lora",)), lab.folder / "runs", 1)
    adapters = [load_file(path) for path in folder.glob("models/*/adapter_model.safetensors")]
    assert len(adapters) == 2
    for tensors in adapters:
        assert max(float(value.abs().max()) for name, value in tensors.items() if "lora_B" in name) > 0
    assert [record.getMessage() for record in caplog.records].count(few_steps(1)) == 2
    assert f"lora: {few_steps(1)}." in label_warnings(read_runs(folder))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_some_step_has_a_rate_above_zero(steps: int, warmup: float) -> None:
    settings = Settings(lr=0.5, epochs=1, batch_size=1, warmup=warmup, precision="fp32")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.lr)
    schedule = new_schedule(optimizer, settings, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) > 0
    if steps > 1:  # as published runs were trained
        top = math.ceil(warmup * steps)
        shares = [k / top if k < top else (steps - k) / (steps - top) for k in range(steps)]
        assert rates == pytest.approx([settings.lr * share for share in shares])


def test_training_rows_of_one_label_are_in_the_report(lab: Lab) -> None:
    for language in ("en", "sw"):
        lab.edit(language, "train", lambda rows: [row.update(label="good") for row in rows])
    folder = run(lab.spec({}, ("lora",)), lab.folder / "runs", 1)
    assert "lora: all train rows had the label good." in label_warnings(read_runs(folder))
