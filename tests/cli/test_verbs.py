"""What each verb prints, for people and for scripts."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import crossflare.experiment.running.plan
import crossflare.experiment.running.run
import crossflare.report
from crossflare.cli import main
from crossflare.errors import UserError
from crossflare.experiment.running.plan import Planned
from crossflare.recipe.grid import Recipe
from crossflare.recipe.read import load_spec, spec_from
from crossflare.recipe.spec import Spec

STEPS = [
    Planned("stage 1", "en, seed 0", "0123456789ab", True),
    Planned("stage 2", "lora [x], es, seed 0", None, False),
]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "recipe.yaml").write_text(
        "name: tiny\ntask: {set: phrasebook}\nsource: en\ntargets: [es]\nmodel: {name: minilm}\nseeds: [0]\n"
        "methods: {zero-shot: , lora: }\n"
    )
    return "recipe.yaml"


def test_the_demo_recipe_is_small_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--print"]) == 0
    text = capsys.readouterr().out
    spec = spec_from(text, Path.cwd())
    assert spec.name == "demo"
    assert {m.name for m in spec.methods} == {"zero-shot", "translate-test", "lora", "flare"}
    trainings = len(spec.seeds) * (1 + 2 * len(spec.targets))  # stage 1, then LoRA and FLARE in each language
    # what a minute of one core trains, with room for slower ones: see the times in README
    assert trainings * spec.task.limit.train * spec.stage2.epochs <= 15_000
    assert "crossflare demo --full" in text
    assert "too few to claim anything" in " ".join(text.replace("#", "").split())


def test_the_full_demo_has_what_a_claim_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--full", "--print"]) == 0
    spec = spec_from(capsys.readouterr().out, Path.cwd())
    assert spec.name == "demo-full"
    assert (len(spec.seeds), len(spec.targets)) == (3, 3)
    assert {"zero-shot", "translate-test", "lora", "flare", "flare-no-source", "ensemble"} == {
        m.name for m in spec.methods
    }


def test_plan_marks_what_is_done(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", lambda spec, root: STEPS)
    assert main(["plan", recipe, "--set", "seeds=[3, 4]", "--runs", "x"]) == 0
    shown = capsys.readouterr().out
    assert "lora [x], es, seed 0" in shown
    assert "1 of 2 steps are done; crossflare run recipe.yaml --set 'seeds=[3, 4]' --runs x makes the other 1" in shown
    assert main(["plan", recipe, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [asdict(step) for step in STEPS]


def test_plan_says_what_failed_and_how_long_the_rest_takes(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [
        Planned("stage 1", "en, seed 0", "0123456789ab", False, seconds=3700.2),
        Planned("stage 2", "lora, es, seed 0", "a" * 12, False, error="the loss is [nan]", like="stage 2 of lora on x"),
        Planned("stage 2", "lora, es, seed 1", "b" * 12, False, like="stage 2 of lora on x"),
    ]
    monkeypatch.setattr(crossflare.experiment.running.plan, "plan", lambda recipe, root: steps)
    assert main(["plan", recipe]) == 0
    shown = capsys.readouterr().out
    assert "✗ stage 2 lora, es, seed 0 failed: the loss is [nan]" in shown
    assert "time left for 1 of them: at most 1 h 2 min with one worker" in shown
    assert "time of 2 of them: unknown until one has run (stage 2 of lora on x)" in shown


def test_a_dry_run_counts_and_opens_nothing(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hub's name is not fetched, a set not opened: what is shared is counted once."""
    monkeypatch.setattr("crossflare.experiment.data.rows.open_set", None)
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "name: big\ntask: {set: xnli}\nsource: en\ntargets: [sw, ur]\nmodel: {name: nobody/knows-it}\n"
        "seeds: [0, 1, 2]\nmethods: {zero-shot: , lora: {lr: [1e-3, 2e-3]}}\n"
        "grid:\n  rank: {r4: {stage2: {r: 4}}, r8: }\n  base: {one: , two: {model: {name: other/one}}}\n"
    )
    assert main(["run", "grid.yaml", "--dry-run"]) == 0
    # stage 1: 2 models, 3 seeds; in 4 cells and 2 languages 2 trials and 2 more seeds; 2 methods, 2 languages, 3 seeds
    said = "4 cells, 6 stage-1 models, 32 adapters, 48 predictions; what cells share is made once; nothing was run"
    shown = capsys.readouterr().out
    assert said in shown
    assert "knows-it" in shown
    assert main(["run", "grid.yaml", "--dry-run", "--only", "rank=r8,base=two"]) == 0
    assert "1 cells, 3 stage-1 models, 8 adapters, 12 predictions; nothing was run" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"grid.yaml", "recipe.yaml"}


