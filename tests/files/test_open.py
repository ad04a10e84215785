"""`open_dir` and `read_json` take nothing on trust: what was changed, cut off or leads outside is refused by name."""

import json
import os
from pathlib import Path

import pytest

from crossflare.disk.files import MANIFEST, canonical, commit_dir, content_id, open_dir, read_json, write_json
from crossflare.errors import UserError


@pytest.fixture
def folder(tmp_path, disk) -> Path:
    place = tmp_path / "folder"
    commit_dir(place, disk.fill(disk.old))
    return place


def test_control_the_folder_opens(folder, disk):
    assert set(open_dir(folder)) == set(disk.old)


@pytest.mark.parametrize("name", ["a.txt", "deep/er/b.txt", MANIFEST])
def test_every_flipped_bit_is_refused(folder, name):
    path = folder / name
    good = path.read_bytes()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(UserError) as caught:
            open_dir(folder)
        assert (name if name != MANIFEST else str(folder)) in str(caught.value)


def test_what_is_needed_and_missing_is_named_with_what_to_do(folder, disk):
    assert set(open_dir(folder, needed={"a.txt": "save it again"})) == set(disk.old)
    with pytest.raises(UserError, match=r"folder: c\.txt is missing; save it again$"):
        open_dir(folder, needed={"a.txt": "", "c.txt": "save it again"})


@pytest.mark.parametrize("name", ["a.txt", "deep/er/b.txt", MANIFEST])
def test_every_truncation_and_absence_is_refused(folder, name):
    path = folder / name
    good = path.read_bytes()
    for length in range(len(good) - (name == MANIFEST)):  # the manifest's last byte is a line end, no content
        path.write_bytes(good[:length])
        with pytest.raises(UserError, match=name if name != MANIFEST else "folder"):
            open_dir(folder)
    path.unlink()
    with pytest.raises(UserError, match=name):
        open_dir(folder)


@pytest.mark.parametrize(
    "name", ["../x", "..", "/etc/passwd", "a/../../x", ".", "", "nul\0byte", "x" * 300, "\ud800", "a.txt/below"]
)
def test_names_that_are_no_file_of_the_folder_are_refused(folder, name):
    (folder.parent / "x").write_text("outside")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"][name] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError) as caught:
        open_dir(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_link_out_of_the_folder_is_refused(folder):
    outside = folder.parent / "outside"
    outside.write_text("old a")
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(outside)
    with pytest.raises(UserError, match=r"'a\.txt' is a link, expected a file"):
        open_dir(folder)


@pytest.mark.parametrize(
    "text",
    ["[]", "3", "null", '{"format": 1}', '{"format": 2, "sha256": {}}', '{"format": 1, "sha256": []}', "[" * 100_000,
     "1" * 5000, "\ufeff{}", "{'a': 1}"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_manifest_of_another_shape_is_refused(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(UserError, match=MANIFEST):
        open_dir(folder)


def test_read_json_names_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: expected a JSON file, found none"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match=r"bytes\.json: expected JSON, but it is damaged"):
        read_json(tmp_path / "bytes.json")
    with pytest.raises(UserError, match=str(tmp_path)):
        read_json(tmp_path)


def test_not_a_number_is_never_written(tmp_path):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "file.json", {"score": value})
    assert os.listdir(tmp_path) == []


def test_canonical_text_and_id_do_not_depend_on_order():
    assert canonical({"b": 1, "a": ["ü"]}) == '{"a":["ü"],"b":1}'
    assert content_id({"b": 1, "a": 2}) == content_id({"a": 2, "b": 1}) != content_id({"a": 2, "b": 2})


def test_folder_of_someone_else_is_not_replaced(tmp_path, disk):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis: .*not saved by crossflare"):
        commit_dir(tmp_path / "thesis", disk.fill(disk.new))
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match=r"file: .*not saved by crossflare"):
        commit_dir(tmp_path / "file", disk.fill(disk.new))
    (tmp_path / "empty").mkdir()
    commit_dir(tmp_path / "empty", disk.fill(disk.new))
    assert disk.content(tmp_path / "empty") == disk.new


def test_folder_behind_a_link_or_a_dot_is_replaced_where_it_stands(tmp_path, disk, monkeypatch):
    real = tmp_path / "disk" / "folder"
    commit_dir(real, disk.fill(disk.old))
    link = tmp_path / "link"
    link.symlink_to(real)
    for _ in range(2):
        commit_dir(link, disk.fill(disk.new))
        assert link.is_symlink()
        assert disk.content(link) == disk.content(real) == disk.new
    assert sorted(os.listdir(tmp_path)) == ["disk", "link"]
    monkeypatch.chdir(real)
    assert disk.content(Path(".")) == disk.content(Path("../folder")) == disk.new


def test_old_folder_comes_back_through_a_link(tmp_path, disk):
    real = tmp_path / "disk" / "folder"
    commit_dir(real, disk.fill(disk.old))
    (tmp_path / "link").symlink_to(real)
    os.replace(real, real.with_name(".folder.old"))
    assert disk.content(tmp_path / "link") == disk.old
