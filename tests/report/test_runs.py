from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import change_record

from crossflare.errors import UserError
from crossflare.report.results import collect
from crossflare.report.runs import read_runs

Make = Callable[..., Path]


def test_the_recipe_gives_the_order(run_dir: Path) -> None:
    folder = read_runs(run_dir)
    assert folder.name == "nusax-minilm"
    assert folder.methods == ("zero-shot", "lora", "flare")
    assert folder.languages == ("ace", "ban", "min")
    assert folder.seeds == (1, 2, 3)
    assert folder.missing == []


def test_without_a_recipe_the_records_speak(make: Make) -> None:
    folder = make()
    (folder / "spec.yaml").unlink()
    found = read_runs(folder)
    assert (found.methods, found.recipe) == (("flare", "lora", "zero-shot"), "")


def test_what_the_recipe_asks_for_and_nobody_ran_is_missing(make: Make) -> None:
    folder = make(seeds=1)
    text = (folder / "spec.yaml").read_text().replace("seeds: [1]", "seeds: [1, 2]").replace("[ace,", "[jav, ace,")
    (folder / "spec.yaml").write_text(text)
    missing = read_runs(folder).missing
    assert ("lora", "ace", 2) in missing
    assert ("flare", "jav", 1) in missing
    assert ("lora", "ace", 1) not in missing


@pytest.mark.parametrize("make_records", [False, True])
def test_an_empty_folder_is_refused(tmp_path: Path, make_records: bool) -> None:
    if make_records:
        (tmp_path / "records").mkdir()
    with pytest.raises(UserError, match="expected finished runs in records/, found none"):
        read_runs(tmp_path)
    with pytest.raises(UserError, match="expected a run folder, found none"):
        read_runs(tmp_path / "nowhere")


def test_two_records_of_one_place_are_refused(make: Make) -> None:
    folder = make()
    record = folder / "records" / "lora-ace-1.json"
    (folder / "records" / "old.json").write_text(record.read_text())
    with pytest.raises(UserError, match=r"lora-ace-1.json and old.json are both lora in ace with seed 1"):
        read_runs(folder)


def test_a_record_that_disagrees_with_its_predictions_is_refused(make: Make) -> None:
    folder = make()
    change_record(folder / "records" / "lora-ace-1.json", scores={"accuracy": 0.99})
    with pytest.raises(UserError, match=r"says accuracy 0.9900, its predictions give"):
        read_runs(folder)


def test_predictions_outside_of_the_folder_are_refused(make: Make) -> None:
    folder = make()
    change_record(folder / "records" / "lora-ace-1.json", predictions="../elsewhere.jsonl")
    with pytest.raises(UserError, match="lie outside of the run folder"):
        read_runs(folder)


def test_two_tasks_in_one_folder_are_refused(make: Make) -> None:
    folder = make()
    path = folder / "records" / "lora-ace-1.json"
    change_record(path, task={"name": "nusax", "version": "2", "labels": ["negative", "neutral", "positive"]})
    with pytest.raises(UserError, match="expected records of one task"):
        read_runs(folder)


def test_unlike_test_examples_are_refused(make: Make) -> None:
    folder = make()
    path = folder / "predictions" / "lora-ace-1.jsonl"
    path.write_text(path.read_text().replace('"id": "0000"', '"id": "9999"'))
    with pytest.raises(UserError, match="expected the same test examples"):
        collect(folder)


def test_the_order_of_rows_in_a_file_does_not_matter(make: Make) -> None:
    folder = make(languages={"ace": 0.0})
    before = collect(folder).cells
    path = folder / "predictions" / "lora-ace-1.jsonl"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    assert collect(folder).cells == before
