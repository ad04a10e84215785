"""Whole files: the same bytes however many workers, bad input named, and memory that does not grow."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossflare.disk.files import write_atomic
from crossflare.errors import UserError
from crossflare.jobs import Cluster, Pool, Processes
from crossflare.translation import documents
from crossflare.translation.documents import TranslatedFile, translate_file

WORDS = {"one": "moja", "two": "mbili", "house": "nyumba", "big": "kubwa"}


@pytest.fixture
def engine(tmp_path: Path) -> dict[str, str]:
    write_atomic(tmp_path / "lexicon.tsv", "".join(f"{a}\t{b}\n" for a, b in WORDS.items()))
    return {"engine": "dictionary", "lexicon": str(tmp_path / "lexicon.tsv")}


def run(
    path: Path, output: Path, engine: dict[str, str], pool: Pool | None = None, targets: tuple[str, ...] = ("sw",)
) -> TranslatedFile:
    return translate_file(
        path, output, source="en", targets=targets, engine=engine, store=output.parent / "store", pool=pool
    )


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_keep_their_cells_and_get_translations(tmp_path: Path, engine: dict[str, str]) -> None:
    write_atomic(tmp_path / "in.csv", 'id,text\n1,"One big\nhouse. Two, 1998!"\n2,\n3,one\n4,one\n')
    done = run(tmp_path / "in.csv", tmp_path / "out.jsonl", engine, targets=("sw", "ace"))
    assert rows(tmp_path / "out.jsonl")[0] == {
        "id": "1",
        "text": "One big\nhouse. Two, 1998!",
        "text_sw": "Moja kubwa\nnyumba. Mbili, 1998!",
        "text_sw_flags": [],
        "text_ace": "Moja kubwa\nnyumba. Mbili, 1998!",
        "text_ace_flags": [],
    }
    assert [row["text_sw"] for row in rows(tmp_path / "out.jsonl")] == [
        "Moja kubwa\nnyumba. Mbili, 1998!", "", "moja", "moja",
    ]  # fmt: skip
    assert (done.rows, done.texts) == (4, 3)
    assert [(each.target, each.translated, each.licence) for each in done.directions] == [
        ("sw", 2, "that of the lexicon"),
        ("ace", 2, "that of the lexicon"),
    ]
    again = run(tmp_path / "in.csv", tmp_path / "again.csv", engine)
    assert again.directions[0].translated == 0
    with (tmp_path / "again.csv").open(newline="") as file:
        assert [row["text_sw"] for row in csv.DictReader(file)] == [
            row["text_sw"] for row in rows(tmp_path / "out.jsonl")
        ]


def test_plain_lines_with_odd_characters_stay_lines(tmp_path: Path, engine: dict[str, str]) -> None:
    lines = ["one\u2028two", "\0one\x07", "", "  big  ", "e\u0301\U0001f600 one", "مرحبا one", "one " * 25_000]
    write_atomic(tmp_path / "in.txt", "\r\n".join(lines) + "\r\n")
    run(tmp_path / "in.txt", tmp_path / "out.jsonl", engine)
    read = (tmp_path / "out.jsonl").read_text().removesuffix("\n").split("\n")
    assert [json.loads(line)["text"] for line in read] == lines
    translated = [json.loads(line)["text_sw"] for line in read]
    assert translated == [line.replace("one", "moja").replace("two", "mbili").replace("big", "kubwa") for line in lines]


def test_flags_are_counted_and_written(tmp_path: Path, engine: dict[str, str]) -> None:
    write_atomic(tmp_path / "in.jsonl", '{"text": "not in the lexicon"}\n{"text": "one two big house"}\n')
    done = run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", engine)
    assert done.directions[0].flags == {"copied": 1, "flagged": 1}
    assert [row["text_sw_flags"] for row in rows(tmp_path / "out.jsonl")] == [["copied"], []]


def many(path: Path, count: int = 3000) -> Path:
    write_atomic(path, "text\n" + "".join(f"one big house {index % (count * 2 // 3)}\n" for index in range(count)))
    return path


@pytest.mark.slow
def test_workers_give_the_same_bytes(tmp_path: Path, engine: dict[str, str]) -> None:
    path = many(tmp_path / "in.csv")
    seen: list[bytes] = []
    for workers in (1, 2, 3):
        folder = tmp_path / str(workers)
        done = run(path, folder / "out.jsonl", engine, Processes(workers) if workers > 1 else None, ("sw", "ace"))
        assert [each.translated for each in done.directions] == [2000, 2000]
        seen.append((folder / "out.jsonl").read_bytes())
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.slow
def test_two_nodes_of_a_cluster_give_the_same_bytes(tmp_path: Path, engine: dict[str, str]) -> None:
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster as Nodes

    path = many(tmp_path / "in.csv")
    run(path, tmp_path / "one" / "out.jsonl", engine)
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        pool = Cluster(2, nodes.address)
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        run(path, tmp_path / "two" / "out.jsonl", engine, pool)
        bad = {"engine": "dictionary", "lexicon": str(tmp_path / "none.tsv")}
        with pytest.raises(UserError, match=r"none\.tsv"):
            run(path, tmp_path / "bad" / "out.jsonl", bad, pool)
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert (tmp_path / "one" / "out.jsonl").read_bytes() == (tmp_path / "two" / "out.jsonl").read_bytes()


class _Dies:
    """A pool whose workers finish two jobs, and then the process is gone."""

    def run(self, work, jobs):  # type: ignore[no-untyped-def]
        for number, job in enumerate(jobs):
            if number == 2:
                raise KeyboardInterrupt
            yield job, work(job)


def test_what_workers_finished_is_kept(tmp_path: Path, engine: dict[str, str]) -> None:
    path = many(tmp_path / "in.csv", 1500)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out.jsonl", engine, _Dies())
    assert not (tmp_path / "out.jsonl").exists()
    done = run(path, tmp_path / "out.jsonl", engine)
    assert done.directions[0].translated == 1000 - 2 * documents.TEXTS


@pytest.mark.slow
def test_killed_and_started_again_gives_the_same_bytes(tmp_path: Path, engine: dict[str, str]) -> None:
    path = many(tmp_path / "in.csv", 40_000)
    command = [sys.executable, "-m", "crossflare", "translate", str(path), "--from", "en", "--to", "sw"]
    command += ["--engine", "dictionary", "--option", f"lexicon={engine['lexicon']}"]
    ours = [*command, "--store", str(tmp_path / "killed"), "--output", str(tmp_path / "killed.jsonl")]
    process = subprocess.Popen(ours, stdout=subprocess.DEVNULL)
    for _ in range(3000):
        if any(part.stat().st_size for part in (tmp_path / "killed").glob("*/en-sw/0000.jsonl")):
            break
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9
    assert not (tmp_path / "killed.jsonl").exists()
    again = subprocess.run([*ours, "--json"], capture_output=True, text=True, check=True)
    whole = [*command, "--store", str(tmp_path / "whole"), "--output", str(tmp_path / "whole.jsonl"), "--json"]
    first = subprocess.run(whole, capture_output=True, text=True, check=True)
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (
        json.loads(again.stdout)["directions"][0]["translated"]
        < json.loads(first.stdout)["directions"][0]["translated"]
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", "", r"in\.csv: expected at least one row, found an empty file"),
        ("in.csv", "text\n", "found only a header line"),
        ("in.txt", "", r"in\.txt: expected one text per line, found an empty file"),
        ("in.csv", "txt\none\n", r"in\.csv:2: expected a column 'text': did you mean 'txt'"),
        ("in.csv", "text,text_sw\none,two\n", "it has a column 'text_sw' already"),
        ("in.jsonl", '{"text": null}\n', r"in\.jsonl:1: column 'text' should hold text, found nothing"),
        ("in.jsonl", '{"text": "one"\n', r"in\.jsonl:1: damaged JSON"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, engine: dict[str, str], name: str, content: str, message: str) -> None:
    write_atomic(tmp_path / name, content)
    with pytest.raises(UserError, match=message):
        run(tmp_path / name, tmp_path / "out.jsonl", engine)
    assert not (tmp_path / "out.jsonl").exists()


def test_bad_requests_are_named(tmp_path: Path, engine: dict[str, str]) -> None:
    write_atomic(tmp_path / "in.csv", "text\none\n")
    write_atomic(tmp_path / "mixed.jsonl", '{"text": "one"}\n{"id": 1, "text": "two"}\n')
    with pytest.raises(UserError, match="source and target are both 'en'"):
        run(tmp_path / "in.csv", tmp_path / "out.jsonl", engine, targets=("en",))
    with pytest.raises(UserError, match=r"expected an output that ends in \.jsonl or \.csv"):
        run(tmp_path / "in.csv", tmp_path / "out.txt", engine)
    with pytest.raises(UserError, match="input and output are the same file"):
        run(tmp_path / "in.csv", tmp_path / "in.csv", engine)
    with pytest.raises(UserError, match=r"the rows have different columns, as id, text.*write them to \.jsonl"):
        run(tmp_path / "mixed.jsonl", tmp_path / "out.csv", engine)
    write_atomic(tmp_path / "one.txt", "one\ntwo\n")
    write_atomic(tmp_path / "other.txt", "moja\n")
    short = {
        "engine": "precomputed",
        "source_file": str(tmp_path / "one.txt"),
        "target_file": str(tmp_path / "other.txt"),
    }
    with pytest.raises(UserError, match=r"one\.txt holds 2 lines and .*other\.txt 1.*align the files"):
        run(tmp_path / "in.csv", tmp_path / "out.jsonl", short)


def test_a_full_disk_leaves_no_half_output(
    tmp_path: Path, engine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = many(tmp_path / "in.csv", 2500)
    real = os.fsync
    calls: list[int] = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            run(path, tmp_path / "out.jsonl", engine)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["in.csv", "lexicon.tsv", "store"]
    run(path, tmp_path / "out.jsonl", engine)
    run(path, tmp_path / "whole" / "out.jsonl", engine)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole" / "out.jsonl").read_bytes()


TWICE = """
import sys
from pathlib import Path
from crossflare.translation.documents import translate_file
folder, rows = Path(sys.argv[1]), int(sys.argv[2])
with (folder / "in.txt").open("w") as file:
    file.writelines(f"one big house {row}\\n" for row in range(rows))
for _ in range(2):  # new, and from the store
    translate_file(
        folder / "in.txt", folder / "out.jsonl", source="en", targets=["sw"], store=folder / "store",
        engine={"engine": "dictionary", "lexicon": sys.argv[3]},
    )
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, engine: dict[str, str]) -> None:
    """Ten times as many rows: less than 8 MB more (the translations alone, kept in one place, take 11)."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux's count of peak memory")
    peaks: list[int] = []
    for rows in (6_000, 60_000):
        (tmp_path / str(rows)).mkdir()
        command = [sys.executable, "-c", TWICE, str(tmp_path / str(rows)), str(rows), engine["lexicon"]]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout))
        assert (tmp_path / str(rows) / "out.jsonl").read_bytes().count(b"\n") == rows
    assert peaks[1] < peaks[0] + 8_000
