"""Versions outside of the tested range are told in one line, once, and never by the workers of a run."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from crossflare.cli import main
from crossflare.libraries import guard
from crossflare.libraries.guard import SAID, UntestedVersions, news, warn_once

TESTED = ["torch<2.15,>=2.10", "transformers<5.25,>=5.15", "peft<0.21.3,>=0.21", "ctranslate2>=4.5; extra == 'ct2'"]
RIGHT = {"torch": "2.13.1+cu130", "transformers": "5.24.0", "peft": "0.21.2"}
TRANSFORMERS = "transformers 5.25.0 is newer than tested (>=5.15,<5.25): run `crossflare doctor --self-test`"
RECIPE = """\
name: tiny
task: {set: phrasebook}
source: en
targets: [es]
model: {name: minilm}
seeds: [0]
methods: {lora: }
"""

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what puts other versions in place of those that are installed; nothing has been said yet."""
    monkeypatch.setenv(SAID, "")  # so that what is said here is forgotten afterwards
    monkeypatch.setattr(guard, "requires", lambda name: TESTED)

    def put(**versions: str) -> None:
        there = RIGHT | versions
        guard.tested.cache_clear()
        guard.untested_line.cache_clear()

        def version(name: str) -> str:
            if name not in there:
                raise PackageNotFoundError(name)
            return there[name]

        monkeypatch.setattr(guard, "version", version)

    yield put
    guard.tested.cache_clear()
    guard.untested_line.cache_clear()


def test_tested_versions_are_no_news(install: Install) -> None:
    install()
    assert news() is None


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"transformers": "5.25.0"}, TRANSFORMERS),
        ({"transformers": "5.25.0.dev0"}, TRANSFORMERS.replace("5.25.0", "5.25.0.dev0")),
        ({"torch": "2.12.1"}, "torch 2.12.1 is older than tested (==2.13.*): run `crossflare doctor --self-test`"),
        ({"ctranslate2": "4.4"}, "ctranslate2 4.4 is older than tested (>=4.5): run `crossflare doctor --self-test`"),
        (
            {"torch": "2.14.0", "peft": "0.22.0"},
            "torch 2.14.0 is newer than tested (==2.13.*), peft 0.22.0 is newer than tested (>=0.21,<0.21.3): run "
            "`crossflare doctor --self-test`",
        ),
    ],
)
def test_the_line(install: Install, versions: dict[str, str], said: str) -> None:
    install(**versions)
    assert news() == said
    assert news() is None  # once


def test_sources_that_are_not_installed(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(transformers="9.0")

    def nothing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(guard, "requires", nothing)
    assert news() is None


def test_a_warning_of_its_own_class_once(install: Install) -> None:
    install(transformers="5.25.0")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_once()
        warn_once()
    assert [(each.category, str(each.message)) for each in caught] == [(UntestedVersions, TRANSFORMERS)]


def test_it_can_be_switched_off(install: Install) -> None:
    install(transformers="5.25.0")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore", UntestedVersions)
        warn_once()
    assert caught == []


def test_processes_that_this_one_starts_are_silent(install: Install) -> None:
    install(transformers="5.25.0")
    program = f"""
from crossflare.libraries import guard
guard.untested = lambda: {guard.untested()!r}
print(guard.news())
"""

    def child() -> str:
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert child() == f"{TRANSFORMERS}\n"
    news()
    assert child() == "None\n"


def test_it_imports_nothing_heavy() -> None:
    program = "import sys; from crossflare.libraries.guard import news; news(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "peft"} & set(done.stdout.split())


def test_run_and_predict_say_it_on_standard_error(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install(transformers="5.25.0")
    monkeypatch.setattr("crossflare.experiment.running.run.run", lambda *_, **__: tmp_path)
    monkeypatch.setattr("crossflare.cli.experiments._report", lambda folder: None)
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE)
    assert main(["run", "tiny.yaml"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0] == f"note: {TRANSFORMERS}"
    assert main(["run", "tiny.yaml"]) == 0
    assert "note:" not in capsys.readouterr().err  # once
    install(transformers="5.26.0")
    asked = ["--adapter", "nothing", "--input", "in.csv", "--output", "out.csv", "--no-source"]
    assert main(["predict", *asked]) == 2
    assert capsys.readouterr().err.startswith("note: transformers 5.26.0 is newer than tested")
