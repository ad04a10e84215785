import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crossflare.evaluation.predictions import first_look, load_predictions
from crossflare.evaluation.record import load_record, sealed
from crossflare.report.results import Results, collect
from crossflare.report.runs import MACRO

Make = Callable[..., Path]


def test_a_cell_is_the_mean_over_seeds_of_what_the_records_say(run_dir: Path, results: Results) -> None:
    for (metric, method, language), cell in results.cells.items():
        languages = results.folder.languages if language == MACRO else (language,)
        paths = [run_dir / "records" / f"{method}-{x}-{seed}.json" for x in languages for seed in (1, 2, 3)]
        said = [json.loads(path.read_text())["scores"][metric] for path in paths]
        assert cell.score is not None
        assert cell.score.score == pytest.approx(sum(said) / len(said))
        assert cell.score.low < cell.score.score < cell.score.high
        assert sum(cell.by_seed) / 3 == pytest.approx(cell.score.score)


def test_every_score_has_its_own_signature(results: Results) -> None:
    lines = {str(cell.signature) for cell in results.cells.values()}
    assert len(lines) == len(results.cells)
    macro = results.cells["macro_f1", "flare", MACRO].signature
    assert macro is not None
    assert (macro.language, macro.n, macro.seeds) == ("ace+ban+min", 360, (1, 2, 3))


def test_main_metric_is_the_task_s_and_macro_f1_where_records_name_none(make: Make) -> None:
    folder = make(seeds=1, languages={"ace": 0.0})
    assert collect(folder).metrics == ("macro_f1", "accuracy")
    for path in (folder / "records").glob("*.json"):
        record = json.loads(path.read_text())
        record["task"]["main_metric"] = "accuracy"
        path.write_text(json.dumps(sealed(record)))
    assert collect(folder).metrics == ("accuracy", "macro_f1")


def test_the_line_that_a_run_says_has_the_score_and_the_interval_of_one_seed_s_table(make: Make) -> None:
    folder = make(seeds=1, languages={"ace": 0.0})
    cells = collect(folder).cells
    for path in (folder / "records").glob("*.json"):
        record = load_record(path)
        lines = (folder / record.predictions).read_text().splitlines()
        (folder / "turned.jsonl").write_text("\n".join(reversed(lines)) + "\n")  # a report puts its rows in order
        for metric in ("accuracy", "macro_f1"):
            said = first_look(load_predictions(folder / "turned.jsonl"), len(record.task["labels"]), metric)
            assert said == cells[metric, str(record.method["name"]), "ace"].score


def test_contrasts_are_differences_of_cells_and_q_is_no_smaller_than_p(results: Results) -> None:
    for key, contrast in results.contrasts.items():
        assert results.subject == "flare"
        subject, other = results.cells[key[0], "flare", key[2]].score, results.cells[key].score
        assert contrast.difference is not None
        assert subject is not None
        assert other is not None
        assert contrast.difference.score == pytest.approx(subject.score - other.score)
        assert contrast.tested is not None
        assert contrast.tested.p is not None
        assert (contrast.q is None) == (key[2] == MACRO)
        assert contrast.q is None or contrast.q >= contrast.tested.p


def test_the_reference_is_the_other_side_of_its_contrast(results: Results) -> None:
    against = results.cells["macro_f1", "flare", "ace"].against
    assert against == results.contrasts["macro_f1", "lora", "ace"].difference
    assert results.cells["macro_f1", "lora", "ace"].against is None


def test_missing_runs_leave_gaps_and_are_never_made_up(make: Make) -> None:
    folder = make()
    for seed in (1, 2, 3):
        (folder / "records" / f"lora-min-{seed}.json").unlink()
    (folder / "records" / "flare-ban-2.json").unlink()
    found = collect(folder)
    gap = found.cells["macro_f1", "lora", "min"]
    assert (gap.score, gap.signature, gap.gap, gap.missing) == (None, None, "not run", (1, 2, 3))
    macro = found.cells["macro_f1", "lora", MACRO]
    assert (macro.score, macro.gap) == (None, "2 of 3 languages")
    assert found.contrasts["macro_f1", "lora", "min"].difference is None
    few = found.cells["macro_f1", "flare", "ban"]
    assert (few.seeds, few.missing) == ((1, 3), (2,))
    assert found.cells["macro_f1", "flare", MACRO].seeds == (1, 3), "a macro average has one set of seeds"
    assert found.contrasts["macro_f1", "zero-shot", "ban"].difference is not None


def test_methods_are_paired_over_the_seeds_that_both_have(make: Make) -> None:
    folder = make(languages={"ace": 0.0})
    (folder / "records" / "flare-ace-2.json").unlink()
    (folder / "records" / "lora-ace-1.json").unlink()
    found = collect(folder)
    flare, lora = (found.cells["accuracy", method, "ace"] for method in ("flare", "lora"))
    assert (flare.seeds, lora.seeds) == ((1, 3), (2, 3))
    difference = found.contrasts["accuracy", "lora", "ace"].difference
    assert difference is not None
    assert difference.score == pytest.approx(flare.by_seed[1] - lora.by_seed[1])


def test_unequal_signatures_have_no_average(make: Make) -> None:
    folder = make()
    path = folder / "records" / "lora-ace-2.json"
    record = json.loads(path.read_text())
    record["signature"]["model_digest"] = "other"
    path.write_text(json.dumps(sealed(record)))
    found = collect(folder)
    cell = found.cells["macro_f1", "lora", "ace"]
    assert cell.score is None
    assert "differ in model_digest" in cell.gap
    assert "differ in model_digest" in found.contrasts["macro_f1", "lora", "ace"].gap


def test_methods_measured_on_unlike_models_have_no_difference(make: Make) -> None:
    folder = make(languages={"ace": 0.0})
    for path in (folder / "records").glob("lora-*.json"):
        record = json.loads(path.read_text())
        record["signature"]["model_digest"] = "other"
        path.write_text(json.dumps(sealed(record)))
    found = collect(folder)
    assert found.cells["macro_f1", "lora", "ace"].score is not None
    assert found.contrasts["macro_f1", "lora", "ace"].difference is None
    assert "no difference" in found.contrasts["macro_f1", "lora", "ace"].gap


def test_one_language_has_no_macro_average(make: Make) -> None:
    found = collect(make(languages={"ace": 0.0}, seeds=1))
    assert found.columns == ("ace",)
    assert found.overall == "ace"


def test_roles_are_found_by_kind_and_may_be_absent(make: Make) -> None:
    folder = make(methods={"mine": 0.7, "zero-shot": 0.5}, languages={"ace": 0.0}, seeds=1)
    found = collect(folder)
    assert (found.subject, found.reference, found.contrasts) == (None, None, {})
    path = folder / "records" / "mine-ace-1.json"
    record = json.loads(path.read_text())
    record["method"]["kind"] = "flare"
    path.write_text(json.dumps(sealed(record)))
    assert collect(folder).subject == "mine"
