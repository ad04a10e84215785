"""A record that was cut off, edited or written by another version is named, not reported, and made again if asked."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

import crossflare.experiment.making.make as making
from crossflare.errors import UserError
from crossflare.evaluation.record import load_record
from crossflare.experiment.running.run import run
from crossflare.recipe.spec import Spec
from fake_steps import FakeMake
from tiny_experiment import Lab


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    files = {language: lab.recipe["task"]["files"][language] for language in ("en", "es")}
    return lab.spec({"targets": ["es"], "task.files": files, "seeds": [0]}, ("translate-test", "lora", "ensemble"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMake:
    made = FakeMake()
    monkeypatch.setattr(making, "make", made)
    return made


@pytest.fixture
def ran(spec: Spec, fake: FakeMake, tmp_path: Path) -> Path:
    folder = run(spec, tmp_path, workers=1)
    fake.made.clear()
    return folder


def record_of(folder: Path, method: str) -> Path:
    names = {json.loads(path.read_text())["method"]["name"]: path for path in folder.glob("records/*.json")}
    return names[method]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 4'))


def older(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))


def swap_predictions(path: Path) -> None:
    place = path.parent.parent / json.loads(path.read_text())["predictions"]
    place.write_text(place.read_text().replace('"prediction": 0', '"prediction": 1'))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "{record}: expected JSON, but it is damaged"),
        (edit, "{record}: expected the record as it was saved, found it changed (its sha256 differs)"),
        (older, "{record}: expected a record of format 1, got 0"),
        (swap_predictions, "{predictions}: expected the predictions as saved, found them changed (sha256 differs)"),
    ],
)
def test_a_record_that_cannot_be_believed(
    spec: Spec, fake: FakeMake, ran: Path, spoil: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = record_of(ran, "lora")
    places = {"record": str(record), "predictions": str(ran / "predictions" / f"{record.stem}.jsonl")}
    spoil(record)
    with pytest.raises(UserError) as caught:
        run(spec, ran.parent, workers=1)
    assert str(caught.value).startswith(said.format(**places))
    assert str(caught.value).endswith("no report is made over such records: run again with --remake to make them again")
    assert fake.made == []
    with caplog.at_level(logging.WARNING):
        run(spec, ran.parent, workers=1, remake=True)
    assert fake.made == ["predict lora, es, seed 0", "predict ensemble, es, seed 0"]  # and what was averaged from it
    assert caplog.messages[0].startswith("made again: " + said.format(**places))
    assert [load_record(path).seed for path in ran.glob("records/*.json")] == [0, 0, 0]
    run(spec, ran.parent, workers=1)
    assert len(list(ran.glob("records/damaged/*.json"))) == 2  # kept, to be looked at


def test_a_record_under_another_name(spec: Spec, ran: Path) -> None:
    lora, other = record_of(ran, "lora"), record_of(ran, "translate-test")
    shutil.copy(other, lora)
    with pytest.raises(UserError, match=rf"{lora}: .*{other.stem}"):
        run(spec, ran.parent, workers=1)


def test_whole_records_are_left_alone(spec: Spec, fake: FakeMake, ran: Path) -> None:
    run(spec, ran.parent, workers=1, remake=True)
    assert fake.made == []
