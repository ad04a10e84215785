"""Reports of runs that answer questions."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_runs import change_record
from rich.console import Console

from crossflare.errors import UserError
from crossflare.report import build_report, console_table
from crossflare.report.contents import contents_of
from crossflare.report.methods import descriptions
from crossflare.report.resample import LEFT_OUT, NOT_MEASURED
from crossflare.report.results import collect
from crossflare.report.runs import MACRO, read_runs
from crossflare.report.summary import summary
from crossflare.report.tables import contrasts, scores

Make = Callable[..., Path]
ALL = {"exact_match", "f1", "position_match"}


def change_row(path: Path, number: int, **values: Any) -> None:
    lines = path.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | values)
    path.write_text("\n".join(lines) + "\n")


def test_a_cell_is_the_mean_over_seeds_of_what_the_records_say(answers_dir: Path) -> None:
    found = collect(answers_dir)
    assert found.metrics == ("f1", "exact_match", "position_match")
    assert len(found.cells) == 3 * 3 * 3
    for (metric, method, language), cell in found.cells.items():
        languages = found.folder.languages if language == MACRO else (language,)
        paths = [answers_dir / "records" / f"{method}-{x}-{seed}.json" for x in languages for seed in (1, 2, 3)]
        said = [json.loads(path.read_text())["scores"][metric] for path in paths]
        assert cell.score is not None
        assert cell.score.score == pytest.approx(sum(said) / len(said), abs=1e-6)
        assert cell.score.low < cell.score.score < cell.score.high


def test_the_main_metric_stands_first(make_answers: Make) -> None:
    folder = make_answers(seeds=1)
    for path in (folder / "records").glob("*.json"):
        change_record(path, task=json.loads(path.read_text())["task"] | {"main_metric": "exact_match"})
    assert collect(folder).metrics == ("exact_match", "f1", "position_match")


@pytest.mark.parametrize("metric", sorted(ALL))
def test_a_record_that_disagrees_with_its_answers_is_refused(make_answers: Make, metric: str) -> None:
    folder = make_answers(seeds=1)
    path = folder / "records" / "lora-sw-1.json"
    change_record(path, scores=json.loads(path.read_text())["scores"] | {metric: 0.99})
    with pytest.raises(UserError, match=rf"says {metric} 0.9900, its predictions give .*; delete it and run again"):
        read_runs(folder)


@pytest.mark.parametrize("change", [{"f1": 0.123}, {"exact_match": 0.5}, {"prediction": "quite another answer"}])
def test_scores_that_the_texts_do_not_bear_out_are_refused(make_answers: Make, change: dict[str, Any]) -> None:
    folder = make_answers(seeds=1)
    path = folder / "predictions" / "flare-id-1.jsonl"
    right = next(n for n, line in enumerate(path.read_text().splitlines()) if json.loads(line)["f1"] == 1)
    change_row(path, right, **change)
    with pytest.raises(UserError, match=rf"flare-id-1.json: its predictions say .* of 'q{right:04d}', the texts give"):
        read_runs(folder)


def test_labels_in_a_run_of_questions_are_refused(make_answers: Make) -> None:
    folder = make_answers(seeds=1)
    (folder / "predictions" / "lora-sw-1.jsonl").write_text('{"id": "a", "gold": 0, "prediction": 0}\n')
    with pytest.raises(UserError, match="expected predictions of answers for this task, got labels"):
        read_runs(folder)


def test_answers_without_their_rules_are_refused(make_answers: Make) -> None:
    folder = make_answers(seeds=1)
    path = folder / "records" / "lora-sw-1.json"
    task = json.loads(path.read_text())["task"]
    del task["normalisation"]
    change_record(path, task=task)
    with pytest.raises(UserError, match=r"expected task.normalisation"):
        read_runs(folder)


def test_other_gold_answers_are_other_examples(make_answers: Make) -> None:
    folder = make_answers(seeds=1)
    path = folder / "predictions" / "lora-sw-1.jsonl"
    gold = json.loads(path.read_text().splitlines()[0])["gold"]
    change_row(path, 0, gold=[*gold, "something that nobody says"])
    with pytest.raises(UserError, match="expected the same test examples"):
        collect(folder)


def test_the_order_of_rows_in_a_file_does_not_matter(make_answers: Make) -> None:
    folder = make_answers(seeds=1)
    before = collect(folder).cells
    path = folder / "predictions" / "lora-sw-1.jsonl"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    assert collect(folder).cells == before


def test_a_language_that_the_recipe_leaves_out_is_a_dash_and_nothing_is_missing(make_answers: Make) -> None:
    folder = make_answers(only={"flare": ["sw"]})
    found = collect(folder)
    assert found.folder.missing == []
    cell = found.cells["f1", "flare", "id"]
    assert (cell.score, cell.gap, cell.left_out, cell.missing) == (None, LEFT_OUT, True, ())
    macro = found.cells["f1", "flare", MACRO]
    assert (macro.score, macro.gap, macro.left_out) == (None, "1 of 2 languages", True)
    assert found.contrasts["f1", "lora", "id"].left_out
    assert found.contrasts["f1", "lora", MACRO].gap == "1 of 2 languages"
    assert found.contrasts["f1", "lora", "sw"].difference is not None
    entries = dict(scores(found, "f1").rows)["flare"]
    assert [(e.text, e.small[0]) for e in entries if e.empty] == [("–", "1 of 2 languages"), ("–", LEFT_OUT)]
    assert contrasts(found, "f1").head == ("flare …", "sw"), "a column without a difference says nothing"
    assert summary(found).missing == ()


def test_a_left_out_language_and_a_missing_run_are_told_apart(make_answers: Make) -> None:
    folder = make_answers(only={"flare": ["sw"]}, seeds=1)
    (folder / "records" / "flare-sw-1.json").unlink()
    found = collect(folder)
    assert found.folder.missing == [("flare", "sw", 1)]
    row = dict(scores(found, "f1").rows)["flare"]
    assert [(e.text, e.small[0]) for e in row] == [("–", "not run"), ("missing", "not run"), ("–", LEFT_OUT)]


def test_without_an_average_the_finding_speaks_of_every_language_both_share(make_answers: Make) -> None:
    head = summary(collect(make_answers(only={"flare": ["sw"]})))
    assert "in sw." in head.finding
    assert "in id" not in head.finding
    assert "missing" not in head.finding
    assert "3 seeds" in head.detail


def test_methods_that_share_no_language_have_no_difference(make_answers: Make) -> None:
    head = summary(collect(make_answers(only={"flare": ["sw"], "lora": ["id"]}, seeds=1)))
    assert head.finding == "flare and lora have no language in common."


def test_a_subject_that_meets_no_other_method_has_no_table_of_differences(make_answers: Make) -> None:
    folder = make_answers(methods={"lora": 0.5, "flare": 0.6}, only={"flare": ["sw"], "lora": ["id"]}, seeds=1)
    assert contrasts(collect(folder), "f1").rows == ()
    build_report(folder)
    assert "Differences" not in (folder / "report.html").read_text(encoding="utf-8")


def test_who_writes_text_has_no_position_match_and_keeps_the_rest(make_answers: Make) -> None:
    found = collect(make_answers(writes=["lora"]))
    for language in ("sw", "id", MACRO):
        cell = found.cells["position_match", "lora", language]
        assert (cell.score, cell.gap, cell.left_out) == (None, NOT_MEASURED, True)
        assert found.cells["position_match", "flare", language].score is not None
        assert found.cells["f1", "lora", language].score is not None
        assert found.contrasts["position_match", "lora", language].left_out


def test_a_metric_that_only_some_have_changes_nothing_for_the_others(make_answers: Make, tmp_path: Path) -> None:
    """Each group of methods meets the same resamples."""
    from fake_runs import fake_answers

    one = collect(make_answers(seeds=1))
    other = collect(fake_answers(tmp_path / "other", number=40, seeds=1, writes=["zero-shot", "lora"]))
    for metric in ("f1", "exact_match"):
        a, b = one.cells[metric, "zero-shot", "sw"], other.cells[metric, "zero-shot", "sw"]
        assert a.score == b.score


def test_where_no_run_has_a_position_match_nothing_is_said_of_it(make_answers: Make) -> None:
    folder = make_answers(writes=["zero-shot", "lora", "flare"], seeds=1)
    assert collect(folder).metrics == ("f1", "exact_match")
    build_report(folder)
    for name in ("report.md", "report.html"):
        assert "osition match" not in (folder / name).read_text(encoding="utf-8")


def test_the_report_explains_the_position_match_and_the_rules(answers_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(answers_dir, folder)
    build_report(folder)
    page, text = ((folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    for words in ("Exact match", "F1, in points", "not comparable with exact match", "SQuAD v1.1 rules"):
        assert words in page
        assert words in text
    assert "## Position match (released code's measure), in points" in text
    assert text.index("## F1") < text.index("## Exact match") < text.index("## Position match")
    assert page.count('class="drawing"') == 3 + 3 + 2 + 2 + 1 + 2, "scores, differences, curves, headline, cost"


def test_no_answer_is_written_into_the_report(make_answers: Make) -> None:
    folder = make_answers(seeds=1)
    for path in (folder / "predictions").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for row in lines:
            row["gold"].append("xylophone")
        path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    build_report(folder)
    for name in ("report.md", "report.html", "results.json", "results.csv"):
        assert "xylophone" not in (folder / name).read_text(encoding="utf-8")


def test_the_terminal_shows_f1_and_a_dash_for_what_is_left_out(make_answers: Make) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(console_table(contents_of(collect(make_answers(only={"flare": ["sw"]}, seeds=1)))))
    text = console.export_text()
    for words in ("F1, in points", "flare", LEFT_OUT, "1 of 2 languages"):
        assert words in text


def test_methods_say_what_sets_them_apart(make_answers: Make) -> None:
    options = {
        "lora": {"kind": "lora", "trained_in": "sw"},
        "flare": {"kind": "flare", "train_source": "machine", "lr": None},
        "wrong": {"kind": "flare", "of": "flare", "test_source": "shuffled"},
        "blind": {"kind": "flare", "train_source": "none", "test_source": "none", "lr": 0.004},
    }
    folder = make_answers(
        methods={"zero-shot": 0.4, **dict.fromkeys(options, 0.5)}, options=options, only={"wrong": ["sw"]}, seeds=1
    )
    said = dict(descriptions(collect(folder).folder))
    assert said["zero-shot"] == "the stage-1 model reads the target text"
    assert "one adapter, trained in sw, for all languages" in said["lora"]
    assert "training sources are translations" in said["flare"]
    assert "reads the adapters of flare; control: at test time each row has the translation of another" in said["wrong"]
    assert said["wrong"].endswith("run only in sw")
    assert "lr" not in said["flare"]
    assert said["blind"].endswith(
        "control: trained without any source; control: it reads no source at test time; lr 0.004"
    )
    build_report(folder)
    assert f"- **wrong**: {said['wrong']}" in (folder / "report.md").read_text(encoding="utf-8")
    assert re.search(r"<dt>wrong</dt><dd>.*run only in sw</dd>", (folder / "report.html").read_text(encoding="utf-8"))


def test_what_a_person_wrote_into_the_recipe_does_not_stop_the_report(make_answers: Make) -> None:
    folder = make_answers(seeds=1)
    (folder / "spec.yaml").write_text("methods: {lora: , flare: {languages: 3}, zero-shot: [1]}\n")
    assert collect(folder).cells["f1", "flare", "sw"].score is not None
