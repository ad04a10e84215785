"""Files as people have them, named in a recipe: they are read as it says, or refused by their line."""

import bz2
import gzip
import json
import lzma
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossflare.errors import UserError
from crossflare.experiment.data.opening import open_set
from crossflare.experiment.data.rows import Data
from crossflare.experiment.promise.check import missing_paths
from crossflare.recipe.read import spec_from
from crossflare.recipe.spec import Spec
from crossflare.tasks import lines

ROWS = [("mbaya", "negative"), ("nzuri, sana", "positive"), ("si vizuri", "negative")]
CSV = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS)
Task = dict[str, Any]


def recipe(folder: Path, files: Any, **task: Any) -> Spec:
    """Return a recipe whose every part is `files`, unless these are a mapping of languages."""
    if files != {} and not (isinstance(files, dict) and "sw" in files):
        files = {"en": {"train": files, "dev": files}, "sw": dict.fromkeys(("train", "dev", "test"), files)}
    given = {"texts": ["text"], "label": "label", "labels": ["negative", "positive"], "files": files} | task
    given = {name: value for name, value in given.items() if value not in (None, {})}
    made = {"name": "case", "task": given, "source": "en", "targets": ["sw"], "model": {"name": "minilm"}, "seeds": [0]}
    return spec_from(json.dumps(made | {"methods": {"zero-shot": None}}), folder)


def validated(folder: Path, files: Any, **task: Any) -> list[tuple[str, str]]:
    """Check a recipe as `validate` does, and return the test rows that it reads: (text, label)."""
    spec = recipe(folder, files, **task)
    assert missing_paths(spec) == []
    data = Data(spec, folder)
    data.check()
    return [(e.texts[0], data.task.labels[e.label]) for e in data.set.split("sw", "test") if e.label is not None]


def refused(folder: Path, files: Any, **task: Any) -> str:
    with pytest.raises(UserError) as caught:
        validated(folder, files, **task)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(("sign", "said"), [(";", ";"), ("|", "|"), ("\t", "tab"), ("\t", "\t"), ("\t", "\\t")])
def test_a_delimiter(tmp_path: Path, sign: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(f"text{sign}label\n" + "".join(f"{text}{sign}{label}\n" for text, label in ROWS))
    assert validated(tmp_path, "a.csv", delimiter=said) == ROWS
    advice = "tab" if sign == "\t" else f'"{sign}"'
    assert f"say delimiter: {advice}" in refused(tmp_path, "a.csv")


@pytest.mark.parametrize("wrong", ["", "ab", "a", '"', " "])
def test_what_is_no_delimiter_is_refused_with_the_recipe(tmp_path: Path, wrong: str) -> None:
    assert "task.delimiter: expected one sign" in refused(tmp_path, "a.csv", delimiter=wrong)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_file_without_header(tmp_path: Path, name: str) -> None:
    sign = "\t" if name == "a.tsv" else ","
    (tmp_path / name).write_text("".join(f"{label}{sign}{text.replace(',', '')}\n" for text, label in ROWS))
    plain = [(text.replace(",", ""), label) for text, label in ROWS]
    (tmp_path / f"alike{name[1:]}").write_text(f"positive{sign}same{sign}same\n")
    assert validated(tmp_path, f"alike{name[1:]}", header=False, texts=[3], label=1) == [("same", "positive")]
    assert validated(tmp_path, name, header=["label", "text"]) == plain
    assert validated(tmp_path, name, header=False, texts=[2], label=1) == plain
    said = refused(tmp_path, name, header=["label", "text", "more"])
    assert f"{name}:1: expected 3 fields (label, text, more), found 2" in said
    assert f"{name}:1: expected a column 3, found 2" in refused(tmp_path, name, header=False, texts=[3], label=1)


def test_places_of_columns_that_have_names_and_places_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "positive"}\n')
    assert validated(tmp_path, "a.csv", texts=[1], label=2) == ROWS
    assert "task.texts: expected a column's name, or its place from 1, got 0" in refused(tmp_path, "a.csv", texts=[0])
    assert "CSV and TSV alone; give the name of label" in refused(tmp_path, "a.jsonl", label=2)
    assert "task.header: expected each column's name once, got text" in refused(
        tmp_path, "a.csv", header=["text", "text"]
    )


def objects(end: str = "\n") -> str:
    return end.join(json.dumps({"text": text, "label": label}) for text, label in ROWS)


