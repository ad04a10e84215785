"""Files that grow piece by piece: what is not in the journal does not count, and what is there must be there."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from crossflare.disk.growing import JOURNAL, Growing, opened_growing
from crossflare.errors import UserError


def opened(folder: Path, **about: str) -> AbstractContextManager[Growing]:
    return opened_growing(folder / "part", about, ("rows",), "works there")


def grown(folder: Path, *pieces: bytes) -> None:
    with opened(folder) as growing:
        for piece in pieces:
            growing.add({"rows": piece}, {"last": piece.decode()})


def test_a_torn_line_of_the_journal_does_not_count_nor_spoil_the_next(tmp_path: Path) -> None:
    grown(tmp_path, b"one ", b"two ")
    journal = tmp_path / "part" / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-5])
    with opened(tmp_path) as growing:
        assert growing.state == {"last": "one "}
        growing.add({"rows": b"three "}, {"last": "three "})
    with opened(tmp_path) as growing:
        assert growing.state == {"last": "three "}
        growing.name_files({"rows": tmp_path / "out"})
    assert (tmp_path / "out").read_bytes() == b"one three "
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_lost_bytes_is_refused(tmp_path: Path) -> None:
    grown(tmp_path, b"one ", b"two ")
    (tmp_path / "part" / "rows").write_bytes(b"one t")
    with pytest.raises(UserError, match="expected 8 bytes, found 5; remove the folder"):
        grown(tmp_path)


def test_files_of_something_else_are_refused_and_kept(tmp_path: Path) -> None:
    grown(tmp_path, b"one ")
    with pytest.raises(UserError, match=r"made with something else \(model\)"), opened(tmp_path, model="b"):
        pass
    assert (tmp_path / "part" / "rows").read_bytes() == b"one "


def test_without_a_piece_nothing_is_left(tmp_path: Path) -> None:
    grown(tmp_path)
    assert list(tmp_path.iterdir()) == []
