"""Errors become lines and exit codes in one place; help starts fast and loads nothing heavy."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import crossflare.experiment.running.plan
import crossflare.experiment.running.run
from crossflare.cli import main
from crossflare.errors import UserError
from crossflare.experiment.running.run import StepsFailedError

RECIPE = """\
name: tiny
task: {set: phrasebook}
source: en
targets: [es]
model: {name: minilm}
seeds: [0]
methods: {zero-shot: , lora: }
"""
VERBS = ["demo", "run", "plan", "report", "predict", "translate", "validate", "doctor", "languages", "methods"]
VERBS += ["schema", "push", "export"]
HEAVY = ["torch", "transformers", "peft", "datasets", "sklearn", "scipy", "matplotlib", "pyarrow"]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return "recipe.yaml"


def raising(error: BaseException) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def loaded_after(code: str) -> set[str]:
    report = f"\nimport sys\nprint('LOADED', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("words", [["-h"], *([verb, "-h"] for verb in ("run", "predict", "doctor"))])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    assert loaded_after(f"from crossflare.cli import main; main({words})") == set()


def test_the_first_lines_of_doctor_need_nothing_heavy() -> None:
    """What takes seconds to import comes last: versions, extras, engines and data are known before it."""
    code = "from crossflare.cli.doctor import examine\nfor check in examine():\n if check.group == 'data': break"
    assert loaded_after(code) == set()


def test_control_the_look_at_loaded_modules_sees_them() -> None:
    assert loaded_after("import crossflare.cli, pyarrow") == {"pyarrow"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "-h"]) == 0
    shown = capsys.readouterr().out
    assert "Examples" in shown
    assert f"crossflare {verb}" in shown.partition("Examples")[2]


def test_the_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in VERBS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"crossflare {version('crossflare')}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "error: No such command 'rnu'"),
        (["run"], "error: Missing argument 'RECIPE'; see crossflare run -h"),
        # typer's words have changed between releases: any of these.
        (["run", "a.yaml", "--sett", "x"], ("error: No such option: --sett", "error: No such option '--sett'")),
        (
            ["run", "recipe.yaml", "--workers", "0"],
            (
                "error: Invalid value for '--workers': Input should be greater than or equal to 1",
                "error: Invalid value for '--workers': 0 is not in the range x>=1",
            ),
        ),
        (["plan", "nothing.yaml"], "error: nothing.yaml: expected a YAML file, but it cannot be read (No such file"),
        (["report", "nothing"], "error: nothing: expected a run folder, found none"),
        (["validate", "."], "error: .: no manifest.json: not saved by crossflare"),
        (["languages", "swahilli"], "error: unknown language 'swahilli': did you mean 'Swahili'?"),
    ],
)
def test_a_users_mistake_is_one_line_and_two(
    recipe: str, words: list[str], said: str | tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(said)
    assert shown.err.count("\n") == 1


def test_many_mistakes_are_as_many_lines(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", recipe, "--set", "seeds=[a]", "--set", "stage1.epohcs=3", "--set", "sourc=en"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("error: --set ") for line in lines[:3])
    assert lines[3] == "3 mistakes; nothing was run"


def test_an_interrupt_says_how_to_go_on(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crossflare.experiment.running.run, "run", raising(KeyboardInterrupt()))
    assert main(["run", recipe]) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "interrupted: what is finished is kept; the same command goes on from there"


def test_a_fault_of_ours_is_one_line_unless_debug(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", raising(KeyError("gone\nmissing")))
    assert main(["plan", recipe]) == 1
    shown = capsys.readouterr().err
    assert "internal error: KeyError: 'gone\\nmissing'" in shown
    assert "--debug" in shown
    assert "Traceback" not in shown
    assert main(["plan", recipe, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_users_mistake_shows_no_traceback_but_with_debug(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", raising(UserError("correct it")))
    assert main(["plan", recipe]) == 2
    assert capsys.readouterr().err == "error: correct it\n"
    assert main(["--debug", "plan", recipe]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_a_file_says_cannot_drive_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.yaml").write_text('name: "\\e[31mred [bold]markup[/bold]"\nseeds: [0]')
    assert main(["validate", str(tmp_path / "evil.yaml")]) == 2
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "[bold]markup[/bold]" in shown


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "crossflare", "frob"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: No such command 'frob'")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m crossflare languages | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(("ours", "code"), [(True, 1), (False, 2)])
def test_steps_that_failed_by_a_fault_of_the_program_are_no_mistake_of_the_user(
    ours: bool, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise StepsFailedError("1 of 2 steps failed", ours=ours)

    monkeypatch.setattr("crossflare.cli.checking._validate_recipe", fails)
    assert main(["validate", str(tmp_path / "recipe.yaml")]) == code
