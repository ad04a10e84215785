"""Laws of the store: nothing twice, nothing lost, nothing torn, whoever is killed and however many write."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import faulty
from crossflare.errors import UserError
from crossflare.translation.engines.protocol import engine_id
from crossflare.translation.index import Index
from crossflare.translation.store import Shelf, Store
from crossflare.translation.translate import translate_all
from digests import digests
from faulty import Reverse, texts


def start(root: Path, seconds: float, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, faulty.__file__, str(root), str(seconds), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def parts(root: Path) -> list[Path]:
    return sorted(root.glob("*/sw-en/*.jsonl"))


def test_same_order_each_text_once_blanks_untouched(tmp_path: Path) -> None:
    engine = Reverse()
    given_texts = ["ab", "", "cd", "ab", " \n\u2028", "cd"]
    assert translate_all(Store(tmp_path), engine, given_texts, "sw", "en") == ["ba", "", "dc", "ba", " \n\u2028", "dc"]
    assert engine.seen == ["ab", "cd"]
    again = Reverse()
    assert translate_all(Store(tmp_path), again, ["cd", "ef", "ab"], "sw", "en") == ["dc", "fe", "ba"]
    assert again.seen == ["ef"]


@given(st.lists(st.text(st.characters(), max_size=8), max_size=12), st.integers(1, 5))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, given_texts: list[str], batch: int) -> None:
    root = tmp_path_factory.mktemp("store")
    expected = [text[::-1] if text.strip() else text for text in given_texts]
    for _ in range(2):
        assert translate_all(Store(root), Reverse(), given_texts, "sw", "en", batch) == expected


def test_half_a_surrogate_pair_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        assert translate_all(Store(tmp_path), Reverse(), ["a\ud800"], "sw", "en") == ["\ud800a"]


def test_engines_and_pairs_do_not_mix(tmp_path: Path) -> None:
    translate_all(Store(tmp_path), Reverse(), ["ab"], "sw", "en")
    back = Reverse()
    translate_all(Store(tmp_path), back, ["ab"], "en", "sw")
    other = Reverse()
    other.identity = {"engine": "reverse", "model": "b"}
    translate_all(Store(tmp_path), other, ["ab"], "sw", "en")
    assert back.seen == other.seen == ["ab"]
    identity = json.loads((tmp_path / engine_id(other.identity) / "identity.json").read_text())
    assert identity == other.identity


def test_a_foreign_identity_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / engine_id(Reverse.identity)
    folder.mkdir()
    (folder / "identity.json").write_text('{"engine": "another"}')
    with pytest.raises(UserError, match=r"expected the identity of reverse, found .*another.*move it away"):
        translate_all(Store(tmp_path), Reverse(), ["ab"], "sw", "en")


def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = translate_all(Store(whole), Reverse(), texts(60), "sw", "en", batch=5)
    kills = 0
    for _ in range(3):
        done = sum(path.read_bytes().count(b"\n") for path in parts(killed))
        process = start(killed, 0.004, 60)
        for _ in range(2000):  # killed in the middle: after at least one more batch
            if sum(path.read_bytes().count(b"\n") for path in parts(killed)) > done:
                break
            time.sleep(0.005)
        process.kill()
        kills += process.wait() == -9
        assert process.stdout is not None
        process.stdout.close()
    assert kills >= 1
    kept = sum(path.read_bytes().count(b"\n") for path in parts(killed))
    engine = Reverse()
    assert translate_all(Store(killed), engine, texts(60), "sw", "en", batch=5) == expected
    assert len(engine.seen) == 60 - kept
    assert digests(killed) == digests(whole)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_line_is_healed(tmp_path: Path, cut: int) -> None:
    expected = translate_all(Store(tmp_path), Reverse(), texts(7), "sw", "en")
    before = digests(tmp_path)
    part = parts(tmp_path)[0]
    os.truncate(part, part.stat().st_size - cut)
    engine = Reverse()
    assert translate_all(Store(tmp_path), engine, texts(7), "sw", "en") == expected
    assert engine.seen == texts(7)[-1:]
    assert digests(tmp_path) == before


def test_a_torn_line_longer_than_a_block_is_healed(tmp_path: Path) -> None:
    translate_all(Store(tmp_path), Reverse(), ["ab", "x" * 300_000], "sw", "en")
    part = parts(tmp_path)[0]
    os.truncate(part, part.stat().st_size - 1)
    translate_all(Store(tmp_path), Reverse(), ["cd"], "sw", "en")
    assert [json.loads(line)["text"] for line in part.read_bytes().splitlines()] == ["ab", "cd"]


def test_a_damaged_row_is_translated_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = translate_all(Store(tmp_path), Reverse(), texts(3), "sw", "en")
    part = parts(tmp_path)[0]
    lines = part.read_bytes().split(b"\n")
    lines[0] = lines[0].replace(b"text 0", b"text 9")
    lines[1] = b"\0" * len(lines[1])
    part.write_bytes(b"\n".join(lines))
    engine = Reverse()
    assert translate_all(Store(tmp_path), engine, texts(3), "sw", "en") == expected
    assert engine.seen == texts(3)[:2]
    assert "a damaged row is ignored" in caplog.text


def test_two_writers_at_once(tmp_path: Path) -> None:
    writers = [start(tmp_path, 0.002, 80) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()
    engine = Reverse()
    assert translate_all(Store(tmp_path), engine, texts(80), "sw", "en") == [text[::-1] for text in texts(80)]
    assert engine.seen == []
    for part in parts(tmp_path):
        assert all(json.loads(line)["key"] for line in part.read_bytes().splitlines())


def test_a_held_part_is_left_alone(tmp_path: Path) -> None:
    first, second = Shelf(tmp_path), Shelf(tmp_path)
    first.append([("a", "1")])
    second.append([("b", "2")])
    first.append([("c", "3")])
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["0000.jsonl", "0001.jsonl"]
    assert second.find("abcd") == {"a": "1", "b": "2", "c": "3"}
    first.close()
    second.close()
    with Shelf(tmp_path) as third:  # takes over what is free
        third.append([("d", "4")])
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_a_forked_writer_takes_its_own_part(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.append([("a", "1")])
    child = os.fork()
    if child == 0:
        shelf.append([("b", "2")])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    shelf.append([("c", "3")])
    assert [(tmp_path / name).read_bytes().count(b"\n") for name in ("0000.jsonl", "0001.jsonl")] == [2, 1]
    shelf.close()


def test_a_forked_reader_makes_its_own_index(tmp_path: Path) -> None:
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1")])
        assert shelf.find("a") == {"a": "1"}
        parents = shelf._index
        child = os.fork()
        if child == 0:
            os._exit(0 if shelf.find("a") == {"a": "1"} and shelf._index is not parents else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert shelf._index is parents
        assert shelf.find("a") == {"a": "1"}


def test_each_batch_is_flushed_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_write, real_sync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda handle, data: (events.append("write"), real_write(handle, data))[1])
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), real_sync(handle))[1])
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1")])
        shelf.append([("b", "2")])
    assert events == ["fsync", "write", "fsync", "write", "fsync"]  # the first: the name of the new part


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def full(handle: int, data: bytes) -> int:
        real(handle, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1")])
        before = (tmp_path / "0000.jsonl").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(UserError, match=r"could not be written \(No space left on device"):
                shelf.append([("b", "2")])
        assert (tmp_path / "0000.jsonl").read_bytes() == before


def test_a_file_that_may_not_grow_leaves_whole_lines(tmp_path: Path) -> None:
    """The system's own limit stands for a disk that is full in the middle of a line."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    engine = Reverse()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(
            UserError, match=r"could not be written \(File too large\); free space .*earlier ones are kept"
        ):
            translate_all(Store(tmp_path), engine, texts(40), "sw", "en", batch=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    kept = [json.loads(line)["text"] for line in parts(tmp_path)[0].read_bytes().splitlines()]
    assert kept == texts(len(kept)) != []
    again = Reverse()
    translate_all(Store(tmp_path), again, texts(40), "sw", "en")
    assert again.seen == texts(40)[len(kept) :]


def test_writes_that_stop_short_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1"), ("b", "2")])
        assert shelf.find("ab") == {"a": "1", "b": "2"}


def test_a_full_folder_of_temporary_files_is_named(tmp_path: Path) -> None:
    with Shelf(tmp_path) as shelf:
        assert shelf.find("a") == {}
        shelf.append([(text, text) for text in texts(500)])
        assert shelf._index is not None
        shelf._index._database.execute("PRAGMA max_page_count=3")
        with pytest.raises(
            UserError, match=r"\(database or disk is full\); free space in the folder of temporary files"
        ):
            shelf.find("a")


def test_what_is_no_part_is_left_alone_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1")])
    (tmp_path / "notes.jsonl").write_text("mine\n")
    with Shelf(tmp_path) as shelf:
        assert shelf.find("a") == {"a": "1"}
    (tmp_path / "0001.jsonl").mkdir()
    with Shelf(tmp_path) as shelf, pytest.raises(UserError, match=r"cannot be read \(Is a directory\); check the path"):
        shelf.find("a")


def test_no_row_is_read_into_the_index_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1")])
    starts: list[int] = []
    real = Index.read
    monkeypatch.setattr(Index, "read", lambda *given: (starts.append(given[3]), real(*given))[1])
    with Shelf(tmp_path) as shelf:
        for text in "abc":
            shelf.find(text)
            shelf.append([(text, "2")])
        shelf.find("c")
    assert starts == sorted(set(starts))
    assert len(starts) == 4


def test_what_another_writer_finished_meanwhile_is_taken(tmp_path: Path) -> None:
    class Helped(Reverse):
        def translate(self, texts: list[str], *, source: str, target: str) -> list[str]:
            if not self.seen:
                with Store(tmp_path).shelf(self.identity, source, target) as other:
                    other.append([("cd", "theirs")])
            return super().translate(texts, source=source, target=target)

    engine = Helped()
    assert translate_all(Store(tmp_path), engine, ["ab", "cd"], "sw", "en", batch=1) == ["ba", "theirs"]
    assert engine.seen == ["ab"]


def test_a_quick_engine_gets_more_texts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sizes(Reverse):
        def translate(self, texts: list[str], *, source: str, target: str) -> list[str]:
            self.seen.append(len(texts))
            return texts

    for name, quick, expected in (("quick", 60.0, [5, 10, 20, 5]), ("slow", 0.0, [5] * 8)):
        monkeypatch.setattr("crossflare.translation.translate.QUICK", quick)
        engine = Sizes()
        translate_all(Store(tmp_path / name), engine, texts(40), "sw", "en", batch=5)
        assert engine.seen == expected


def test_a_failing_engine_keeps_what_was_done(tmp_path: Path) -> None:
    class Fails(Reverse):
        def translate(self, texts: list[str], *, source: str, target: str) -> list[str]:
            if self.seen:
                raise UserError("out of memory")
            return super().translate(texts, source=source, target=target)

    with pytest.raises(UserError, match="out of memory"):
        translate_all(Store(tmp_path), Fails(), texts(10), "sw", "en", batch=4)
    engine = Reverse()
    translate_all(Store(tmp_path), engine, texts(10), "sw", "en", batch=4)
    assert engine.seen == texts(10)[4:]


def test_a_wrong_count_is_our_error(tmp_path: Path) -> None:
    class Short(Reverse):
        def translate(self, texts: list[str], *, source: str, target: str) -> list[str]:
            return []

    with pytest.raises(RuntimeError, match="expected 1 translations, the engine gave 0"):
        translate_all(Store(tmp_path), Short(), ["a"], "sw", "en")
    with pytest.raises(UserError, match="nothing to translate"):
        translate_all(Store(tmp_path), Reverse(), ["a"], "en", "en")


def test_of_several_translations_the_first_part_s_stands(tmp_path: Path) -> None:
    with Shelf(tmp_path) as first, Shelf(tmp_path) as second:
        first.append([("b", "1")])
        second.append([("a", "late")])
        first.append([("a", "early")])
        assert first.find(["a", "b", "c"]) == second.find(["a", "b", "c"]) == {"a": "early", "b": "1"}


def test_a_row_behind_a_damaged_one_of_its_text_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1"), ("b", "2")])
    part = tmp_path / "0000.jsonl"
    part.write_bytes(part.read_bytes().replace(b'"1"', b"1.0"))
    with Shelf(tmp_path) as shelf:
        for _ in range(2):
            assert shelf.find("ab") == {"b": "2"}
        assert len(caplog.messages) == 1  # it is looked at once
        shelf.append([("a", "3")])
        assert shelf.find("ab") == {"a": "3", "b": "2"}


def test_short_and_foreign_lines_are_counted_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1")])
    with (tmp_path / "0000.jsonl").open("ab") as file:
        file.write(b"x" * 200 + b"\n" + b'{"key": "' + b"z" * 64 + b'"}\n{}\n\n')
    with Shelf(tmp_path) as shelf:
        assert shelf.find("a") == {"a": "1"}
    assert "4 of its lines are no rows" in caplog.text


def test_two_rows_in_a_line_are_none(tmp_path: Path) -> None:
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1"), ("b", "2"), ("c", "3")])
    part = tmp_path / "0000.jsonl"
    part.write_bytes(part.read_bytes().replace(b"\n", b"", 1))
    with Shelf(tmp_path) as shelf:
        assert shelf.find("abc") == {"c": "3"}


def test_a_part_cut_off_in_the_middle_keeps_what_is_whole(tmp_path: Path) -> None:
    expected = translate_all(Store(tmp_path), Reverse(), texts(40), "sw", "en")
    part = parts(tmp_path)[0]
    data = part.read_bytes()
    part.write_bytes(data[: len(data) // 2])
    engine = Reverse()
    assert translate_all(Store(tmp_path), engine, texts(40), "sw", "en") == expected
    assert 0 < len(engine.seen) < 40
    assert part.read_bytes() == data


def test_rows_longer_than_a_block_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.translation.index.BLOCK", 64)
    rows = [("x" * size, str(size)) for size in (1, 10, 100, 1000, 10_000)]
    with Shelf(tmp_path) as shelf:
        for row in rows:
            shelf.append([row])
            assert shelf.find([row[0]]) == dict([row])
    with Shelf(tmp_path) as shelf:
        assert shelf.find(text for text, _ in rows) == dict(rows)


def test_keys_that_are_equal_by_chance_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.translation.store.text_digest", lambda text: b"\0" * 32)
    with Shelf(tmp_path) as shelf:
        shelf.append([("a", "1"), ("b", "2")])
        assert shelf.find("ab") == {"a": "1", "b": "2"}


@pytest.mark.slow
def test_the_memory_of_the_index_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from crossflare.translation.index import Index
from crossflare.translation.store import Shelf
shelf, starts = Shelf(Path(sys.argv[1])), range(0, int(sys.argv[2]), 2000)
for start in starts:
    shelf.append([(f"text {start + i}", "x" * 50) for i in range(2000)])
for start in starts:
    assert len(shelf.find(f"text {start + i}" for i in range(2000))) == 2000
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux's count of peak memory")
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / count), count], capture_output=True, check=True
            ).stdout
        )
        for count in ("20000", "80000")
    ]
    assert peaks[1] < peaks[0] + 8_000  # kB; 60,000 rows more would be 19,000 in a dictionary
