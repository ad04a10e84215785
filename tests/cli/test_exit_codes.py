"""How a command ends: 0, 1, 2, 130 or 143, and what it was about in `--json`."""

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import crossflare.experiment.running.plan
import crossflare.experiment.running.run
from crossflare.cli import main
from crossflare.disk import files
from crossflare.errors import UserError
from crossflare.experiment.running.board import Failure
from crossflare.experiment.running.run import StepsFailedError
from crossflare.training.forms.protocol import choices

RECIPE = """\
name: tiny
task: {set: phrasebook}
source: en
targets: [es]
model: {name: minilm}
seeds: [0]
methods: {zero-shot: , lora: }
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "folder").mkdir()
    return tmp_path


def ends(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, list[str]]:
    """Return the exit code, the kind, and the lines of error."""
    code = main([*words, "--json"])
    shown = capsys.readouterr()
    said: dict[str, Any] = json.loads(shown.out)["error"]
    assert said["exit"] == code
    assert all(line in shown.err for line in said["lines"])
    return code, said["kind"], said["lines"]


def raising(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_success_is_0_and_says_nothing_of_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["languages", "--json"]) == 0
    assert "error" not in json.loads(capsys.readouterr().out)
    assert main(["--version", "--json"]) == 0


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["frob"], "usage"),
        (["run"], "usage"),
        (["plan", "nothing.yaml"], "usage"),
        (["run", "recipe.yaml", "--set", "seeds=[a]"], "usage"),
        (["languages", "swahilli"], "usage"),
        (["validate", "folder"], "artefact"),
        (["predict", "--adapter", "folder", "--input", "x.csv", "--output", "y.csv"], "artefact"),
    ],
)
def test_a_users_mistake_is_2_with_its_kind(
    place: Path, words: list[str], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(capsys, *words)[:2] == (2, kind)


def test_bad_rows_are_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "rows.csv").write_bytes(b"text,label\n\xff\xfe,a\n")
    files_of = "{en: {train: rows.csv, dev: rows.csv}, es: {train: rows.csv, dev: rows.csv, test: rows.csv}}"
    recipe = RECIPE.replace("{set: phrasebook}", f"{{labels: [a, b], texts: [text], label: label, files: {files_of}}}")
    (place / "own.yaml").write_text(recipe)
    code, kind, lines = ends(capsys, "validate", "own.yaml")
    assert (code, kind) == (2, "data"), lines


def test_a_full_disk_is_disk(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", raising(full))
    assert ends(capsys, "plan", "recipe.yaml")[:2] == (2, "disk")

    def save(*_: object) -> None:
        monkeypatch.setattr(os, "replace", raising(full))
        files.write_atomic(place / "file", "text")

    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", save)
    assert ends(capsys, "plan", "recipe.yaml")[:2] == (2, "disk")


def test_an_error_of_the_system_that_is_ours_is_internal(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", raising(OSError(errno.EBADF, "bad handle")))
    assert ends(capsys, "plan", "recipe.yaml")[:2] == (1, "internal")
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", raising(KeyError("gone")))
    code, kind, lines = ends(capsys, "plan", "recipe.yaml")
    assert (code, kind, lines) == (1, "internal", ["internal error: KeyError: 'gone'"])


def test_numbers_that_are_not_finite_are_numbers() -> None:
    import torch

    with pytest.raises(UserError) as caught:
        choices(torch.full((2, 3), float("nan")), torch.zeros(2, 3))
    assert caught.value.kind == "numbers"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_in_order(
    place: Path, number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def work(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(number)
        finally:
            done.append("tidied")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", work)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs in the background may have it ignored
    assert ends(capsys, "plan", "recipe.yaml")[:2] == (code, "interrupted")
    assert done == ["tidied"]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("kind", ["data", "artefact", "disk", "numbers"])
def test_the_kind_of_a_failed_step_is_that_of_the_run(
    place: Path, kind: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = Failure.of("id", "stage1", "label", UserError("it", kind), [])
    assert (mark.about, mark.trace) == (kind, ())
    error = StepsFailedError("1 step failed", ours=False, kind=mark.about)
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", raising(error))
    assert ends(capsys, "plan", "recipe.yaml")[:2] == (2, kind)
    mark = Failure.of("id", "stage1", "label", KeyError("it"), [])
    assert mark.about == "internal"
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", raising(StepsFailedError("1", ours=True)))
    assert ends(capsys, "plan", "recipe.yaml")[:2] == (1, "internal")


def test_an_error_about_an_error_is_about_the_same() -> None:
    def fails() -> None:
        try:
            raise UserError("the disk is full", "disk")
        except UserError as error:
            raise UserError(f"training stopped: {error}") from error

    with pytest.raises(UserError) as caught:
        fails()
    assert caught.value.kind == "disk"
    assert UserError("any").kind == "usage"