@pytest.mark.parametrize(
    ("name", "format", "content"),
    [
        ("a.txt", "csv", CSV),
        ("a", "tsv", CSV.replace('",', "\t").replace('"', "").replace("text,label", "text\tlabel")),
        ("a.txt", "jsonl", objects()),
        ("a.json", None, f"[{objects(',')}]"),
        ("a.json", None, f'{{"version": 1,\n"data": [{objects(",")}]}}'),
        ("a.json", None, f'{{"data": [{objects(",")}]}}'),
        ("a.json", None, objects()),
        ("a.data", "json", f"\ufeff[{objects(',')}]"),
        ("a.txt", "fasttext", "".join(f"__label__{label} {text}\n" for text, label in ROWS)),
    ],
)
def test_a_format_said_or_shown(tmp_path: Path, name: str, format: str | None, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert validated(tmp_path, name, format=format) == ROWS


def test_one_object_on_a_line_is_one_row_also_in_a_json_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "a", "label": "positive", "spans": [1]}')
    assert validated(tmp_path, "a.json") == [("a", "positive")]


@pytest.mark.parametrize(
    ("name", "content", "task", "says"),
    [
        ("a.txt", CSV, {}, "a.txt: unknown kind of file '.txt'; say its format: one of csv, tsv, xlsx, jsonl, json"),
        ("a.json", '{"a": [], "b": []}\n', {}, "a.json:1: expected a column 'text'"),
        (
            "a.json",
            '{\n"a": [{}], "b": []}',
            {},
            "expected a list of objects, or an object with one list, found an",
        ),
        ("a.json", '[{"text": "a", "label": "positive"}, 3]', {}, "a.json:2: expected a list of objects, found a num"),
        ("a.json", "[{]", {}, "a.json: expected JSON, but it is damaged"),
        ("a.txt", "positive a\n", {"format": "fasttext"}, "a.txt:1: expected `__label__NAME TEXT`, found 'positive a'"),
        ("a.txt", "__label__a __label__b c\n", {"format": "fasttext"}, "a.txt:1: expected one label, found several"),
        ("a.txt", "x", {"format": "fasttext", "delimiter": ";"}, "task.delimiter: means nothing in a fasttext file"),
        ("a.jsonl", "{}", {"header": ["text"]}, "a.jsonl: column names are given for a headless file, but a jsonl"),
        ("a.parquet.gz", "x", {}, "expected a parquet file as it is, which is packed inside itself; unpack it"),
        ("a.csv", CSV, {"format": "xls"}, "task.format: unknown value 'xls'"),
    ],
)
def test_a_format_that_is_not_so(tmp_path: Path, name: str, content: str, task: Task, says: str) -> None:
    (tmp_path / name).write_text(content)
    assert says in refused(tmp_path, name, **task)


def test_several_files_and_patterns_follow_each_other(tmp_path: Path) -> None:
    for number, (text, label) in enumerate(ROWS):
        (tmp_path / f"train-{number}.csv").write_text(f"id,text,label\n{number},{text.replace(',', '')},{label}\n")
    plain = [(text.replace(",", ""), label) for text, label in ROWS]
    assert validated(tmp_path, "train-*.csv") == plain
    assert validated(tmp_path, ["train-2.csv", "train-[01].csv"], id="id") == [plain[2], *plain[:2]]
    assert validated(tmp_path, {"en": {"train": "train-*.csv", "dev": "train-0.csv"}, "sw": {"test": "train-?.csv"}})
    said = refused(tmp_path, ["train-0.csv", "train-0.csv"], id="id")
    assert "train-0.csv:2: the id '0' is taken by" in said
    assert "task.files.en.train: expected `path`" in refused(tmp_path, [])
    spec = recipe(tmp_path, {"en": {"train": "none-*.csv", "dev": "train-*.csv"}, "sw": {"test": ["gone.csv"]}})
    wrong = missing_paths(spec)
    assert [line.partition(" at ")[0] for line in wrong] == [
        "task.files.en.train: expected files of such names",
        "task.files.sw.test: expected a file or folder",
    ]
    with pytest.raises(UserError, match=r"none-\*\.csv: the train file of 'en' in case is missing; check the pattern"):
        open_set(spec)


