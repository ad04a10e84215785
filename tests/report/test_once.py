"""A report reads each file once, and resamples each method in each language once for each kind of value."""

import ast
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import change_record, write_examples

from crossflare.evaluation import calibration, significance
from crossflare.evaluation.predictions import PACKED, Predictions, load_predictions, pack, packed_text, rows_file
from crossflare.report import build, build_report, console_table, contents, details, grid, page, resample, results

Make = Callable[..., Path]
WATCHED: list[tuple[Path, Counter[str]]] = []
"""Folders that are watched, each with the files that were opened in it."""


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHED and event == "open" and isinstance(arguments[0], str | Path):
        for folder, opened in WATCHED:
            path = Path(arguments[0])
            if path.is_relative_to(folder):
                opened[path.relative_to(folder).as_posix()] += 1


sys.addaudithook(_see)


@contextmanager
def watched(folder: Path) -> Generator[Counter[str]]:
    """Count how often each file of a folder is opened, by whatever way."""
    opened = Counter[str]()
    WATCHED.append((folder, opened))
    try:
        yield opened
    finally:
        WATCHED.pop()


def inputs(folder: Path) -> set[str]:
    """Return the files that a report is made of."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def count_calls(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, calls: list[Any], of: Callable[..., Any]
) -> None:
    """Note `of` the arguments of each call of a module's function."""
    real = getattr(module, name)

    def spied(*arguments: Any, **options: Any) -> Any:
        calls.append((name, of(*arguments, **options)))
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, spied)


def with_temperatures(folder: Path) -> Path:
    """Give the records temperatures, and their rows log-probabilities."""
    for path in sorted((folder / "records").glob("*.json")):
        record = json.loads(path.read_text())
        place = folder / record["predictions"]
        rows = [json.loads(line) for line in place.read_text().splitlines()]
        for row in rows:
            row["log_probabilities"] = np.log(np.where(np.arange(3) == row["prediction"], 0.6, 0.2)).tolist()
        place.write_text("".join(json.dumps(row) + "\n" for row in rows))
        change_record(path, calibration={"temperature": 1.5, "language": record["language"], "rows": 9})
    return folder


def with_packed_predictions(folder: Path) -> Path:
    """Pack the predictions, as a published run has them: all records share the rows."""
    for path in sorted((folder / "records").glob("*.json")):
        record = json.loads(path.read_text())
        old = folder / record["predictions"]
        found = load_predictions(old)
        assert isinstance(found, Predictions)
        rows, said = pack(found, "CC0")
        (old.parent / rows_file(said)).write_text(packed_text(rows))
        new = old.with_name(f"{record['run_id']}{PACKED}")
        new.write_text(packed_text(said))
        old.unlink()
        change_record(path, predictions=f"predictions/{new.name}")
    return folder


@pytest.fixture
def folder(make: Make) -> Path:
    run = make(methods={"lora": 0.6, "flare": 0.7}, languages={"ace": 0.0, "ban": 0.1}, number=30, seeds=2)
    write_examples(run, "ace", 30)
    return run


def test_every_file_is_opened_once(folder: Path) -> None:
    wanted = inputs(folder)
    with watched(folder) as opened:
        console_table(build_report(folder).contents)
    assert {name: opened[name] for name in wanted} == dict.fromkeys(wanted, 1)


def test_so_are_packed_predictions_and_the_rows_that_they_share(folder: Path) -> None:
    shutil.rmtree(folder / "examples")  # the page alone shows them
    wanted = inputs(with_packed_predictions(folder))
    assert sum("rows-" in name for name in wanted) < sum(PACKED in name for name in wanted)
    with watched(folder) as opened:
        contents.contents_of(results.collect(folder))
    assert {name: opened[name] for name in wanted} == dict.fromkeys(wanted, 1)


