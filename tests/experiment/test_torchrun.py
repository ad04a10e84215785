"""A whole recipe under torchrun, two processes on this machine's CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.experiment.run import run
from crossflare.files import read_json
from tiny_experiment import Lab

pytestmark = pytest.mark.timeout(900)


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, "-m", "crossflare", *map(str, arguments)], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_make_a_recipe_and_one_speaks(tmp_path: Path) -> None:
    """Learning rates are tried, sources translated, a step fails for all, the rest is made once."""
    lab = Lab(tmp_path, ("es",), (0,))
    changes = {"methods.flare": {"lr": [0.01, 0.02]}, "methods.mad": {"kind": "lora", "lr": 1e30}}
    recipe = lab.write(changes, ("zero-shot", "lora"))
    done = torchrun("run", recipe, "--runs", tmp_path / "runs")
    folder = tmp_path / "runs" / "tiny"
    assert done.returncode == 1, done.stderr  # torchrun's, whatever a process ends with
    assert done.stderr.count("1 of 8 steps failed: ") == 1
    assert "the loss is " in done.stderr or "norm of the gradient" in done.stderr
    methods = sorted(read_json(path)["method"]["name"] for path in folder.glob("records/*.json"))
    assert methods == ["flare", "lora", "zero-shot"]
    made = (folder / "made.jsonl").read_text().splitlines()
    assert len(made) == 7
    assert not list(folder.glob("checkpoints/*/.step*"))

    lab.write({"methods.flare": {"lr": [0.01, 0.02]}}, ("zero-shot", "lora"))
    done = torchrun("run", recipe, "--runs", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1
    assert (folder / "made.jsonl").read_text().splitlines() == made


def test_other_ways_of_sharing_are_refused_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for given in ({"workers": 2}, {"ray": "local"}):
        with pytest.raises(UserError, match="expected one worker under torchrun"):
            run(Lab(tmp_path).spec(), tmp_path / "runs", **given)
