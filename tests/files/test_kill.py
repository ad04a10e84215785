"""The real thing: SIGKILL, a full disk and a broken one at every system call that changes the disk (needs strace)."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crossflare.disk.files import commit_dir, open_dir
from crossflare.errors import UserError

CALLS = ["write", "fsync", "/rename", "/chmod", "/mkdir", "/unlink", "/rmdir"]
SAVE = """
import sys
from pathlib import Path
from crossflare.errors import UserError
from crossflare.disk.files import commit_dir
try:
    commit_dir(Path(sys.argv[1]), lambda folder: (folder / "file.txt").write_text("new") and None)
except UserError as error:
    sys.exit(str(error))
"""


def traceable() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not traceable(), reason="strace is missing or may not trace")]


def save(folder: Path, call: str, fault: str, when: str) -> subprocess.CompletedProcess[str]:
    log = folder.parent / "log"
    command = ["strace", "-f", "-o", str(log), "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:{fault}:when={when}"]
    return subprocess.run(
        [*command, sys.executable, "-B", "-c", SAVE, str(folder)], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("fault", "sticky"),
    [("signal=SIGKILL", ""), ("error=ENOSPC", ""), ("error=ENOSPC", "+"), ("error=EIO", ""), ("error=EIO", "+")],
)
def test_old_or_new_stands_after_a_fault_at_every_call(tmp_path, call, fault, sticky):
    for when in itertools.count(1):
        folder = tmp_path / str(when) / "folder"
        commit_dir(folder, lambda place: (place / "file.txt").write_text("old") and None)
        result = save(folder, call, fault, f"{when}{sticky}")
        log = (folder.parent / "log").read_text()
        open_dir(folder)
        assert (folder / "file.txt").read_text() in ("old", "new")
        if result.returncode not in (0, -9):
            assert "could not be written" in result.stderr or (call == "write" and sticky), result.stderr
        if "INJECTED" not in log and "killed by SIGKILL" not in log:
            assert (folder / "file.txt").read_text() == "new", result.stderr
            break
    assert when > 1, f"the save makes no call of {call}: {log}"


def test_control_half_a_folder_is_refused(tmp_path):
    """The reader above can tell: the same folder written in place, and killed on the way, does not open."""
    (tmp_path / "file.txt").write_text("new")
    with pytest.raises(UserError, match="the save was cut off"):
        open_dir(tmp_path)
