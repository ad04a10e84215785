"""The script that copies the numbers of a run beside the documentation."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from fake_runs import change_record, with_temperatures, write_look

from crossflare.errors import UserError
from crossflare.report import build_report
from lanes import only

Make = Callable[..., Path]
PLAIN, SIGNS = "an answer of several words", 'an "answer" with sign·s of its own'
SCRIPT = Path(__file__).parents[2] / "docs" / "results" / "publish.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="no documentation around the tests")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("CROSSFLARE_DATA", str(tmp_path / "data"))
    spec = importlib.util.spec_from_file_location("publish", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "publish", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["labels", "answers"])
def test_reports_and_records_are_copied_and_nothing_else(
    make: Make, make_answers: Make, script: ModuleType, tmp_path: Path, kind: str
) -> None:
    run = write_look(make(seeds=1) if kind == "labels" else make_answers(seeds=1))
    copy = script.publish(run, tmp_path / "published")
    found = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file())
    records = [f"records/{path.name}" for path in (run / "records").iterdir()]
    packed = [name for name in found if name.startswith("predictions/")]
    assert found == sorted([*script.KEPT, *records, *packed])
    assert len(packed) == (len(records) + 1 if kind == "labels" else 0)
    assert json.loads((copy / "results.json").read_text())["scores"]


def test_every_table_of_a_copy_can_be_made_again(make: Make, script: ModuleType, tmp_path: Path) -> None:
    copy = script.publish(write_look(with_temperatures(make())), tmp_path / "published")
    before = {name: (copy / name).read_bytes() for name in ("results.json", "report.md", "results.csv")}
    (copy / "results.json").unlink()
    build_report(copy)
    assert json.loads(before["results.json"])["calibration"]
    assert b"## The data" in before["report.md"]
    assert {name: (copy / name).read_bytes() for name in before} == before


def test_a_copy_without_predictions_says_so(make_answers: Make, script: ModuleType, tmp_path: Path) -> None:
    copy = script.publish(make_answers(seeds=1), tmp_path / "published")
    with pytest.raises(UserError, match=r"its predictions were not kept, .* read its report\.md"):
        build_report(copy)


def test_where_the_data_lay_is_not_told(make_answers: Make, script: ModuleType, tmp_path: Path) -> None:
    run = make_answers(seeds=1)
    spec = json.loads((run / "spec.yaml").read_text())
    spec["task"]["folder"] = f"{(tmp_path / 'data').resolve()}/tydiqa"
    (run / "spec.yaml").write_text(json.dumps(spec))
    copy = script.publish(run, tmp_path / "published")
    assert str(tmp_path) not in "".join(path.read_text() for path in copy.rglob("*.*"))
    assert "$CROSSFLARE_DATA/tydiqa" in (copy / "spec.yaml").read_text()


@pytest.mark.parametrize("text", only([PLAIN, SIGNS], [SIGNS]))
def test_a_copy_with_the_text_of_an_answer_is_refused(
    make_answers: Make, script: ModuleType, tmp_path: Path, text: str
) -> None:
    run = make_answers(seeds=1)
    for path in (run / "predictions").glob("*-sw-1.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows[0]["gold"].append(text)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    published = tmp_path / "published"
    assert script.publish(run, published).is_dir()
    before = sorted(published.rglob("*"))
    record = run / "records" / "lora-sw-1.json"
    change_record(record, versions={"note": text})
    with pytest.raises(UserError, match="found the text of an answer; it is not published"):
        script.publish(run, published)
    assert sorted(published.rglob("*")) == before, "the older copy stays"


def test_without_the_folder_of_the_data_nothing_is_copied(
    make_answers: Make, script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROSSFLARE_DATA")
    with pytest.raises(UserError, match="expected the folder of the data in CROSSFLARE_DATA"):
        script.publish(make_answers(seeds=1), tmp_path / "published")
    assert not (tmp_path / "published").exists()
