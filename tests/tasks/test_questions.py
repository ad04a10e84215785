"""Files of questions, offsets in wrong units, and the sets made of such files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.tasks.cutting import with_dev
from crossflare.tasks.dataset import DataSet
from crossflare.tasks.example import Answer
from crossflare.tasks.kinds import QuestionTask
from crossflare.tasks.layout import FileLayout
from crossflare.tasks.own import own_questions
from crossflare.tasks.sets import load_set
from crossflare.tasks.squad import read_questions

Item = tuple[str, str, str, list[tuple[str, int]]]
"""(id, question, context, answers)."""


def nested(path: Path, items: list[Item]) -> Path:
    paragraphs = [
        {
            "context": context,
            "qas": [{"id": key, "question": question, "answers": [{"text": t, "answer_start": s} for t, s in answers]}],
        }
        for key, question, context, answers in items
    ]
    return written(path, {"data": [{"title": "t", "paragraphs": paragraphs}]})


def written(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


CONTEXT = "Zoë a dit « 👍👍 oui » — বাংলা ভাষা আন্দোলন 1952."


def test_questions_arrive_as_written(tmp_path: Path) -> None:
    path = nested(
        tmp_path / "dev.json",
        [
            ("a", " Qui ? ", CONTEXT, [(" 1952", CONTEXT.index(" 1952")), ("Zoë", 0)]),
            ("b", "Quoi ?", CONTEXT, []),
        ],
    )
    first, second = read_questions(path)
    assert (first.id, first.texts, first.label, first.source) == ("a", (" Qui ? ", CONTEXT), None, None)
    assert first.answers == (Answer(" 1952", CONTEXT.index(" 1952")), Answer("Zoë", 0))
    assert second.answers == ()
    assert [item.origin for item in (first, second)] == [f"{path}:1", f"{path}:2"]


def test_flat_rows_are_the_same_questions(tmp_path: Path) -> None:
    item = {"id": "a", "question": "Qui ?", "context": CONTEXT}
    start = CONTEXT.index("oui")
    expected = (Answer("oui", start),)
    listed = lines(tmp_path / "a.jsonl", [item | {"answers": {"text": ["oui"], "answer_start": [start]}}])
    single = lines(tmp_path / "b.jsonl", [item | {"answer": "oui", "answer_start": start}])
    table = tmp_path / "c.csv"
    table.write_text(f"id,question,context,answer,answer_start\na,Qui ?,{CONTEXT},oui,{start}\nb,Q?,{CONTEXT},,\n")
    parquet = tmp_path / "d.parquet"
    datasets.Dataset.from_list([item | {"answers": {"text": ["oui"], "answer_start": [start]}}]).to_parquet(parquet)
    for path in (listed, single, table, parquet):
        assert read_questions(path)[0].answers == expected, path
        assert read_questions(path)[0].texts == ("Qui ?", CONTEXT)
    assert read_questions(table)[1].answers == ()
    bare = lines(tmp_path / "e.jsonl", [item, item | {"id": 7, "answers": {"text": [], "answer_start": []}}])
    assert [(item.id, item.answers) for item in read_questions(bare)] == [("a", ()), ("7", ())]


def test_source_columns_and_answers_that_are_no_spans(tmp_path: Path) -> None:
    row = {
        "id": "a",
        "question": "Nani?",
        "context": "Mimi.",
        "answer": "I",
        "answer_start": None,
        "q": "Who?",
        "c": "I.",
    }
    path = lines(tmp_path / "a.jsonl", [row, row | {"id": "b", "q": None, "c": None}])
    first, second = read_questions(path, FileLayout(source_texts=("q", "c")))
    assert (first.source, first.answers) == (("Who?", "I."), (Answer("I", None),))
    assert second.source is None


UNITS: dict[str, Callable[[str], int]] = {
    "UTF-8 bytes": lambda text: len(text.encode()),
    "UTF-16 units": lambda text: len(text.encode("utf-16-le")) // 2,
}
scripts = st.text(st.sampled_from("ab é́ñ ßবাংলা 👍𝔸 العربية 中文"), min_size=1, max_size=12)


@pytest.mark.parametrize("unit", UNITS)
@given(parts=st.lists(st.tuples(scripts, scripts.filter(str.strip)), min_size=1, max_size=5))
def test_offsets_in_other_units_are_named(
    tmp_path_factory: pytest.TempPathFactory, unit: str, parts: list[tuple[str, str]]
) -> None:
    # A sign that no answer holds ends each context, so that an answer has one place only.
    items = [
        (f"q{n}", "?", f"{before}◆{answer}", [(answer, UNITS[unit](f"{before}◆"))])
        for n, (before, answer) in enumerate(parts)
    ]
    path = nested(tmp_path_factory.mktemp("units") / "dev.json", items)
    right = [item[2].index("◆") + 1 == item[3][0][1] for item in items]
    if all(right):
        assert len(read_questions(path)) == len(items)
        return
    with pytest.raises(UserError) as caught:
        read_questions(path)
    assert str(caught.value).startswith(f"{path}: answer_start counts {unit}, not code points ({len(items)} of ")
    assert f"does not: question 'q{right.index(False)}')" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_wrong_offset_does_not_condemn_the_unit(tmp_path: Path) -> None:
    items: list[Item] = [(f"q{n}", "?", "Zoë et ◆oui", [("oui", 8)]) for n in range(3)]
    items.append(("odd", "?", "Zoë et ◆oui", [("oui", len("Zoë et ◆".encode()))]))
    with pytest.raises(UserError, match=r"question 'odd': the answer 'oui' is not at answer_start 11: .* has it at 8"):
        read_questions(nested(tmp_path / "dev.json", items))


GOOD = {"id": "a", "question": "Who?", "context": "I do.", "answers": {"text": ["I"], "answer_start": [0]}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"answers": {"text": ["you"], "answer_start": [0]}},
            "question 'a': the answer 'you' is not at answer_start 0: it",
        ),
        (
            {"answers": {"text": ["do"], "answer_start": [-1]}},
            "not at answer_start -1: the context has it at 2; correct",
        ),
        ({"answers": {"text": [" "], "answer_start": [1]}}, "question 'a': an answer is empty"),
        ({"answers": {"text": ["I"], "answer_start": []}}, "question 'a': 1 answer texts, but 0 in answer_start"),
        ({"answers": {"text": ["I"], "answer_start": ["x"]}}, "answer_start should be a whole number, found 'x'"),
        ({"answers": {"texts": ["I"]}}, "question 'a': expected a key 'text': did you mean 'texts'? (found: texts)"),
        ({"answers": ["I"]}, "question 'a': expected an object with 'text', found list"),
        ({"question": " "}, "question 'a': the question is empty"),
        ({"context": "\n"}, "question 'a': the context is empty"),
        ({"question": 3}, "a.jsonl:1: column 'question' should hold text, found a number (3)"),
        ({"context": "half \ud83d"}, "a.jsonl:1: column 'context' holds half of a surrogate pair"),
        ({"id": ""}, "a.jsonl:1: the id in column 'id' is empty; give each row one"),
        ({"id": None}, "a.jsonl:1: column 'id' should hold text, found nothing (null)"),
    ],
)
def test_mistakes_name_file_and_question(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD | change) + "\n")
    with pytest.raises(UserError) as caught:
        read_questions(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"version": "1.1"}, "expected a key 'data': known: version"),
        ([], "expected an object with 'data', found list"),
        ({"data": []}, "expected at least one question, found none"),
        ({"data": [{"paragraph": []}]}, "an article of 'data': expected a key 'paragraphs': did you mean 'paragraph'?"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, "the paragraph after question number 0: expected a key 'context'"),
        ({"data": [{"paragraphs": [{"context": "c", "qas": [{}]}]}]}, "question number 1: expected a key 'id'"),
    ],
)
def test_missing_keys_of_the_nested_layout_are_named(tmp_path: Path, value: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read_questions(written(tmp_path / "dev.json", value))
    assert says.replace("known", "found") in str(caught.value)


def test_ids_are_unique_and_answers_are_there_in_all_or_none(tmp_path: Path) -> None:
    item: Item = ("a", "?", "I do.", [("I", 0)])
    with pytest.raises(UserError, match=r"question 'a' \(.*dev\.json:2\): the id is taken by .*dev\.json:1; make ids"):
        read_questions(nested(tmp_path / "dev.json", [item, item]))
    qas = [{"id": "a", "question": "?"}, {"id": "b", "question": "?", "answers": [{"text": "I", "answer_start": 0}]}]
    for order in (qas, qas[::-1]):
        path = written(tmp_path / "x.json", {"data": [{"paragraphs": [{"context": "I do.", "qas": order}]}]})
        with pytest.raises(UserError, match="question 'a': expected 'answers' as other questions of the file have"):
            read_questions(path)


def simple(language: str, *items: tuple[str, str]) -> list[Item]:
    """Return questions with (id, context), the first word of the context being the answer."""
    return [(key, f"{language} {key}?", context, [(context.split()[0], 0)]) for key, context in items]


def test_tydiqa_scores_the_official_dev_part_and_is_not_parallel(tmp_path: Path) -> None:
    nested(tmp_path / "en" / "train.json", simple("en", ("e1", "one"), ("e2", "two")))
    nested(tmp_path / "en" / "dev.json", simple("en", ("e3", "three")))
    nested(tmp_path / "sw" / "dev.json", simple("sw", ("s1", "moja")))
    data = load_set("tydiqa", tmp_path)
    assert isinstance(data, DataSet)
    assert {language: data.parts(language) for language in data.languages} == {"en": ("train", "test"), "sw": ("test",)}
    assert [item.id for item in data.split("en", "test")] == ["e3"]
    assert [item.source for item in data.parallel("sw", "test", "en")] == [None]
    assert isinstance(data.task, QuestionTask)
    assert (data.task.labels, data.task.main_metric, data.task.normalisation) == ((), "f1", "squad")
    with pytest.raises(UserError, match=r"expected files of tydiqa such as en/train\.json"):
        load_set("tydiqa", tmp_path / "en")


def test_xquad_is_a_parallel_test_part(tmp_path: Path) -> None:
    nested(tmp_path / "xquad.en.json", simple("en", ("1", "one"), ("2", "two")))
    nested(tmp_path / "xquad.es.json", simple("es", ("2", "dos"), ("1", "uno")))
    data = load_set("xquad", tmp_path)
    assert data.parts("es") == ("test",)
    assert [item.source for item in data.parallel("es", "test", "en")] == [("en 2?", "two"), ("en 1?", "one")]
    with pytest.raises(UserError, match="xquad has no train part in 'en'"):
        data.split("en", "train")
    with pytest.raises(UserError, match=r"expected files of xquad such as xquad\.en\.json"):
        load_set("xquad", tmp_path / "..")


def test_a_dev_cut_keeps_contexts_whole_and_languages_apart(tmp_path: Path) -> None:
    """Swahili as in the release: train repeats contexts, and shares a context and an id with the test part."""
    swahili = [(f"s{n}", f"hadithi {n % 9}") for n in range(27)]
    nested(tmp_path / "sw" / "train.json", simple("sw", *swahili))
    nested(tmp_path / "sw" / "dev.json", simple("sw", ("s0", "hadithi 0"), ("x1", "hadithi 3"), ("x2", "nyingine")))
    nested(tmp_path / "en" / "train.json", simple("en", *((f"e{n}", f"story {n}") for n in range(20))))
    nested(tmp_path / "ar" / "dev.json", simple("ar", ("a1", "قصة")))
    data = load_set("tydiqa", tmp_path)
    cut = with_dev(data, 6, 0)
    for language in ("en", "sw"):
        train, dev = cut.split(language, "train"), cut.split(language, "dev")
        assert len(dev) == 6
        assert len(train) + len(dev) == len(data.split(language, "train"))
        assert not {item.texts[1] for item in train} & {item.texts[1] for item in dev}
    assert cut.split("sw", "test") == data.split("sw", "test")
    assert cut.parts("ar") == ("test",)
    with pytest.raises(UserError, match="cannot cut 2 dev rows: at least 3 rows share a context; ask for more"):
        with_dev(load_set("tydiqa", _only(tmp_path, "sw")), 2, 0)


def _only(folder: Path, language: str) -> Path:
    (folder / "only").mkdir()
    (folder / "only" / language).symlink_to(folder / language)
    return folder / "only"


def test_own_files_of_questions(tmp_path: Path) -> None:
    nested(tmp_path / "en.json", simple("en", ("1", "one"), ("2", "two")))
    rows = [{"id": "1", "question": "Ipi?", "context": "moja", "q": "Which?", "c": "one"}]
    lines(tmp_path / "sw.jsonl", rows)
    files = {"en": {"train": "en.json"}, "sw": {"train": "sw.jsonl"}}
    data = own_questions("mine", files, align="none", base=tmp_path)
    assert isinstance(data, DataSet)
    assert [item.source for item in data.parallel("sw", "train", "en")] == [None]
    parallel = own_questions("mine", files, base=tmp_path)
    assert [item.source for item in parallel.parallel("sw", "train", "en")] == [("en 1?", "one")]
    beside = own_questions("mine", {"sw": files["sw"]}, layout=FileLayout(source_texts=("q", "c")), base=tmp_path)
    assert [item.source for item in beside.parallel("sw", "train", "en")] == [("Which?", "one")]
    assert isinstance(beside.task, QuestionTask)
    assert beside.task.normalisation == "mlqa"
    with pytest.raises(UserError, match=r"gone\.json: the train file of 'sw' in mine is missing"):
        own_questions("mine", {"sw": {"train": "gone.json"}}, base=tmp_path)
    with pytest.raises(UserError, match="main metric accuracy is not among"):
        QuestionTask("mine", 1, main_metric="accuracy")  # type: ignore[arg-type]
