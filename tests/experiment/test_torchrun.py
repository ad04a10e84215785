"""A whole recipe under torchrun, two processes on this machine's CPU."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.graph import all_steps, contexts_of
from crossflare.experiment.steps.models import Stage2
from crossflare.recipe.grid import Recipe
from tiny_experiment import Lab

pytestmark = pytest.mark.timeout(900)


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, "-m", "crossflare", *map(str, arguments)], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def recorded(folder: Path) -> list[str]:
    return sorted(read_json(path)["method"]["name"] for path in folder.glob("records/*.json"))


@pytest.mark.slow
def test_two_processes_make_a_recipe_and_one_speaks(tmp_path: Path) -> None:
    """Learning rates are tried, sources translated; a step that fails does so for both, and the rest is made once."""
    lab = Lab(tmp_path, ("es",), (0,))
    methods, changes = ("zero-shot", "lora"), {"methods.flare": {"lr": [0.01, 0.02]}}
    recipe, folder = lab.write(changes, methods), tmp_path / "runs" / "tiny"
    steps = all_steps(*contexts_of(Recipe.of(lab.spec(changes, methods)), folder))
    lora = next(step for step in steps if isinstance(step, Stage2) and step.method.name == "lora")
    damaged = folder / "checkpoints" / lora.id / "step-00000001"
    damaged.mkdir(parents=True)

    done = torchrun("run", recipe, "--runs", tmp_path / "runs")
    assert done.returncode == 1, done.stderr  # torchrun's, whatever a process ends with
    assert len(re.findall(r"1 of \d+ steps failed: .*every checkpoint is damaged", done.stderr)) == 1, done.stderr
    assert recorded(folder) == ["flare", "zero-shot"]

    damaged.rmdir()
    done = torchrun("run", recipe, "--runs", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1
    assert recorded(folder) == ["flare", "lora", "zero-shot"]
    made = [json.loads(line)["id"] for line in (folder / "made.jsonl").read_text().splitlines()]
    assert len(made) == len(set(made)) == len({step.id for step in steps})
    assert not list(folder.glob("checkpoints/*"))


def test_other_ways_of_sharing_are_refused_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for given in ({"workers": 2}, {"ray": "local"}):
        with pytest.raises(UserError, match="expected one worker under torchrun"):
            run(Lab(tmp_path).spec(), tmp_path / "runs", **given)
