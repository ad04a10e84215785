"""Real kills: a process shot at random moments, also in the middle of saving, and real shortage of disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossflare.training.loop import checkpoints

pytestmark = pytest.mark.slow

# The imports take longer than the runs: one process imports, and every run is a fork of it.
PROGRAM = """
import importlib.util, json, os, random, resource, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("lab", sys.argv[1])
lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lab)
folder, shots, limit = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
settings = lab.Settings(lr=1e-2, epochs=2, batch_size=4, evaluations=2, max_length=16, precision="fp32", save_steps=1,
                        select="last")

def attempt(name):
    "Start a run and return its process id; what it ends with is written beside its folder."
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        model, outcome = lab.run(folder / name, settings)
        (folder / f"{name}.txt").write_text(lab.weights_of(model))
        code = 0
    except BaseException as error:
        print(type(error).__name__, error, file=sys.stderr, flush=True)
    finally:
        os._exit(code)

begun = time.monotonic()
result = {"whole": os.waitstatus_to_exitcode(os.waitpid(attempt("whole"), 0)[1]), "shot": 0}
lasts = time.monotonic() - begun
chance = random.Random(0)
while shots:
    child = attempt("killed")
    if result["shot"] < shots:
        time.sleep(chance.uniform(0, 0.5 * lasts))
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    result["shot"] += code == -signal.SIGKILL
    if code != -signal.SIGKILL:
        result["killed"] = code
        break
print(json.dumps(result))
"""


def drive(folder: Path, *, shots: int = 0, limit: int = 0) -> tuple[dict[str, int], str]:
    folder.mkdir(exist_ok=True)
    lab = Path(__file__).with_name("conftest.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(lab), str(folder), str(shots), str(limit)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.timeout(1800)
def test_killed_again_and_again_the_weights_are_those_of_the_undisturbed_run(tmp_path: Path) -> None:
    shots = int(os.environ.get("CROSSFLARE_KILLS", "12"))
    totals = 0
    for number in range(10):
        folder = tmp_path / str(number)
        result, error = drive(folder, shots=shots)
        assert (result["whole"], result["killed"]) == (0, 0), error
        assert (folder / "killed.txt").read_text() == (folder / "whole.txt").read_text()
        totals += result["shot"]
        if totals >= shots:
            break
    assert totals >= min(shots, 5)


@pytest.mark.timeout(600)
def test_files_that_cannot_be_written_whole_leave_no_checkpoint(tmp_path: Path) -> None:
    result, error = drive(tmp_path, limit=9000)  # the generators' state alone is larger
    assert result["whole"] == 1
    assert "UserError" in error
    assert "could not be written (File too large)" in error
    assert "there is no earlier checkpoint" in error
    assert checkpoints.newest(tmp_path / "whole") is None
    result, error = drive(tmp_path)
    assert result["whole"] == 0, error
