"""`evaluate` gives the numbers and intervals of the report; what does not fit is one line."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

import crossflare
from crossflare import UserError
from crossflare.evaluation.significance import Interval
from crossflare.experiment.steps.context import Context
from crossflare.recipe.grid import load_recipe
from crossflare.serving.adapter import TrainedAdapter
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.translation.engines.dictionary import Dictionary
from crossflare.translation.engines.lexicon import Lexicon
from evaluated import check_against_report
from tiny_adapters import LABELS, make_adapters
from tiny_questions import recipe as questions

ROWS = [
    {"text": "w1 w2 w3", "source": "w21 w22", "label": "bad"},
    {"text": "w30", "source": None, "label": "good"},
    {"text": "w9 w8 w7 w6", "source": "w28", "label": "bad"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapters(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def flare(folder: Path) -> TrainedAdapter:
    return crossflare.open_adapter(folder / "flare")


@pytest.mark.parametrize("model", ["bert", pytest.param("mt5", marks=pytest.mark.slow)])
def test_answers_are_scored_as_the_report_scores_them(model: str, tmp_path: Path) -> None:
    recipe = questions(tmp_path, model, {"lora": None})
    done = crossflare.run(recipe, runs=tmp_path / "runs")
    context = Context(load_recipe(recipe).cells[0].spec, done.folder)
    rows = [
        {"id": each.id, "question": each.texts[0], "context": each.texts[1], "answers": [a.text for a in each.answers]}
        for each in context.data.test("es", "none").examples
    ]
    check_against_report(done, "lora", "es", rows)
    squad = [{**row, "answers": {"text": row["answers"], "answer_start": [0]}} for row in rows]
    adapter = done.adapter("lora", "es", 0)
    assert crossflare.evaluate(adapter, squad) == crossflare.evaluate(adapter, rows)


def test_it_counts_what_predict_says(flare: TrainedAdapter) -> None:
    said = flare.predict([row["text"] for row in ROWS], [row["source"] for row in ROWS])
    rows = [{**row, "label": each.label} for row, each in zip(ROWS, said, strict=True)]
    assert crossflare.evaluate(flare, iter(rows)) == dict.fromkeys(("accuracy", "macro_f1"), Interval(1, 1, 1))
    wrong = next(label for label in LABELS if label != said[0].label)
    found = crossflare.evaluate(flare, [{**rows[0], "label": wrong}, *rows[1:]])["accuracy"]
    assert found.score == pytest.approx(2 / 3)
    assert found.low < found.score < found.high


def test_a_task_says_how_labels_are_written(flare: TrainedAdapter) -> None:
    task = TextTask("opinions", 1, tuple(LABELS), aliases={str(n): label for n, label in enumerate(LABELS)})
    numbered = [{**row, "label": LABELS.index(str(row["label"]))} for row in ROWS]
    assert crossflare.evaluate(flare, numbered, task=task) == crossflare.evaluate(flare, ROWS)


def test_a_translator_makes_the_sources(flare: TrainedAdapter, tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("".join(f"w{n}\tw{39 - n}\n" for n in range(40)))
    engine = Dictionary({("sw", "en"): Lexicon.load(tmp_path / "words.tsv")})
    bare = [{"text": row["text"], "label": row["label"]} for row in ROWS]
    sources = [" ".join(f"w{39 - int(word[1:])}" for word in str(row["text"]).split()) for row in ROWS]
    given = [{**row, "source": source} for row, source in zip(bare, sources, strict=True)]
    assert crossflare.evaluate(flare, bare, translator=engine) == crossflare.evaluate(flare, given)


def test_pairs_have_the_columns_of_pairs(folder: Path) -> None:
    adapter = crossflare.open_adapter(folder / "pairs")
    row = {"premise": "w1", "hypothesis": "w2", "source_premise": "w3", "source_hypothesis": "w4"}
    said = adapter.predict([("w1", "w2")], [("w3", "w4")])[0].label
    assert crossflare.evaluate(adapter, [{**row, "label": said}])["accuracy"].score == 1
    with pytest.raises(UserError, match=re.escape("rows[0]['source']: expected a pair of texts, got (str, None)")):
        crossflare.evaluate(adapter, [{**row, "source_hypothesis": None, "label": said}])


def broken() -> Iterator[dict[str, Any]]:
    yield ROWS[0]
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([], {}, "rows: expected at least one row to score, got none"),
        ("text", {}, "rows: expected a list, got str; one row goes into a list: [row]"),
        (ROWS[0], {}, "rows: expected a list, got dict"),
        (["text"], {}, "rows[0]: expected a row as a dict, got str"),
        (broken(), {}, "rows: failed after 1 items (OSError: the disk is gone); correct what makes them"),
        ([*ROWS, {**ROWS[0], "label": "godo"}], {}, "rows[3]: unknown label 'godo': did you mean 'good'"),
        ([{**ROWS[0], "label": 7}], {}, "rows[0]: label 7 is a number"),
        ([{**ROWS[0], "label": None}], {}, "rows[0]: expected a label, found none"),
        ([{"text": "w1", "source": None}], {}, "rows[0]: no column 'label' (found: text, source)"),
        ([{"texts": "w1", "label": "bad"}], {}, "rows[0]: no column 'text' (found: texts, label)"),
        ([{**ROWS[0], "text": 3}], {}, "rows[0]: expected a text, got int"),
        ([{"text": "w1", "label": "bad"}], {}, "give each row its `source`, or a translator; rows whose"),
        ([{**row, "id": "a"} for row in ROWS], {}, "rows[1]: the id 'a' is taken by"),
        (ROWS, {"translator": "apertium"}, "expected sources or a translator, got both"),
        (ROWS, {"task": TextTask("x", 1, ("a", "b"))}, "task: expected one like the adapter's (1 text(s), labels: bad"),
        (ROWS, {"task": QuestionTask("x", 1)}, "task: expected one like the adapter's"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(flare: TrainedAdapter, rows: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        crossflare.evaluate(flare, rows, **options)
    assert "\n" not in str(caught.value)


def test_a_table_is_told_how_to_become_rows(flare: TrainedAdapter) -> None:
    table: Any = pandas.DataFrame(ROWS)
    with pytest.raises(UserError, match=r'expected rows as dicts, got a table; give table.to_dict\("records"\)'):
        crossflare.evaluate(flare, table)


def test_a_folder_is_no_adapter(folder: Path) -> None:
    with pytest.raises(UserError, match=r"adapter: expected one from crossflare\.open_adapter, got PosixPath"):
        crossflare.evaluate(folder / "flare", ROWS)  # type: ignore[arg-type]
