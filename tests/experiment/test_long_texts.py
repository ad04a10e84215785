"""Long texts in windows through a whole run: the record, the report, the opened adapter and a predicted file agree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossflare
from crossflare.errors import UserError
from crossflare.evaluation.calibration import tempered
from crossflare.evaluation.record import load_record
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.stage1 import Stage1
from crossflare.recipe.spec import Spec
from crossflare.report.build import build_report
from crossflare.serving.file import Column, predict_file
from tiny_adapters import write
from tiny_experiment import Lab, read_jsonl, said

METHODS = {"zero-shot": None, "flare": None, "ensemble": {"of": "flare"}}
LONG = {0: 5, 3: 20}
"""Row -> how often its text of four words stands there; a window has room for 14 words."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("lab"), languages=("sw",), seeds=(0,))

    def lengthen(rows: list[dict[str, str]]) -> None:
        for number, times in LONG.items():
            rows[number]["text"] = " ".join([rows[number]["text"]] * times)

    made.edit("sw", "test", lengthen)
    return made


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Spec:
    return lab.spec({"task.long": "windows", "methods": METHODS})


def step_of(ran: Path, spec: Spec, method: str) -> PredictionStep:
    return PredictionStep(Context(spec, ran), spec.method(method), "sw", 0)


@pytest.mark.slow
def test_a_run_its_report_and_its_adapter_say_the_same_of_long_texts(
    ran: Path, spec: Spec, lab: Lab, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (ran / "examples" / "sw.jsonl").read_text().splitlines()]
    adapter = crossflare.open_adapter(step_of(ran, spec, "flare").model.path)
    texts, sources = ([row[name][0] for row in rows] for name in ("texts", "source"))
    found = adapter.predict(texts, sources)
    windows = [each.windows for each in found]
    assert [number for number, many in enumerate(windows) if many > 1] == list(LONG)
    assert not any(each.truncated for each in found)
    expected = {"rows": 2, "read": windows[0] + windows[3], "most": max(windows)}
    for method in METHODS:
        counts = load_record(step_of(ran, spec, method).record).counts
        assert counts["windows"] == expected, method
        assert counts["truncated"] == {"target": 0, "source": 0}
    assert adapter.calibration is not None
    in_run = tempered(said(ran, spec, "flare"), adapter.calibration.temperature)
    served = np.array([list(each.probabilities.values()) for each in found])
    np.testing.assert_allclose(served, np.exp(in_run), atol=1e-4)

    given = write(tmp_path / "in.jsonl", [{"text": t, "english": s} for t, s in zip(texts, sources, strict=True)])
    out = tmp_path / "out.jsonl"
    told = predict_file(adapter=adapter.folder, input=given, output=out, source=Column(("english",)))
    assert (told.in_windows, told.truncated) == (2, 0)
    assert [row["windows"] for row in read_jsonl(out)] == windows

    page = build_report(ran).markdown.read_text("utf-8")
    section = page.partition("## Test texts read in windows")[2].partition("\n## ")[0]
    assert "| flare | 2 |" in section
    assert f"| ensemble | {expected['read']} |" in section


def test_steps_have_ids_of_their_own_only_where_texts_are_read_in_windows(lab: Lab) -> None:
    def ids(changes: dict[str, Any]) -> list[str]:
        spec = lab.spec({"methods": METHODS, **changes})
        context = Context(spec, lab.folder / "runs" / spec.name)
        return [Stage1(context, 0).id, PredictionStep(context, spec.method("zero-shot"), "sw", 0).id]

    plain, windows = ids({}), ids({"task.long": "windows"})
    assert plain == ids({"task.long": "cut"})
    assert not set(plain) & set(windows)
    assert ids({"stage2.stride": 4})[1] == plain[1]  # of no account where texts are cut
    assert ids({"task.long": "windows", "stage2.stride": 4})[1] != windows[1]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"task.form": "text"}, "task.long: windows are for a head over the text; set form: head, or long: cut"),
        ({"task.texts": ["text", "label"]}, "task.long: a pair of texts is read as one and is not for windows"),
        ({"methods": {"input-fusion": None}}, "methods.input-fusion: both texts are one sequence"),
        (
            {"task": {"set": "tydiqa", "folder": "/sets", "long": "windows"}},
            "task.long: questions have windows of their own (max_length and stride of the stages); take it out",
        ),
    ],
)
def test_windows_that_make_no_sense_are_named(lab: Lab, changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UserError) as caught:
        lab.spec({"task.long": "windows", "methods": {"lora": None}, **changes})
    assert wrong in str(caught.value)
