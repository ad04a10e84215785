"""Files of any size: what is in memory, what stays of the input, what is kept after a kill, and what overlaps."""

import json
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import crossflare.serving.file as serving
from crossflare import progress
from crossflare.cli import main
from crossflare.errors import UserError
from crossflare.recipe.translation import engine_from_flags
from crossflare.serving import intake
from crossflare.serving.batcher import AHEAD, Batch, Batcher, overlapped
from crossflare.serving.file import Counts, predict_file, rejected_file
from crossflare.tasks.files import read_rows
from tiny_adapters import LABELS, make_adapters, write

OURS = ["prediction", *(f"p({label})" for label in LABELS), "truncated"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapters(tmp_path_factory.mktemp("models"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of four rows."""
    monkeypatch.setattr(intake, "ROWS", 4)
    return 4


def texts(count: int) -> list[str]:
    return [" ".join(f"w{(number + place) % 40}" for place in range(1 + number % 7)) for number in range(count)]


def label(folder: Path, input: Path, output: Path, **more: Any) -> Counts:
    """Predict with the LoRA adapter, which reads texts alone."""
    given: dict[str, Any] = {"adapter": folder / "lora", "input": input, "output": output, "source": None}
    return predict_file(**given | more)


def left(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.name.endswith((".part", ".rejected.jsonl")))


# Columns and formats --------------------------------------------------------------------------------------------------

CELLS = {
    "id": ["7", "007", ""],
    "note": ["NA", ' a "quoted", cell\nof two lines', "null\u2028"],
    "text": ["w1 w2", "w3\tw4", "w5"],
    "z": ["1.50", "1e3", "-0"],
}
NAMES = [".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".jsonl.bz2", ".tsv.xz", ".jsonl.zst"]


def columns_of(path: Path) -> dict[str, list[Any]]:
    rows = read_rows(path)
    return {name: [row.cells[name] for row in rows] for name in rows[0].cells}


@pytest.mark.parametrize("ending", NAMES)
def test_all_columns_stay_as_they_were_whatever_the_formats(folder: Path, tmp_path: Path, ending: str) -> None:
    pq.write_table(pa.table(CELLS), tmp_path / "in.parquet")
    label(folder, tmp_path / "in.parquet", tmp_path / f"a{ending}")
    found = columns_of(tmp_path / f"a{ending}")
    assert list(found)[:4] == list(CELLS)
    assert {name: found[name] for name in CELLS} == CELLS
    ours = ["prediction", "probabilities", "truncated"] if ".jsonl" in ending else OURS
    assert list(found)[4:] == ours
    label(folder, tmp_path / f"a{ending}", tmp_path / "b.csv", prefix="second ")  # what was written is read
    again = columns_of(tmp_path / "b.csv")
    assert {name: again[name] for name in CELLS} == CELLS
    assert again["second prediction"] == found["prediction"] == again["prediction"]
    assert list(again)[-len(OURS) :] == [f"second {name}" for name in OURS]


def test_values_of_json_and_parquet_keep_their_types(folder: Path, tmp_path: Path, small: int) -> None:
    values = [{"a": [1, {"b": None}], "n": 10**30, "x": 0.1, "no": None, "yes": True, "text": t} for t in texts(6)]
    label(folder, write(tmp_path / "in.jsonl", values), tmp_path / "out.jsonl")
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{name: row[name] for name in values[0]} for row in out] == values

    table = pa.table({
        "when": pa.array([2**40 + 1] * 6, pa.timestamp("ns")), "took": pa.array([2**62, None] * 3, pa.duration("s")),
        "kind": pa.array(["a", "b"] * 3).dictionary_encode(), "half": pa.array([float("nan")] * 6, pa.float32()),
        "text": ["w1", "", "w2", " ", "w3", "w4"],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "in.parquet")
    assert label(folder, tmp_path / "in.parquet", tmp_path / "out.parquet").rejected == 2
    made = pq.read_table(tmp_path / "out.parquet")
    kept = table.take([0, 2, 4, 5])
    assert made.select(table.column_names).schema.equals(kept.schema)
    assert made.column("took").cast(pa.int64()).equals(kept.column("took").cast(pa.int64()))
    assert made.column("when").equals(kept.column("when"))
    assert [str(value) for value in made.column("half").to_pylist()] == ["nan"] * 4
    assert made.column("id").to_pylist() == ["0", "2", "4", "5"]  # rows without a name get their number
    assert [str(made.schema.field(f"p({name})").type) for name in LABELS] == ["double"] * 3


def test_columns_of_several_types_become_one_type_of_parquet(folder: Path, tmp_path: Path, small: int) -> None:
    values: list[Any] = [1, 2, 3, 4, 1.5, None, 2, 3]
    mixed: list[Any] = [1, 2, 3, 4, "a", None, [1], True]
    rows = [{"text": "w1", "v": v, "m": m} for v, m in zip(values, mixed, strict=True)]
    label(folder, write(tmp_path / "in.jsonl", rows), tmp_path / "out.parquet")
    made = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert made["v"] == values
    assert made["m"] == ["1", "2", "3", "4", "a", None, "[1]", "true"]


def test_a_column_that_would_be_added_is_refused_before_any_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write(tmp_path / "in.jsonl", [{"text": "w1"}, {"text": "w2", "prediction": "mine"}])
    assert label(folder, rows, tmp_path / "out.jsonl").rejected == 1  # the first row says what the columns are
    rows = write(tmp_path / "in.jsonl", [{"text": "w2", "prediction": "mine"}])
    with monkeypatch.context() as patched:
        patched.setattr(serving, "load_trained", None)
        with pytest.raises(UserError, match="it has a column 'prediction' already, which would be added; say --prefix"):
            label(folder, rows, tmp_path / "out.csv")
    label(folder, rows, tmp_path / "out.csv", prefix="new_")
    assert columns_of(tmp_path / "out.csv")["prediction"] == ["mine"]


# Rows that cannot be read ---------------------------------------------------------------------------------------------

BAD: dict[str, tuple[bytes, dict[int, str]]] = {
    "in.csv": (
        b'text,n\nw1,1\nw2\nw3,3,3\n,4\n" ",5\nw\xff6,6\nw\x007,7\n"w8"x,8\nw9,"two\nlines"\n\nw12,"open\nw13,13\n',
        {
            3: "expected 2 fields (text, n), found 1",
            4: "expected 2 fields (text, n), found 3",
            5: "the text in column 'text' is empty",
            6: "the text in column 'text' is empty",
            7: "not UTF-8: byte 0xff",
            8: "column 'text' holds a NUL character",
            9: "damaged CSV",
            12: "found a blank line",
            13: "damaged CSV (unexpected end of data)",
        },
    ),
    "in.tsv": (
        b"text\tn\nw1\t1\nw2\nw\xfe\t3\n\t4\nw9\t9\n",
        {3: "expected 2 fields", 4: "not UTF-8: byte 0xfe", 5: "the text in column 'text' is empty"},
    ),
    "in.jsonl": (
        b'{"text": "w1", "n": 1}\n{"text": "w2"\n[]\n{"n": 4}\n{"text": null}\n{"text": 6}\n{"text": "\\ud800"}\n'
        b'{"text": "w8", "n": "\\udc80"}\n{"text": "\xff"}\n{"text": ""}\n{"text": "\\u0000w"}\n'
        b'{"text": "w12", "text": "w"}\n\n{"text": "w9", "n": "\\ud83d\\ude00"}\n',
        {
            2: "damaged JSON",
            3: "expected a JSON object",
            4: "expected a column 'text'",
            5: "column 'text' should hold text, found nothing",
            6: "column 'text' should hold text, found a number",
            7: "half of a surrogate pair",
            8: "half of a surrogate pair",
            9: "not UTF-8: byte 0xff",
            10: "the text in column 'text' is empty",
            11: "column 'text' holds a NUL character",
            12: "a key occurs twice",
            13: "damaged JSON",
        },
    ),
    "in.txt": (b"w1\n\nw\xff\nw9\n", {2: "the text in column 'text' is empty", 3: "not UTF-8: byte 0xff"}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_cannot_be_read_is_named_and_the_others_are_predicted(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, wanted = BAD[name]
    path, output = tmp_path / name, tmp_path / "out.jsonl"
    path.write_bytes(content)
    words = ["predict", "--adapter", str(folder / "lora"), "--input", str(path), "--output", str(output)]
    assert main([*words, "--strict"]) == 2
    assert f"{path}:{min(wanted)}: {wanted[min(wanted)]}" in capsys.readouterr().err
    assert not output.exists()
    assert main(words) == 3
    assert f"{len(wanted)} rows could not be read -> {rejected_file(output)}" in capsys.readouterr().out
    named = [json.loads(line) for line in rejected_file(output).read_text().splitlines()]
    assert [row["where"] for row in named] == [f"{path}:{line}" for line in wanted]
    assert all(reason in row["reason"] for row, reason in zip(named, wanted.values(), strict=True))
    out = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["text"] for row in out] == ["w1", "w9"]
    assert all(row["prediction"] in LABELS for row in out)


def test_a_quote_that_is_never_closed_loses_a_bounded_part(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossflare.tasks.tables.LONGEST", 50)
    path = tmp_path / "in.csv"
    path.write_text('text\n"w1\n' + "w2\n" * 40)
    counts = label(folder, path, tmp_path / "out.csv")
    assert counts.rejected == 1
    assert counts.rows > 20


def test_no_row_at_all_is_an_error_that_names_the_file(folder: Path, tmp_path: Path) -> None:
    rows = write(tmp_path / "in.jsonl", [{"text": ""}, {"text": " "}])
    with pytest.raises(UserError, match=r"none of 2 rows could be read; see .*out\.csv\.rejected\.jsonl"):
        label(folder, rows, tmp_path / "out.csv")
    assert len(rejected_file(tmp_path / "out.csv").read_text().splitlines()) == 2
    assert left(tmp_path) == ["out.csv.rejected.jsonl"]
    label(folder, write(tmp_path / "in.jsonl", [{"text": "w1"}]), tmp_path / "out.csv")
    assert left(tmp_path) == []  # an older list of rejected rows goes


# Memory and progress --------------------------------------------------------------------------------------------------


def test_only_a_few_chunks_of_rows_are_alive(
    folder: Path, tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Counted(intake.Chunk):
        __slots__ = ("__weakref__",)

        def __init__(self, begin: int) -> None:
            nonlocal most
            super().__init__(begin)
            alive.add(self)
            most = max(most, len(alive))

    monkeypatch.setattr(intake, "Chunk", Counted)
    rows = write(tmp_path / "in.jsonl", [{"text": text} for text in texts(80)])
    assert label(folder, rows, tmp_path / "out.jsonl").rows == 80
    assert 2 <= most <= len(Batcher(None, "target").stages) + AHEAD + 2  # type: ignore[arg-type]


def test_progress_counts_rows_and_goes_on_where_it_was(
    folder: Path, tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard:
        moves: list[tuple[int, str]]

        def begin(self, key: Any, description: str, total: int | None, done: int) -> None:
            self.begun, self.moves = (description, total, done), []

        def move(self, key: Any, done: int, note: str, left: float | None) -> None:
            self.moves.append((done, note))

        def end(self, key: Any, whole: bool) -> None: ...

        def say(self, line: str) -> None: ...

    heard = Heard()
    monkeypatch.setattr(progress, "_display", heard)
    rows = write(tmp_path / "in.jsonl", [{"text": text} for text in texts(10)])
    with stopped_at(monkeypatch, 2), pytest.raises(KeyboardInterrupt):
        label(folder, rows, tmp_path / "out.jsonl")
    label(folder, rows, tmp_path / "out.jsonl")
    assert heard.begun == ("predicting in.jsonl", 10, 4)
    assert [done for done, _ in heard.moves] == [8, 10]
    assert all(note.endswith(" rows/s") for _, note in heard.moves)


# Stops and kills ------------------------------------------------------------------------------------------------------


class stopped_at:
    """Ctrl-C when the model has got so many chunks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object] | None = None) -> None:
        self.patch, self.number, self.act, self.seen = monkeypatch, number, act, list[Sequence[str]]()

    def __enter__(self) -> "stopped_at":
        add, self.added = serving.Growing.add, 0

        def count(*given: Any) -> None:
            self.added += 1
            if self.added == self.number:
                if self.act is not None:
                    self.act()
                raise KeyboardInterrupt
            add(*given)

        self.context = self.patch.context()
        self.context.__enter__().setattr(serving.Growing, "add", count)
        return self

    def __exit__(self, *_: object) -> None:
        self.context.__exit__(None, None, None)


@pytest.mark.parametrize("ending", [".csv", ".jsonl.gz", ".parquet"])
def test_after_ctrl_c_the_same_call_goes_on_to_the_same_bytes(
    folder: Path, tmp_path: Path, small: int, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write(tmp_path / "in.jsonl", [{"text": t, "n": n} for n, t in enumerate(["", *texts(20)])])
    whole, output = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    expected = label(folder, rows, whole)
    threads = threading.active_count()
    with stopped_at(monkeypatch, 4), pytest.raises(KeyboardInterrupt):
        label(folder, rows, output)
    assert threading.active_count() == threads
    assert not output.exists()
    with (output.with_name(f"{output.name}.part") / "rows").open("ab") as file:
        file.write(b"of a chunk that was not finished")
    seen: list[str] = []
    read = Batcher.prepare

    def noting(self: Batcher, batch: Batch) -> Batch:
        seen.extend(example.texts[0] for example in batch.examples)
        return read(self, batch)

    monkeypatch.setattr(Batcher, "prepare", noting)
    assert label(folder, rows, output) == expected
    assert output.read_bytes() == whole.read_bytes()
    assert rejected_file(output).read_bytes() == rejected_file(whole).read_bytes()
    assert seen == texts(20)[3 * small - 1 :]  # no row of a chunk that is on the disk is read again
    assert left(tmp_path) == sorted(rejected_file(path).name for path in (whole, output))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": "other.jsonl"}, "input"),
        ({"batch_size": 3}, "batch size"),
        ({"texts": ("n",)}, "columns"),
        ({"adapter": "flare", "no_source": True}, "adapter"),
    ],
)
def test_rows_of_another_call_are_never_mixed_in(
    folder: Path, tmp_path: Path, small: int, change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write(tmp_path / "in.jsonl", [{"text": text, "n": text} for text in texts(12)])
    write(tmp_path / "other.jsonl", [{"text": text, "n": text} for text in texts(13)])
    with stopped_at(monkeypatch, 2), pytest.raises(KeyboardInterrupt):
        label(folder, rows, tmp_path / "out.jsonl")
    places = {"input": tmp_path, "adapter": folder}
    other = {name: places[name] / value if name in places else value for name, value in change.items()}
    with pytest.raises(UserError, match=rf"its rows were made with something else \({said}.*remove the folder"):
        label(folder, rows, tmp_path / "out.jsonl", **other) if "input" not in other else label(
            folder, other["input"], tmp_path / "out.jsonl"
        )
    assert label(folder, rows, tmp_path / "out.jsonl").rows == 12


def test_two_calls_for_one_output_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write(tmp_path / "in.jsonl", [{"text": "w1"}])
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(UserError) as caught:
            label(folder, rows, tmp_path / "out.jsonl")
        refused.append(str(caught.value))

    with stopped_at(monkeypatch, 1, second), pytest.raises(KeyboardInterrupt):
        label(folder, rows, tmp_path / "out.jsonl")
    assert f"process {os.getpid()} on " in refused[0]
    assert "predicts there already" in refused[0]


def test_a_text_is_translated_once_also_after_a_stop(
    folder: Path, tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossflare.translation.engines.dictionary import Dictionary

    (tmp_path / "words.tsv").write_text("".join(f"w{n}\tw{39 - n}\n" for n in range(40)))
    engine = engine_from_flags("dictionary", [f"lexicon={tmp_path / 'words.tsv'}"])
    asked: list[str] = []
    translate = Dictionary.translate

    def noting(self: Any, texts: Sequence[str], **pair: str) -> list[str]:
        asked.extend(texts)
        return translate(self, texts, **pair)

    monkeypatch.setattr(Dictionary, "translate", noting)
    rows = write(tmp_path / "in.jsonl", [{"text": text} for text in texts(20) * 2])
    given: dict[str, Any] = {"adapter": folder / "flare", "source": engine}
    with stopped_at(monkeypatch, 3), pytest.raises(KeyboardInterrupt):
        label(folder, rows, tmp_path / "out.csv", **given)
    label(folder, rows, tmp_path / "out.csv", **given)
    assert sorted(asked) == sorted(set(texts(20)))


@pytest.mark.faults
@pytest.mark.parametrize("ending", [".csv", ".jsonl.xz", ".parquet"])
def test_killed_at_every_piece_the_bytes_are_those_of_an_undisturbed_call(
    folder: Path, tmp_path: Path, small: int, ending: str
) -> None:
    """SIGKILL before, amid and after each write of a piece, and at each renaming at the end."""
    rows = write(tmp_path / "in.jsonl", [{"text": t, "n": n} for n, t in enumerate(["", *texts(11)])])
    whole, output = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    label(folder, rows, whole)
    kills = 0
    for point in range(1, 100):
        code = killed_at(point, lambda: label(folder, rows, output))
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        label(folder, rows, output)
        assert output.read_bytes() == whole.read_bytes(), point
        assert rejected_file(output).read_bytes() == rejected_file(whole).read_bytes()
        assert left(tmp_path) == sorted(rejected_file(path).name for path in (whole, output))
        output.unlink()
        if code == 0:
            break
    assert kills > 10


def killed_at(point: int, work: Callable[[], object]) -> int:
    """Return the exit code of a child that is killed before its call number `point` of those that change the disk."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls = 0

    def killing(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **options)

        return counted

    for name in ("fsync", "replace", "truncate"):
        setattr(os, name, killing(getattr(os, name)))
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


# Overlap --------------------------------------------------------------------------------------------------------------

WAIT = 20.0  # seconds until a law that does not hold fails; never waited for when it holds


def test_each_stage_works_on_the_chunk_after_that_of_the_next() -> None:
    """Three stages meet at a barrier: chunk n + 2 in the first, n + 1 in the second, n in the third."""
    meeting = threading.Barrier(3)
    met: list[tuple[int, int]] = []
    last = 9

    def stage(number: int) -> Callable[[int], int]:
        def work(chunk: int) -> int:
            if 2 - number <= chunk <= last - number:  # alone at the beginning and at the end
                met.append((chunk + number, number))
                meeting.wait(WAIT)
            return chunk

        return work

    assert list(overlapped(range(last + 1), [stage(number) for number in range(3)])) == list(range(last + 1))
    assert sorted(met) == [(together, number) for together in range(2, last + 1) for number in range(3)]


def test_no_more_chunks_are_taken_than_there_is_room_for() -> None:
    taken, given = 0, 0

    def chunks() -> Iterator[int]:
        nonlocal taken
        for number in range(30):
            taken += 1
            assert taken - given <= 2 + AHEAD
            yield number

    for number in overlapped(chunks(), [lambda chunk: chunk, lambda chunk: chunk]):
        assert number == given
        given += 1
    assert given == 30


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_a_stage_stops_the_others_and_leaves_no_thread(failing: int) -> None:
    threads, seen = threading.active_count(), [0, 0, 0]

    def stage(number: int) -> Callable[[int], int]:
        def work(chunk: int) -> int:
            seen[number] += 1
            if number == failing and chunk == 3:
                raise UserError("the third chunk")
            return chunk

        return work

    done = overlapped(range(1000), [stage(number) for number in range(3)])
    with pytest.raises(UserError, match="the third chunk"):
        list(done)
    assert threading.active_count() == threads
    assert max(seen) <= 3 + 3 + AHEAD + 1


def test_whoever_stops_waiting_stops_the_stages_where_their_bar_moves() -> None:
    threads, moved = threading.active_count(), threading.Event()

    def endless(chunk: int) -> int:
        with progress.bar("endless", None) as advance:
            while chunk:
                advance(1)
                moved.set()
        return chunk

    done = overlapped(range(10), [endless])
    assert next(done) == 0
    assert moved.wait(WAIT)
    done.close()  # as Ctrl-C does
    assert threading.active_count() == threads


def test_the_company_of_a_row_changes_only_the_last_digits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossflare.evaluation.scoring.resolve", lambda precision, device: "fp32")
    rows = write(tmp_path / "in.jsonl", [{"text": text} for text in texts(30)])
    label(folder, rows, tmp_path / "whole.csv")
    monkeypatch.setattr(intake, "ROWS", 1)
    label(folder, rows, tmp_path / "alone.csv")
    one, other = (columns_of(tmp_path / name) for name in ("whole.csv", "alone.csv"))
    assert one["text"] == other["text"]
    for name in OURS[1:-1]:
        assert [float(p) for p in one[name]] == pytest.approx([float(p) for p in other[name]], abs=2e-6)