def test_a_dry_run_names_the_files_that_are_not_there(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text(
        "name: own\nsource: en\ntargets: [es]\nmodel: {name: ./no-model}\nseeds: [0]\nmethods: {lora: }\n"
        "task:\n  labels: [a, b]\n  texts: [t]\n  label: l\n  files:\n"
        "    en: {train: recipe.yaml, dev: recipe.yaml}\n    es: {train: recipe.yaml, dev: x.csv, test: recipe.yaml}\n"
        "grid: {rank: {r4: {stage2: {r: 4}}, r8: }}\n"
    )
    assert main(["run", "own.yaml", "--dry-run"]) == 2
    said = capsys.readouterr().err
    place = tmp_path / "x.csv"
    assert f"error: task.files.es.dev: expected a file or folder at {place}, found none (cells r4; r8)" in said
    assert f"error: model.name: expected a file or folder at {tmp_path}/no-model, found none (cells r4; r8)" in said


def test_validate_reads_every_cell(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (tmp_path / recipe).read_text() + "grid: {size: {few: {task: {limit: {train: 30}}}, more: }}\n"
    (tmp_path / "grid.yaml").write_text(text)
    assert main(["validate", "grid.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "✓ grid.yaml (few): 2 methods, 1 targets, 1 seeds" in shown
    assert "✓ grid.yaml (more): 2 methods, 1 targets, 1 seeds" in shown


@pytest.mark.parametrize("verb", ["run", "demo", "demo --full"])
def test_run_hands_over_the_recipe_and_reports(
    verb: str, recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Spec, Path, int | None, dict[str, Any]]] = []

    def run(recipe: Recipe, root: Path, workers: int | None = None, **options: Any) -> Path:
        asked.append((recipe.cells[0].spec, root, workers, options))
        return root / recipe.name

    def build(folder: Any) -> crossflare.report.Report:
        return crossflare.report.Report(
            folder, Path("j"), Path("c"), Path("report.md"), None, "no page: pip install x[report]"
        )

    monkeypatch.setattr(crossflare.experiment.running.run, "run", run)
    monkeypatch.setattr(crossflare.report, "build_report", build)
    monkeypatch.setattr(crossflare.report, "console_table", lambda results: f"table of {results}")
    words = [
        *verb.split(),
        *([recipe] if verb == "run" else []),
        "--set",
        "seeds=[7]",
        "--runs",
        "elsewhere",
        "--workers",
        "2",
    ]
    assert main(words) == 0
    ((spec, root, workers, options),) = asked
    assert (spec.seeds, root, workers) == ((7,), Path("elsewhere"), 2)
    assert options == {"ray": None, "remake": False}
    shown = capsys.readouterr().out
    assert f"table of elsewhere/{spec.name}" in shown
    assert "report: report.md" in shown
    assert "no page: pip install x[report]" in shown


@pytest.mark.parametrize(
    ("words", "workers", "waits"), [(["demo"], 1, "passive"), (["demo", "--full"], None, None), (["run"], None, None)]
)
def test_the_small_demo_starts_no_process_and_its_threads_do_not_spin(
    words: list[str], workers: int | None, waits: str | None, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int | None, str | None]] = []

    def run(recipe: Recipe, root: Path, workers: int | None = None, **options: Any) -> Path:
        asked.append((workers, os.environ.get("OMP_WAIT_POLICY")))
        raise UserError("that is all")

    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # put back after, whatever the verb sets
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(crossflare.experiment.running.run, "run", run)
    assert main([*words, *([recipe] if words == ["run"] else [])]) == 2
    assert asked == [(workers, waits)]


def test_validate_counts_the_rows(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", recipe, "--set", "task.limit.train=30"]) == 0
    shown = capsys.readouterr().out
    assert "✓ recipe.yaml: 2 methods, 1 targets, 1 seeds" in shown
    assert [line.split()[:2] for line in shown.splitlines() if line.strip().startswith(("en", "es"))] == [
        ["en", "30"],
        ["es", "30"],
    ]


def test_validate_says_what_a_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for part in ("train", "dev", "test"):
        rows = "".join(f"{part} {row},{'yes' if row % 2 else 'no'}\n" for row in range(6))
        (tmp_path / f"{part}.csv").write_text(f"text,label\n{rows}")
    (tmp_path / "own.yaml").write_text(
        "name: own\nsource: en\ntargets: [es]\nseeds: [0]\nmodel: {name: minilm}\nmethods: {zero-shot: }\n"
        "task:\n  files: {en: {train: train.csv, dev: dev.csv}, es: {train: train.csv, dev: dev.csv, test: test.csv}}\n"
        '  texts: [text]\n  label: label\n  labels: ["no", "yes"]\n  limit: {train: 4, test: 9}\n'
    )
    assert main(["validate", "own.yaml"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith(("en", "es"))]
    assert rows == [["en", "4", "of", "6", "6", "none"], ["es", *["not", "read"] * 2, "6"]]


def test_validate_writes_the_recipe_out(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", recipe, "--resolved", "--set", "stage2.lr=1e-4"]) == 0
    (tmp_path / "resolved.yaml").write_text(capsys.readouterr().out)
    assert load_spec(tmp_path / "resolved.yaml") == load_spec(Path(recipe), ["stage2.lr=1e-4"])


def test_languages_by_tag_name_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    for query in ("sw", "Swahili", "swh_Latn", "SWAHILI"):
        assert main(["languages", query, "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert (row["tag"], row["nllb"]) == ("sw", "swh_Latn")
    assert main(["languages", "arab", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) > 5
    assert main(["languages"]) == 0
    assert "languages" in capsys.readouterr().out.splitlines()[-1]


def test_a_language_called_nan_or_no_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    for query in ("nan", "no"):
        assert main(["languages", query, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == 1


def test_doctor_says_what_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CROSSFLARE_DATA", "/no/such/folder")
    assert main(["doctor", "--json"]) == 0
    checks = {(check["group"], check["name"]): check for check in json.loads(capsys.readouterr().out)}
    assert all(checks["versions", name]["ok"] for name in ("python", "torch", "transformers", "peft"))
    assert checks["data", "CROSSFLARE_DATA"]["found"] == "/no/such/folder is no folder"
    assert checks["translation", "dictionary"]["ok"]
    assert {name for group, name in checks if group == "extras"} >= {"report", "demo", "mt"}
    assert main(["doctor"]) == 0
    assert "✓ ready" in capsys.readouterr().out


def test_doctor_prints_each_check_when_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crossflare.cli import doctor
    from crossflare.cli.doctor import Check

    shown: list[str] = []

    def slowly() -> Iterator[Check]:
        for name in ("one", "two"):
            yield Check("group", name, True, "here")
            shown.append(capsys.readouterr().out)

    monkeypatch.setattr(doctor, "examine", slowly)
    assert main(["doctor"]) == 0
    assert [line.split() for line in shown] == [["group", "✓", "one", "here"], ["✓", "two", "here"]]


def test_doctor_says_which_version_is_not_tested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crossflare.cli import doctor

    monkeypatch.setattr(doctor, "outside", lambda name: "newer than tested (<1)" if name == "peft" else None)
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["peft"]["found"].endswith(", newer than tested (<1): run `crossflare doctor --self-test`")
    assert "tested" not in checks["torch"]["found"]


def test_doctor_fails_where_something_needed_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crossflare.cli import doctor

    real = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda name: None if name in ("peft", "jinja2") else real(name))
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "needed and not right: peft" in shown
    assert 'pip install "crossflare[report]"' in shown


def test_doctor_shows_what_would_fuse(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from transformers import LlamaConfig

    LlamaConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, vocab_size=50
    ).save_pretrained(tmp_path)
    assert main(["doctor", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stacks"][0]["projections"] == ["self_attn.q_proj", "self_attn.v_proj"]
    assert found["fusing"] == 6
    assert found["stacks"][0]["norm"].startswith("pre-norm")
    assert main(["doctor", str(tmp_path / "nothing")]) == 2
    assert "error: model '" in capsys.readouterr().err


def test_languages_of_an_engine_and_ways_between_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["languages", "--engine", "mbart", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 52
    assert main(["languages", "--pair", "en-oc"]) == 0
    said = capsys.readouterr().out
    assert "English to Occitan" in said
    assert "via: es" in said
    assert main(["languages", "--pair", "en-oc", "--engine", "nllb", "--json"]) == 0
    (way,) = json.loads(capsys.readouterr().out)
    assert (way["source"], way["target"], way["works"]) == ("eng_Latn", "oci_Latn", True)
    assert main(["languages", "ar"]) == 0
    assert "read as Modern Standard Arabic" in " ".join(capsys.readouterr().out.split())
    for wrong, message in (
        (["--pair", "en-swahilli"], "expected two languages"),
        (["bbc", "--engine", "nllb"], "nllb does not have Toba Batak (bbc)"),
        (["sw", "--pair", "en-oc"], "found both"),
        (["--engine", "nlb"], "did you mean 'nllb'"),
    ):
        assert main(["languages", *wrong]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