def test_so_are_answers(make_answers: Make) -> None:
    folder = make_answers(seeds=1)
    wanted = inputs(folder)
    with watched(folder) as opened:
        contents.contents_of(results.collect(folder))
    assert {name: opened[name] for name in wanted} == dict.fromkeys(wanted, 1)


def test_control_a_second_reading_is_seen(folder: Path) -> None:
    path = next((folder / "records").glob("*.json"))
    with watched(folder) as opened:
        path.read_bytes()
        shutil.copyfile(path, folder / "copy")
    assert opened[f"records/{path.name}"] == 2


def test_a_method_in_a_language_is_resampled_once_for_each_kind_of_value(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores of all methods of a language come from one drawing; labels and calibration have one each."""
    with_temperatures(folder)
    calls: list[Any] = []
    drawings: list[Any] = []

    def languages(runs: Sequence[Any]) -> list[str]:
        return sorted({run.record.language for run in runs})

    count_calls(monkeypatch, resample, "resample", calls, languages)
    for module in (significance, calibration):
        count_calls(monkeypatch, module, "resampled", drawings, lambda ids, *_: tuple(ids))
    for name in ("label_scores", "sample_errors"):
        count_calls(monkeypatch, details, name, calls, lambda ids, gold, said, *_: np.asarray(said).tobytes())
    differences: list[Any] = []
    count_calls(monkeypatch, results, "paired_difference", differences, lambda a, b: (a.items, a.observed.tobytes()))
    report = build_report(folder)
    console_table(report.contents)
    found = report.results
    assert len(differences) == len(found.contrasts), "of two methods there is one pair for each metric and column"
    assert Counter(name for name, _ in calls) == {
        "resample": len(found.folder.languages),
        "label_scores": len(found.per_label),
        "sample_errors": 2 * len(found.calibrated),  # as the models say it, and with the temperature
    }
    assert len(found.calibrated) == len(found.folder.methods) * len(found.folder.languages)
    assert len(drawings) == len(calls), "nothing else is resampled"
    once = [each for each in calls if each[0] != "sample_errors"]  # methods may be equally sure of all rows
    assert len({repr(each) for each in once}) == len(once)


ONCE = {
    results: ("read_runs", "samples_of", "compare_pairs", "per_label", "calibrations", "costs", "powers"),
    contents: ("summary", "data_grids", "descriptions", "score_list", "sections", "environment"),
    page: ("worst_examples", "coverage_figures", "curve_blocks"),
    build: ("collect", "contents_of", "to_json", "to_text", "render_page"),
}
"""Module -> what is made once for all forms of a report."""


def test_values_and_tables_are_made_once_for_all_forms(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    for module, names in ONCE.items():
        for name in names:
            count_calls(monkeypatch, module, name, calls, lambda *_: None)
    for name in ("scores", "contrasts"):
        count_calls(monkeypatch, contents, name, calls, lambda _, metric: metric)
    made = build_report(folder)
    console_table(made.contents)
    metrics = made.results.metrics
    wanted = [(name, None) for names in ONCE.values() for name in names]
    wanted += [(name, metric) for name in ("scores", "contrasts") for metric in metrics]
    assert Counter(calls) == Counter(wanted)


RENDERERS = ("to_markdown", "to_csv", "to_latex", "to_terminal")


def test_a_table_and_its_renderers_know_nothing_of_reports() -> None:
    trees = {path.stem: ast.parse(path.read_text("utf-8")) for path in Path(grid.__file__).parent.glob("*.py")}
    assert {name for name in _imported(trees["grid"]) if name.startswith("crossflare")} == {
        "crossflare.evaluation.significance"
    }
    assert {node.name for node in trees["grid"].body if isinstance(node, ast.FunctionDef)} >= set(RENDERERS)
    assert [name for name, tree in trees.items() if _imported(tree) & {"rich.table", "csv"}] == ["grid"]


def _imported(tree: ast.Module) -> set[str]:
    """Return the modules that a module imports, or imports names of."""
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
