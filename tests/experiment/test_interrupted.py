"""Whatever ends a run, and whenever: the same command goes on, and ends with the bytes of an undisturbed run."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crossflare.cli import main
from crossflare.experiment.running.run import run
from crossflare.training.loop.loop import TrainingLoop
from tiny_experiment import Lab, results

METHODS = ("zero-shot", "lora", "flare")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("lab"))
    gc.collect()
    gc.freeze()
    return made


def small(lab: Lab, targets: tuple[str, ...] = ("es",), seeds: tuple[int, ...] = (0,)) -> dict[str, Any]:
    files = {language: lab.recipe["task"]["files"][language] for language in ("en", *targets)}
    return {"targets": list(targets), "seeds": list(seeds), "task.files": files}


def test_control_c_in_training_keeps_the_step_and_says_how_to_go_on(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = 0
    real = TrainingLoop.make_step

    def interrupted(self: Any, *given: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            signal.raise_signal(signal.SIGINT)
        return real(self, *given, **options)

    recipe = lab.write(small(lab), ("zero-shot",))
    with monkeypatch.context() as patched:
        patched.setattr(TrainingLoop, "make_step", interrupted)
        assert main(["run", str(recipe), "--runs", str(tmp_path / "runs"), "--workers", "1"]) == 130
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1] == "interrupted: what is finished is kept; the same command goes on from there"
    assert "Traceback" not in shown
    folder = tmp_path / "runs" / "tiny"
    assert [path.name for path in folder.glob("checkpoints/*/step-*")] == ["step-00000002"]
    calls = 0
    monkeypatch.setattr(TrainingLoop, "make_step", interrupted)  # its second call is step 4, if it goes on
    assert main(["run", str(recipe), "--runs", str(tmp_path / "runs"), "--workers", "1"]) == 130
    assert max(path.name for path in folder.glob("checkpoints/*/step-*")) == "step-00000004"
    monkeypatch.setattr(TrainingLoop, "make_step", real)
    spec = lab.spec(small(lab), ("zero-shot",))
    assert results(run(spec, tmp_path / "runs", workers=1)) == results(run(spec, tmp_path / "calm", workers=1))


# The imports take longer than the runs: one process imports, and every run is a fork of it.
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch, transformers, peft, sklearn.metrics
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # who is started in the background inherits that it is ignored
import crossflare.experiment.making.make, crossflare.report
from crossflare.cli import main
crossflare.report.build_report = lambda folder: crossflare.report.Report(None, folder, folder, folder, None)
crossflare.report.console_table = lambda results: ""
recipe, place, shots = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

def attempt(name):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        out = os.open(place / f"{name}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1), os.dup2(out, 2)
        code = main(["run", recipe, "--runs", str(place / name), "--workers", "1"])
    finally:
        os._exit(code)

def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

begun = time.monotonic()
assert end(attempt("calm")) == 0
lasts = time.monotonic() - begun
chance, codes = random.Random(0), []
for number in range(shots):
    child = attempt("shot")
    time.sleep(chance.uniform(0.05, 0.6) * lasts)
    os.kill(child, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
    codes.append(end(child))
codes.append(end(attempt("shot")))
print(json.dumps(codes))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_moments(lab: Lab, tmp_path: Path) -> None:
    recipe = lab.write(small(lab), METHODS)
    shots = int(os.environ.get("CROSSFLARE_KILLS", "12"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(recipe), str(tmp_path), str(shots)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = (tmp_path / "shot.txt").read_text() if (tmp_path / "shot.txt").exists() else ""
    assert done.stdout, done.stderr + said
    *codes, last = json.loads(done.stdout.splitlines()[-1])
    assert last == 0, said
    assert set(codes) <= {-signal.SIGKILL, 130, 0}
    assert len([code for code in codes if code]) >= 2
    assert "Traceback" not in said
    assert said.count("interrupted: ") == codes.count(130)
    calm = results(tmp_path / "calm" / "tiny")
    assert len(calm) > 8
    assert results(tmp_path / "shot" / "tiny") == calm


def start(recipe: Path, runs: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start the command with two workers in a process group of its own, as a shell does."""
    words = ["run", str(recipe), "--runs", str(runs), "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "crossflare", *words],
        stdout=log.open("ab"), stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell starts background jobs with SIGINT ignored, and children inherit it: the terminal's default is meant.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def family(process: "subprocess.Popen[bytes]") -> list[int]:
    """Return the live processes that the command started."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(") ")[2].split()[:2]
        except OSError:
            continue
        if parent == str(process.pid) and state != "Z":
            found.append(int(path.parent.name))
    return found


def wait_for(what: Any, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_command(lab: Lab, tmp_path: Path, number: signal.Signals) -> None:
    longer = {**small(lab, ("es", "sw"), (0, 1, 2)), "stage1.epochs": 30, "stage2.epochs": 30}
    recipe, runs, log = lab.write(longer, METHODS), tmp_path / "runs", tmp_path / "log.txt"
    process = start(recipe, runs, log)
    wait_for(lambda: list(runs.glob("tiny/models/*/manifest.json")) or process.poll() is not None)
    workers = family(process)
    assert len(workers) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        os.kill(process.pid, number)
    assert process.wait(timeout=300) == (130 if number == signal.SIGINT else -number)
    wait_for(lambda: not any(is_alive(worker) for worker in workers), 60)
    said = log.read_text()
    assert "Traceback" not in said
    assert said.count("interrupted: ") == (number == signal.SIGINT)
    assert len(list(runs.glob("tiny/records/*.json"))) < len(METHODS) * 2 * 3  # it was not over anyway


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")
def test_a_killed_worker_is_told_in_one_line(lab: Lab, tmp_path: Path) -> None:
    longer = {**small(lab, ("es", "sw"), (0, 1, 2)), "stage1.epochs": 30, "stage2.epochs": 30}
    runs, log = tmp_path / "runs", tmp_path / "log.txt"
    process = start(lab.write(longer, METHODS), runs, log)
    wait_for(lambda: list(runs.glob("tiny/models/*/manifest.json")) or process.poll() is not None)
    workers = [each for each in family(process) if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait(timeout=300) == 2
    errors = [line for line in log.read_text().splitlines() if "error" in line]
    said = "a worker was killed, most often for want of memory; what is finished is kept: run again with fewer workers"
    assert errors == [f"error: {said}"]