def test_a_part_has_options_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "en.csv").write_text("en_review,label\na,negative\nb,positive\nc,negative\n")
    (tmp_path / "sw.txt").write_text("".join(f"{label};{text}\n" for text, label in ROWS))
    english = {"train": "en.csv", "dev": "en.csv"}
    swahili = {"path": "sw.txt", "texts": [2], "label": 1, "header": False, "delimiter": ";", "format": "csv"}
    files = {"en": english, "sw": {"test": swahili}}
    assert validated(tmp_path, files, texts=["en_review"]) == ROWS
    said = refused(tmp_path, {"en": english, "sw": {"test": swahili | {"colour": 1}}}, texts=["en_review"])
    assert "task.files.sw.test.colour: unknown key" in said
    said = refused(tmp_path, {"en": english, "sw": {"test": swahili | {"delimiter": "xx"}}}, texts=["en_review"])
    assert "task.files.sw.test.delimiter: expected one sign" in said
    said = refused(tmp_path, {"en": english, "sw": {"test": {"texts": ["a"]}}}, texts=["en_review"])
    assert "task.files.sw.test: expected `path`" in said


def test_all_languages_and_parts_in_one_file(tmp_path: Path) -> None:
    rows = ["en,train,0,good", "en,train,0,bad", "en,dev,0,so", "sw,test,1,nzuri", "sw,test,1,mbaya", "sw,test,2,x"]
    table = "\n".join(["language,part,fold,text,label", *(f"{row},positive" for row in rows)])
    (tmp_path / "all.csv").write_text(table)

    def part(language: str, name: str, **more: Any) -> Task:
        return {"path": "all.csv", "where": {"language": language, "part": name, **more}}

    files = {"en": {each: part("en", each) for each in ("train", "dev")}, "sw": {"test": part("sw", "test", fold=1)}}
    assert validated(tmp_path, files) == [("nzuri", "positive"), ("mbaya", "positive")]
    said = refused(tmp_path, files | {"sw": {"test": part("swa", "test")}})
    assert "expected rows where language: swa, part: test, found none, but language: en, language: sw" in said
    said = refused(tmp_path, files | {"sw": {"test": part("sw", "test", split=1)}})
    assert "all.csv:5: expected a column 'split'" in said


def test_a_field_inside_an_object(tmp_path: Path) -> None:
    rows = [{"meta": {"text": text}, "out": {"label": label}} for text, label in ROWS]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"meta.text": "own", "meta": {"text": "inner"}, "out": {"label": "positive"}}\n')
    for name in ("a.jsonl", "a.parquet"):
        assert validated(tmp_path, name, texts=["meta.text"], label="out.label") == ROWS
        assert "there is meta.text" in refused(tmp_path, name, label="out.label")
        assert "expected a column 'meta.txt'" in refused(tmp_path, name, texts=["meta.txt"], label="out.label")
    assert validated(tmp_path, "b.jsonl", texts=["meta.text"], label="out.label") == [("own", "positive")]


