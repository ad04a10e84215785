import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.tasks.files import Row, read_rows

ODD = "\n\r\t\"'\u2028\u2029\x85\x0b\x0c\x1c\x00\ufeff\u200d ,\\"
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(ODD), max_size=30)
tables = st.lists(st.tuples(texts, texts), min_size=1, max_size=5)
quick = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


def cells(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row.text("one"), row.text("two")) for row in rows]


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@quick
@given(table=tables, end=st.sampled_from(["\n", "\r\n"]), mark=st.booleans())
def test_any_text_survives_csv(tmp_path: Path, table: list[tuple[str, str]], end: str, mark: bool) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("one", "two"), *table])
    path = put(tmp_path, "t.csv", b"\xef\xbb\xbf" * mark + buffer.getvalue().encode())
    assert cells(read_rows(path)) == table


@quick
@given(table=tables)
def test_any_text_survives_jsonl_escaped_and_plain(tmp_path: Path, table: list[tuple[str, str]]) -> None:
    for ascii_only in (True, False):
        lines = [json.dumps({"one": one, "two": two}, ensure_ascii=ascii_only) for one, two in table]
        assert cells(read_rows(put(tmp_path, "t.jsonl", "\n".join(lines)))) == table


@quick
@given(table=tables)
def test_any_text_survives_parquet(tmp_path: Path, table: list[tuple[str, str]]) -> None:
    pq.write_table(pa.table({"one": [a for a, _ in table], "two": [b for _, b in table]}), tmp_path / "t.parquet")
    assert cells(read_rows(tmp_path / "t.parquet")) == table


@quick
@given(table=st.lists(st.tuples(*[texts.map(lambda t: t.replace("\t", "").replace("\n", ""))] * 2), min_size=1))
def test_any_text_without_tab_and_line_feed_survives_tsv(tmp_path: Path, table: list[tuple[str, str]]) -> None:
    body = "".join(f"{one}\t{two}\n" for one, two in table)
    assert cells(read_rows(put(tmp_path, "t.tsv", "one\ttwo\n" + body))) == table


def test_words_that_other_readers_take_for_nothing_stay_text(tmp_path: Path) -> None:
    words = ["NA", "null", "None", "nan", "", " ", "1", "true", "#N/A"]
    rows = read_rows(put(tmp_path, "t.tsv", "one\ttwo\n" + "".join(f"{word}\tx\n" for word in words)))
    assert [row.text("one") for row in rows] == words


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    assert cells(read_rows(put(tmp_path, "t.tsv", 'one\ttwo\n"a\tb"\n'))) == [('"a', 'b"')]


def test_tsv_loses_the_carriage_return_only_when_every_line_has_one(tmp_path: Path) -> None:
    assert cells(read_rows(put(tmp_path, "t.tsv", "one\ttwo\r\na\tb\r\n"))) == [("a", "b")]
    assert cells(read_rows(put(tmp_path, "t.tsv", "one\ttwo\na\tb\r\n"))) == [("a", "b\r")]


def test_a_text_longer_than_the_csv_limit_is_read_and_the_limit_is_put_back(tmp_path: Path) -> None:
    limit = 131_072
    csv.field_size_limit(limit)
    assert len(read_rows(put(tmp_path, "t.csv", "one\n" + "x" * 200_000))[0].text("one")) == 200_000
    assert csv.field_size_limit() == limit


def test_origins_name_the_first_line_of_a_row(tmp_path: Path) -> None:
    path = put(tmp_path, "t.csv", 'one,two\n"a\n\nb",c\nd,e\n')
    assert [row.origin for row in read_rows(path)] == [f"{path}:2", f"{path}:5"]


