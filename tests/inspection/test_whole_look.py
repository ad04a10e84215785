"""A look counts the rows that are trained, finds what is planted, and is kept with the run that it was taken for."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.evaluation.folder import RunFiles
from crossflare.experiment.data.rows import Data
from crossflare.experiment.running.looking import look_before, looks_of
from crossflare.experiment.steps.context import Context
from crossflare.inspection import looker as looking
from crossflare.inspection.counting import RowTally
from crossflare.inspection.found import Look
from crossflare.inspection.looks import look_at
from crossflare.inspection.remarks import warnings_of
from crossflare.recipe.spec import Spec
from crossflare.tasks.example import Example
from tiny_experiment import LABELS, Lab

METHODS = ("zero-shot", "flare")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab", languages=("es",), seeds=(0,))


def taken(spec: Spec, folder: Path) -> Look:
    return look_at(spec, Data(spec, folder).set)


def said(look: Look, *words: str) -> list[str]:
    return [line for line in warnings_of(look) if all(word in line for word in words)]


@pytest.mark.parametrize("limit", [None, 4])
def test_counts_are_those_of_the_rows_that_are_trained(lab: Lab, limit: int | None) -> None:
    spec = lab.spec({"task.limit": {"train": limit}} if limit else None, METHODS)
    data = Data(spec, lab.folder)
    look = look_at(spec, data.set)
    places = {(part.language, part.part): part for part in look.parts}
    assert set(places) == {("en", "train"), ("en", "dev"), ("es", "train"), ("es", "dev"), ("es", "test")}
    for (language, part), found in places.items():
        rows = data.rows(language, part)
        assert found.rows == found.looked == len(rows)
        assert found.labels == {name: sum(row.label == n for row in rows) for n, name in enumerate(LABELS)}
    assert {each.language: each.rows for each in look.languages} == {
        language: sum(part.rows for part in look.parts if part.language == language) for language in ("en", "es")
    }
    (job,) = look.work
    read = [text for part in ("test",) for row in data.rows("es", part) for text in row.texts]
    assert (job.source, job.target, job.rows, job.characters) == ("es", "en", len(read), sum(map(len, read)))
    assert Look.of(json.loads(json.dumps(look.values())), "there").values() == json.loads(json.dumps(look.values()))


def test_what_is_planted_is_found(lab: Lab) -> None:
    train = lab.data("es", "train")
    lab.edit("es", "train", lambda rows: rows[0].update(text="unico cine genial"))
    lab.edit("es", "train", lambda rows: rows[1].update(text="el n\u0303 malo"))
    lab.edit("es", "train", lambda rows: rows[2].update(text="el \u00f1 malo\u200b"))
    lab.edit("es", "test", lambda rows: rows[3].update(text="unico  cine genial "))
    lab.edit("es", "test", lambda rows: rows[4].update(text=" "))
    lab.edit("es", "test", lambda rows: rows[5].update(text="ሰላም ለዓለም ሁሉ ሰላም ለዓለም ሁሉ"))
    look = taken(lab.spec(methods=METHODS), lab.folder)
    (leak,) = [leak for leak in look.leaks if (f"{train}:2", f"{lab.data('es', 'test')}:5") in leak.places]
    assert (leak.known, leak.part, leak.what) == ("train", "test", "text")
    assert said(look, "es: ", " test row", f"{lab.data('es', 'test')}:5 is {train}:2")
    assert said(look, "not in Unicode NFC", "es 1", f"{train}:3")
    assert said(look, "zero-width", "es 1", f"{train}:4")
    assert said(look, "es test: 1 row has an empty text", f"{lab.data('es', 'test')}:6")
    assert said(look, "unknown to", "es (Spanish)")
    (spanish,) = [each for each in look.languages if each.language == "es"]
    assert spanish.kinds["other_script"] == 1
    assert not said(taken(lab.spec(methods=METHODS), lab.folder), "nothing of it")


def test_a_clean_look_of_parallel_rows_warns_of_none_of_it(tmp_path: Path) -> None:
    from crossflare.recipe.read import load_spec

    spec = load_spec(Path(__file__).parents[2] / "src" / "crossflare" / "recipes" / "demo.yaml")
    if not spec.model.name:
        pytest.skip("no demo")
    lab = Lab(tmp_path / "lab", languages=("es",), seeds=(0,))
    spec = replace(spec, model=lab.spec().model)
    look = taken(spec, tmp_path)
    assert {pair.language: pair.parallel for pair in look.pairs} == {"es": True, "sw": True}
    assert not [line for line in warnings_of(look) if "unknown to" not in line and "cut" not in line]


def test_a_sample_counts_all_rows_and_looks_at_some(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "AT_ONCE", 5)  # batches that are no multiple of the distance
    spec = lab.spec(methods=METHODS)
    data = Data(spec, lab.folder)
    sizes = {place: part.used for place, part in data.check().items()}
    look = look_at(spec, data.set, sizes=sizes, most=15)
    assert look.every == 3
    for part in look.parts:
        assert part.rows == sizes[part.language, part.part]
        assert part.looked == -(-part.rows // 3)
        assert sum(part.labels.values()) == part.rows
    assert not look.work[0].exact


def test_a_run_looks_once_and_keeps_what_it_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.edit("es", "test", lambda rows: rows[0].update(text="el \ufffd malo"))
    context = Context(lab.spec(methods=METHODS), lab.folder / "run")
    context.data.check()
    lines = look_before([context])
    assert [line for line in lines if "control signs" in line]
    kept = read_json(RunFiles(context.folder).look)
    assert Look.of(kept["look"], "there").parts == looks_of([context])[0].parts
    monkeypatch.setattr("crossflare.experiment.running.looking.look_at", lambda *_, **__: pytest.fail("a second look"))
    assert look_before([context]) == lines
    (RunFiles(context.folder).look).write_text("{")
    with pytest.raises(pytest.fail.Exception):
        look_before([context])


def test_other_rows_are_looked_at_again(lab: Lab) -> None:
    for limit in (3, 5):
        context = Context(lab.spec({"task.limit": {"test": limit}}, METHODS), lab.folder / "run")
        context.data.check()
        look_before([context])
        look = Look.of(read_json(RunFiles(context.folder).look)["look"], "there")
        assert [part.rows for part in look.parts if part.part == "test"] == [limit]


def test_a_run_does_not_end_for_a_look_that_fails(lab: Lab) -> None:
    spec = lab.spec({"model.name": str(lab.folder / "nowhere")}, METHODS)
    context = Context(spec, lab.folder / "run")
    context.data.check()
    assert look_before([context]) == []
    assert not (RunFiles(context.folder).look).exists()


def test_something_else_is_no_look() -> None:
    for values in (None, {}, {"format": 0}, {"format": 1, "parts": [{}]}, []):
        with pytest.raises(UserError, match=r"run\.json: expected what a look"):
            Look.of(values, "run.json")


MANY = """
import resource
from crossflare.inspection.looker import Looker, Share
from crossflare.tasks.example import Example

def rows(count):
    for n in range(count):
        yield Example(str(n), (f"row number {n} with some words",), n % 2, None, f"many.csv:{n + 2}")

def peak(count):
    made = Looker("many", ["a", "b"], False, "en")
    made.read([Share("en", part, lambda: rows(count)) for part in ("train", "test")])
    look = made.found()
    assert [part.rows for part in look.parts] == [count, count]
    assert look.leaks[0].rows == count
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

few = peak(10_000)
print(peak(500_000) - few)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of the memory measured is Linux's")
def test_a_million_rows_take_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=280)
    assert int(done.stdout) < 100e6, "bytes beyond those for ten thousand rows"


def test_a_row_costs_fifteen_bytes() -> None:
    made = RowTally()
    for number in range(1000):
        made.count(Example("", (f"row {number}",), 0, None, f"many.csv:{number + 2}"))
    held = [made.keys, made.lines, made.labels, made.flags]
    assert sum(each.itemsize * len(each) for each in held) == 15 * 1000
    assert len(made.files) == len(made.labelled()) == 1
