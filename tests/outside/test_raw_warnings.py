"""Nothing that a library says to its developers reaches a user raw; it is kept, and what is ours is one line."""

import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from crossflare.cli import main
from crossflare.evaluation.record import load_record
from crossflare.experiment.running.run import run
from crossflare.libraries.heard import collecting, listening, so_far
from tiny_experiment import Lab


def from_library(message: str, category: type[Warning]) -> None:
    warnings.warn_explicit(message, category, "/usr/lib/python3/site-packages/peft/tuners.py", 3)


def from_us(message: str) -> None:
    import crossflare.training.bases.load as place

    warnings.warn_explicit(message, UserWarning, str(place.__file__), 3)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.mark.parametrize("category", [UserWarning, FutureWarning, DeprecationWarning, RuntimeWarning])
def test_a_library_s_warning_is_kept_and_not_shown(
    told: list[str], category: type[Warning], capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(told.append), collecting():
        from_library("is_gradient_checkpointing\n  is deprecated", category)
        kept = so_far()
    assert told == []
    assert capsys.readouterr().err == ""
    name = "" if category is UserWarning else f"{category.__name__}: "
    assert kept == [f"{name}is_gradient_checkpointing is deprecated"]


def test_our_own_warning_is_one_line_once(told: list[str]) -> None:
    with listening(told.append), collecting():
        for _ in range(3):
            from_us("model 'x' has no weights for\n pooler: they start at random")
        kept = so_far()
    assert told == kept == ["model 'x' has no weights for pooler: they start at random"]


def test_logs_of_libraries_are_kept_and_ours_are_lines(told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("huggingface_hub.a")
    top = logging.getLogger("huggingface_hub")
    __import__("huggingface_hub")
    own = logging.StreamHandler()  # as libraries bring them
    top.addHandler(own)
    with listening(told.append), collecting():
        library.warning("Failed to load %s\nfrom kernels", "gemm")
        logging.getLogger("crossflare.training.loop.fit").warning("1 optimizer step in all")
        kept = so_far()
    assert own not in top.handlers
    assert told == ["1 optimizer step in all"]
    assert kept == ["Failed to load gemm from kernels", "1 optimizer step in all"]
    assert capsys.readouterr().err == ""


def test_from_python_warnings_appear_as_they_always_do() -> None:
    with warnings.catch_warnings(record=True) as shown, collecting():
        warnings.simplefilter("always")
        from_library("old", FutureWarning)
        assert so_far() == ["FutureWarning: old"]
    assert [str(each.message) for each in shown] == ["old"]
    assert so_far() == []


def test_the_filters_of_python_are_as_before(told: list[str]) -> None:
    before = list(warnings.filters), warnings.showwarning, list(logging.getLogger().handlers)
    with pytest.raises(RuntimeError), listening(told.append), collecting():
        raise RuntimeError
    assert (list(warnings.filters), warnings.showwarning, list(logging.getLogger().handlers)) == before


def test_what_was_said_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import crossflare.experiment.making.models as place

    adapted = place._adapted

    def noisy(*given: object) -> object:
        from_library("said by a library", RuntimeWarning)
        return adapted(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(place, "_adapted", noisy)
    lab = Lab(tmp_path / "lab", languages=("sw",), seeds=(0,))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        folder = run(lab.spec({}, ("zero-shot",)), lab.folder / "runs", workers=1)
    record = load_record(next((folder / "records").glob("*.json")))
    assert "RuntimeWarning: said by a library" in record.warnings
    assert "warnings" not in record.training


def test_an_older_record_without_them_is_read(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", languages=("sw",), seeds=(0,))
    folder = run(lab.spec({}, ("zero-shot",)), lab.folder / "runs", workers=1)
    path = next((folder / "records").glob("*.json"))
    from crossflare.evaluation.record import sealed

    older = {name: value for name, value in json.loads(path.read_text()).items() if name != "warnings"}
    path.write_text(json.dumps(sealed(older)))
    assert load_record(path).warnings == []
    assert main(["report", str(folder)]) == 0


OURS = ("note: ", "error: ", "tiny: ", "step ", "steps ", "time of the steps: ")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_commands_say_nothing_that_is_not_ours(tmp_path: Path, workers: str) -> None:
    lab = Lab(tmp_path / "lab", languages=("sw",), seeds=(0,))
    recipe = str(lab.write({}, ("zero-shot", "lora", "flare")))
    runs = lab.folder / "runs"
    adapter = runs / "tiny" / "adapters" / "flare-sw-seed0"
    out = ["--output", str(tmp_path / "out.csv"), "--no-source"]
    for words in (
        ["validate", recipe],
        ["run", recipe, "--dry-run"],
        ["run", recipe, "--runs", str(runs), "--workers", workers],
        ["report", str(runs / "tiny")],
        ["predict", "--adapter", str(adapter), "--input", str(lab.data("sw", "test")), *out],
        ["doctor"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "crossflare", *words],
            capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "", "COLUMNS": "300"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert [line for line in done.stderr.splitlines() if not line.startswith(OURS)] == [], words
        assert "Warning" not in done.stdout