def zst(content: bytes) -> bytes:
    """Pack as two frames, as programs that pack with several threads do."""
    pack = pytest.importorskip("zstandard").ZstdCompressor().compress
    return pack(content[: len(content) // 2]) + pack(content[len(content) // 2 :])


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
PACKERS["zst"] = zst


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_files(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("a.csv", CSV), ("a.jsonl", objects()), ("a.json", f"[{objects(',')}]")):
        packed = PACKERS[ending](content.encode())
        (tmp_path / f"{name}.{ending}").write_bytes(packed)
        assert validated(tmp_path, f"{name}.{ending}") == ROWS
    (tmp_path / f"cut.csv.{ending}").write_bytes(PACKERS[ending]((CSV + CSV.partition("\n")[2] * 50).encode())[:-12])
    assert "is damaged" in refused(tmp_path, f"cut.csv.{ending}")
    (tmp_path / f"no.csv.{ending}").write_text(CSV)
    assert "is damaged" in refused(tmp_path, f"no.csv.{ending}")
    (tmp_path / f"bomb.csv.{ending}").write_bytes(PACKERS[ending](b"text,label\n" + b"a,positive\n" * 20_000))
    assert lines._FREE == 100_000_000  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(lines, "_FREE", 100_000)
    assert "unpacks to more than 100 times its size and more than 0 MB" in refused(tmp_path, f"bomb.csv.{ending}")


def sheet(path: Path, rows: list[list[Any]], *others: list[list[Any]]) -> None:
    book: Any = pytest.importorskip("openpyxl").Workbook()
    for number, each in enumerate((rows, *others)):
        one = book.active if number == 0 else book.create_sheet()
        for row in each:
            one.append(row)
    book.save(path)


def test_a_spreadsheet(tmp_path: Path) -> None:
    """Values go by their text, blank rows end the sheet, and other sheets may be there where they are blank."""
    rows = [["text", "label"], ["good one", True], [31, False], [date(2026, 1, 31), True], [2.0, True], [None, None]]
    sheet(tmp_path / "a.xlsx", rows, [])
    names = {"labels": ["true", "false"]}
    read = [("good one", "true"), ("31", "false"), ("2026-01-31", "true"), ("2", "true")]
    assert validated(tmp_path, "a.xlsx", **names) == read
    sheet(tmp_path / "b.xlsx", rows[1:])
    assert validated(tmp_path, "b.xlsx", header=False, texts=[1], label=2, **names) == read
    sheet(tmp_path / "c.xlsx", [*rows[:2], [None, None], *rows[2:4]])
    assert "c.xlsx:3: expected 2 fields (text, label), found a blank line" in refused(tmp_path, "c.xlsx", **names)
    sheet(tmp_path / "d.xlsx", [*rows[:2], ["a", True, "note"]])
    assert "d.xlsx:3: expected 2 fields (text, label), found 3" in refused(tmp_path, "d.xlsx", **names)
    sheet(tmp_path / "e.xlsx", rows, rows)
    assert "expected one sheet with rows, found 2 (Sheet, Sheet1); keep one" in refused(tmp_path, "e.xlsx", **names)
    whole = (tmp_path / "a.xlsx").read_bytes()
    (tmp_path / "f.xlsx").write_bytes(whole[: len(whole) // 2])
    assert "expected a .xlsx file, but it is damaged" in refused(tmp_path, "f.xlsx", **names)


def test_a_spreadsheet_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet(tmp_path / "a.xlsx", [["text", "label"], ["a" * 30_000, "positive"], *[["a" * 30_000, "positive"]] * 90])
    monkeypatch.setattr(lines, "_FREE", 100)
    monkeypatch.setattr(lines, "_RATIO", 2)
    assert "a.xlsx: unpacks to more than 2 times its size" in refused(tmp_path, "a.xlsx")


@pytest.mark.parametrize(("name", "package"), [("a.csv.zst", "zstandard"), ("a.xlsx", "openpyxl")])
def test_a_package_that_is_not_there_is_named(
    tmp_path: Path, name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(b"some")
    assert f'needs the package {package}; pip install "crossflare[files]"' in refused(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "a.csv",
            "text,label\ngood,positive\nbad,worse,negative\n",
            "a.csv:3: expected 2 fields (text, label), found 3",
        ),
        ("b.csv", "text,label\ngood,positive\nlabel,text\nnegative,bad\n", "b.csv:3: unknown label 'text'"),
        (
            "c.jsonl",
            '{"text": "a", "label": "positive"}\n{"texte": "b", "label": "negative"}\n',
            "c.jsonl:2: expected a",
        ),
        ("d.tsv", "text\tlabel\na\tpositive\nb\n", "d.tsv:3: expected 2 fields (text, label), found 1"),
    ],
)
def test_columns_that_change_half_way_are_named_by_their_line(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    (tmp_path / name).write_text(content)
    said = refused(tmp_path, name)
    assert says in said
    assert "\n" not in said


def test_blank_lines_end_a_file(tmp_path: Path) -> None:
    for name, content in (("a.csv", CSV), ("a.jsonl", objects() + "\n")):
        (tmp_path / name).write_text(content + "\n\n")
        assert validated(tmp_path, name) == ROWS
        (tmp_path / name).write_text(content + "\n" + content.splitlines()[-1] + "\n")
        assert f"{name}:{len(content.splitlines()) + 1}: " in refused(tmp_path, name)
    (tmp_path / "a.tsv").write_text('text\tlabel\n"a "" b"\tpositive\n\n\n')
    assert validated(tmp_path, "a.tsv") == [('a " b', "positive")]


def test_numbers_of_a_parquet_file_get_the_names_that_it_holds(tmp_path: Path) -> None:
    names = {"label": {"names": ["positive", "negative"], "_type": "ClassLabel"}, "text": {"_type": "Value"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": names}}).encode()}
    table = pa.table({"text": ["a", "b"], "label": [1, 0]})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    assert validated(tmp_path, "a.parquet") == [("a", "negative"), ("b", "positive")]
    assert validated(tmp_path, "a.parquet", labels=[0, 1]) == [("a", "1"), ("b", "0")]
    swapped = validated(tmp_path, "a.parquet", aliases={"0": "negative", "1": "positive"})
    assert swapped == [("a", "positive"), ("b", "negative")]
    pq.write_table(table, tmp_path / "b.parquet")
    assert "label 1 is a number" in refused(tmp_path, "b.parquet")


def test_the_main_metric(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    assert open_set(recipe(tmp_path, "a.csv")).task.main_metric == "accuracy"
    assert open_set(recipe(tmp_path, "a.csv", main_metric="macro_f1")).task.main_metric == "macro_f1"
    weighted = open_set(recipe(tmp_path, "a.csv", main_metric="weighted_f1")).task
    assert (weighted.main_metric, weighted.metrics) == ("weighted_f1", ("accuracy", "macro_f1", "weighted_f1"))
    wanted = "task.main_metric: expected accuracy, macro_f1 or weighted_f1, got f1"
    assert wanted in refused(tmp_path, "a.csv", main_metric="f1")


def asked(folder: Path, files: Any, **task: Any) -> list[tuple[str, tuple[str, ...], list[str]]]:
    spec = recipe(folder, files, **({"texts": None, "label": None, "labels": None, "questions": True} | task))
    data = Data(spec, folder)
    data.check()
    return [(e.id, e.texts, [a.text for a in e.answers]) for e in data.set.split("sw", "test")]


def test_columns_of_questions(tmp_path: Path) -> None:
    gold = {"text": ["Lima"], "answer_start": [3]}
    rows = [{"key": "q1", "ask": "where?", "passage": {"body": "in Lima"}, "gold": gold}]
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]) + "\n")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    columns = {"id": "key", "question": "ask", "context": "passage.body", "answers": "gold"}
    for name in ("a.jsonl", "a.json"):
        assert asked(tmp_path, name, **columns) == [("q1", ("where?", "in Lima"), ["Lima"])]
    (tmp_path / "a.csv").write_text("key;ask;passage;gold;at\nq1;where?;in Lima;Lima;3\n")
    flat = {"id": "key", "question": "ask", "context": "passage", "answer": "gold", "answer_start": "at"}
    assert asked(tmp_path, "a.csv", delimiter=";", **flat) == [("q1", ("where?", "in Lima"), ["Lima"])]
    with pytest.raises(UserError, match="expected a column 'golden'"):
        asked(tmp_path, "a.jsonl", **(columns | {"answers": "golden"}))
    item = {"id": "q", "question": "where?", "answers": [{"text": "Lima", "answer_start": 3}]}
    nested = {"data": [{"paragraphs": [{"context": "in Lima", "qas": [item]}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(nested))
    assert asked(tmp_path, "squad.json", **columns) == [("q", ("where?", "in Lima"), ["Lima"])]
    with pytest.raises(UserError, match="in SQuAD's layout, which has no columns: where means nothing"):
        asked(tmp_path, "squad.json", where={"a": 1})
    (tmp_path / "b.csv").write_text(CSV)
    assert "task.context: is a column of questions; say questions: true" in refused(tmp_path, "b.csv", context="c")


def test_a_named_set_says_all_this_itself(tmp_path: Path) -> None:
    for task in ({"delimiter": ";"}, {"where": {"a": 1}}, {"header": False}):
        with pytest.raises(UserError, match=f"task.{next(iter(task))}: the set 'xnli' says this itself"):
            recipe(tmp_path, {}, **{"set": "xnli", "texts": None, "label": None, "labels": None} | task)


def test_a_named_set_may_be_chosen_by_another_metric(tmp_path: Path) -> None:
    own = {"set": "phrasebook", "texts": None, "label": None, "labels": None}
    usual = recipe(tmp_path, {}, **own)
    other = recipe(tmp_path, {}, **own, main_metric="weighted_f1")
    assert open_set(other).task.main_metric == "weighted_f1"
    assert open_set(usual).task.main_metric == "accuracy", "the set itself is as it was"
    assert usual.task.choosing() == {}
    assert other.task.choosing() == {"main_metric": "weighted_f1"}
    with pytest.raises(UserError, match=r"task.main_metric: expected accuracy, macro_f1 or weighted_f1, got f1"):
        recipe(tmp_path, {}, **own, main_metric="f1")


def test_a_recipe_with_such_options_is_read_back_as_it_was(tmp_path: Path) -> None:
    part = {
        "path": ["a$$b.csv", "c-*.csv"],
        "where": {"language": "sw", "fold": 1},
        "texts": [2],
        "header": ["a", "text"],
    }
    spec = recipe(tmp_path, {"en": {"train": ["x.csv", "y.csv"], "dev": "a.csv"}, "sw": {"test": part}}, delimiter=";")
    assert spec_from(spec.to_yaml(), tmp_path) == spec