def test_names_can_be_given_to_a_file_without_header(tmp_path: Path) -> None:
    path = put(tmp_path, "t.tsv", "a\tb\n")
    assert read_rows(path, header=("one", "two")) == [Row({"one": "a", "two": "b"}, f"{path}:1")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", "", "{path}: expected at least one row, found an empty file"),
        ("t.csv", b"\xef\xbb\xbf", "{path}: expected at least one row, found an empty file"),
        ("t.csv", "one,two\n", "{path}: expected at least one row, found only a header line"),
        ("t.jsonl", "", "{path}: expected at least one row, found an empty file"),
        ("t.txt", "x", "{path}: unknown kind of file '.txt'; say its format: one of csv, tsv, xlsx, jsonl"),
        ("t.csv", b"one\n\xe9t\xe9\n", "{path}:2: not UTF-8: byte 0xe9 at offset 4; save the file as UTF-8"),
        ("t.csv", b"\xef\xbb\xbfone\n\xe9\n", "{path}:2: not UTF-8: byte 0xe9 at offset 7;"),
        ("t.tsv", "one\n".encode("utf-16"), "{path}:1: not UTF-8: byte 0xff at offset 0 (it starts as UTF-16 does)"),
        ("t.csv", "one,two\na\n", "{path}:2: expected 2 fields (one, two), found 1"),
        ("t.tsv", "one\ttwo\na\tb\tc\n", "{path}:2: expected 2 fields (one, two), found 3"),
        ("t.csv", "one,two\na,b\n\nc,d\n", "{path}:3: expected 2 fields (one, two), found a blank line"),
        ("t.tsv", "one\ttwo\na\tb\n\nc\td\n", "{path}:3: expected 2 fields (one, two), found a blank line"),
        ("t.csv", "one,one\na,b\n", "{path}:1: the header names a column twice: one"),
        ("t.csv", 'one,two\na,b\n"c,d\ne,f\n', "{path}:3: damaged CSV (unexpected end of data)"),
        ("t.csv", 'one,two\n"a"b,c\n', "{path}:2: damaged CSV ("),
        ("t.jsonl", '{"one": 1}\n{"one": \n', "{path}:2: damaged JSON (Expecting value, column"),
        ("t.jsonl", '{"one": 1}\n\n{"one": 2}', "{path}:2: damaged JSON (Expecting value, column 1)"),
        ("t.jsonl", '{"one": 1, "one": 2}\n', "{path}:1: damaged JSON (a key occurs twice in one object)"),
        ("t.jsonl", "[1]\n", "{path}:1: expected a JSON object, found list ([1])"),
        ("t.jsonl", "[" * 100_000, "{path}:1: damaged JSON ("),
        ("t.jsonl", '{"one": ' + "9" * 5000 + "}", "{path}:1: damaged JSON ("),
        ("t.parquet", b"PAR1 but not really", "{path}: expected a Parquet file, but it is damaged"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    path = put(tmp_path, name, content)
    with pytest.raises(UserError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(says.replace("{path}", str(path)))
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    put(tmp_path, "train.csv", "x")
    with pytest.raises(UserError, match=r"trian\.csv: expected a file, found none.*did you mean 'train\.csv'"):
        read_rows(tmp_path / "trian.csv")
    with pytest.raises(UserError, match="there is no folder"):
        read_rows(tmp_path / "nowhere" / "train.csv")


def test_an_empty_parquet_and_names_for_a_file_with_its_own_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"one": pa.array([], pa.string())}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="expected at least one row, found none"):
        read_rows(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="a jsonl file names its own"):
        read_rows(put(tmp_path, "t.jsonl", "{}"), header=("one",))
    with pytest.raises(UserError, match="unknown file format 'tvs': did you mean 'tsv'"):
        read_rows(tmp_path / "t.jsonl", format="tvs")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"txt": "a"}', "expected a column 'text': did you mean 'txt'? (found columns: txt)"),
        ("{}", "expected a column 'text': found columns:"),
        ('{"text": null}', "column 'text' should hold text, found nothing (null)"),
        ('{"text": 3}', "column 'text' should hold text, found a number (3)"),
        ('{"text": ["a"]}', "column 'text' should hold text, found list (['a'])"),
        ('{"text": "\\ud83d"}', "column 'text' holds half of a surrogate pair"),
    ],
)
def test_a_cell_that_is_no_text_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = put(tmp_path, "t.jsonl", line)
    with pytest.raises(UserError) as caught:
        read_rows(path)[0].text("text")
    assert str(caught.value).startswith(f"{path}:1: {says}")


def test_the_folder_of_a_parquet_file_adds_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "language=sw"
    folder.mkdir()
    pq.write_table(pa.table({"one": ["a"]}), folder / "t.parquet")
    assert dict(read_rows(folder / "t.parquet")[0].cells) == {"one": "a"}
