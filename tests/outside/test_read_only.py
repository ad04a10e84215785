"""A finished run shows its report wherever it lies, and a killed one leaves nothing behind that stays."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossflare.cli import main
from crossflare.disk import files, storage
from crossflare.experiment.running.run import run
from tiny_experiment import Lab


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("made") / "lab", languages=("sw",), seeds=(0,))
    run(lab.spec({}, ("zero-shot",)), lab.folder / "runs", workers=1)
    return lab


@pytest.fixture
def lab(made: Lab) -> Lab:
    shutil.rmtree(made.folder / "copy", ignore_errors=True)
    shutil.copytree(made.folder / "runs", made.folder / "copy", symlinks=True)
    return made


@contextmanager
def read_only(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse each write below a folder, as a file system does that may only be read (root may write anywhere else)."""

    def refuse(*given: object, dir: Path, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with patch.context() as each:
        each.setattr(files.tempfile, "mkstemp", refuse)
        each.setattr(files.tempfile, "mkdtemp", refuse)
        each.setattr(Path, "unlink", unlink)
        yield
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("older", [False, True], ids=["the same report", "a report of another version"])
def test_a_finished_run_that_may_only_be_read_shows_its_report(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], older: bool
) -> None:
    folder, recipe = lab.folder / "copy" / "tiny", str(lab.write({}, ("zero-shot",)))
    assert main(["report", str(folder)]) == 0
    if older:
        (folder / "results.csv").write_text("by another version\n")
    with read_only(folder, monkeypatch):
        for words in (["report", str(folder)], ["run", recipe, "--runs", str(lab.folder / "copy"), "--workers", "1"]):
            capsys.readouterr()
            assert main(words) == 0, capsys.readouterr().err
            shown = capsys.readouterr().out
            assert "zero-shot" in shown
            assert ("may only be read" in shown) == older


def test_a_full_disk_is_still_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lab.folder / "copy" / "tiny"
    assert main(["report", str(folder)]) == 0
    (folder / "results.csv").write_text("by another version\n")

    def refuse(*given: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    assert main(["report", str(folder)]) == 2


CUT_OFF = """
import os, signal, sys
from pathlib import Path
from crossflare.disk import files
files.os.replace = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
place = Path(sys.argv[1])
if sys.argv[2] == "file":
    files.write_atomic(place / "report.md", "text")
elif sys.argv[2] == "folder":
    files.commit_dir(place / "models" / "0123", lambda folder: (folder / "a").write_text("a") and None)
else:
    files.point_to(place / "adapters" / "lora", Path("../models/0123"))
"""


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_a_killed_process_was_writing_is_removed_by_the_next_one(tmp_path: Path, kind: str) -> None:
    subprocess.run([sys.executable, "-c", CUT_OFF, str(tmp_path), kind], check=False)
    assert list(tmp_path.rglob(".*.tmp"))
    mine = tmp_path / f".mine.{storage.writer()}.abc.tmp"  # of a process that is still at work
    far = tmp_path / f".far.000000-{2**22 - 1}.abc.tmp"  # of another machine
    own = tmp_path / ".notes.tmp"  # a user's own
    for path in (mine, far, own):
        path.write_text("")
    storage.sweep(tmp_path)
    assert set(tmp_path.rglob(".*.tmp")) == {mine, far, own}


def test_report_and_run_sweep(lab: Lab) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    host = storage.writer().partition("-")[0]
    folder, recipe = lab.folder / "copy" / "tiny", str(lab.write({}, ("zero-shot",)))
    for words in (["report", str(folder)], ["run", recipe, "--runs", str(lab.folder / "copy"), "--workers", "1"]):
        left = folder / "records" / f".a.json.{host}-{gone.stdout.strip()}.abc.tmp"
        left.write_text("half")
        assert main(words) == 0
        assert not left.exists()
