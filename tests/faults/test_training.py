"""Training and resuming: signals, damaged checkpoints, faults on top of faults, and what may not have changed."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from crossflare.disk.files import commit_dir
from crossflare.errors import UserError
from crossflare.training.loop import checkpoints, fit
from crossflare.training.loop.settings import Settings
from digests import digests
from injecting import in_child
from lanes import only

SETTINGS = Settings(
    lr=1e-2, epochs=2, batch_size=8, evaluations=2, max_length=16, precision="fp32", select="last", save_steps=1
)


@pytest.fixture(scope="module")
def whole(lab: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of the undisturbed run."""
    return lab.weights_of(lab.run(tmp_path_factory.mktemp("whole") / "run", SETTINGS)[0])


@pytest.fixture(scope="module")
def broken_off(lab: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended after its eighth step."""
    folder = tmp_path_factory.mktemp("broken") / "run"
    with pytest.raises(lab.Stop):
        lab.run(folder, SETTINGS, loss=lab.Stopping(9))
    return folder


@pytest.fixture
def folder(broken_off: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(broken_off, tmp_path / "run"))


# Damaged checkpoints -------------------------------------------------------------------------------------------------


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


FILES = ("weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json", "manifest.json")
DAMAGE = (_truncated, _zeroed, _emptied, Path.unlink)


@pytest.mark.parametrize(
    ("name", "damage"),
    only(
        [(name, damage) for name in FILES for damage in DAMAGE],
        [*((FILES[0], damage) for damage in DAMAGE), *((name, _zeroed) for name in FILES)],
    ),
    ids=lambda value: getattr(value, "__name__", value),
)
def test_whatever_file_of_the_newest_is_damaged_the_older_goes_on(
    lab: SimpleNamespace, whole: str, folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(checkpoints.path_of(folder, 8) / name)
    with pytest.warns(UserWarning, match=r"step-00000008 damaged .*going on from step-00000007"):
        model, outcome = lab.run(folder, SETTINGS)
    assert outcome.resumed_from == 7
    assert lab.weights_of(model) == whole


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"])
def test_a_folder_that_lacks_a_part_by_its_own_manifest_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    def fill(place: Path) -> None:
        for each in FILES[:4]:
            if each != name:
                (place / each).write_text("{}", encoding="ascii")

    commit_dir(checkpoints.path_of(tmp_path, 1), fill)
    with pytest.raises(UserError, match=f"{name} is missing; not a checkpoint of this version"):
        checkpoints.read_checkpoint(checkpoints.path_of(tmp_path, 1))


def test_the_newest_is_so_by_its_step_whatever_the_times_of_files(
    lab: SimpleNamespace, whole: str, folder: Path
) -> None:
    """A tree that was copied has other times, and a clock may go backwards."""
    for age, path in enumerate(sorted(folder.glob("step-*"), reverse=True)):
        for each in (path, *path.iterdir()):
            os.utime(each, (1e9 + age * 1000, 1e9 + age * 1000))
    model, outcome = lab.run(folder, SETTINGS)
    assert outcome.resumed_from == 8
    assert lab.weights_of(model) == whole
    assert sorted(path.name for path in folder.glob("step-*")) == ["step-00000009", "step-00000010"]


# Faults during recovery ----------------------------------------------------------------------------------------------


def test_killed_again_while_it_recovers(lab: SimpleNamespace, whole: str, folder: Path) -> None:
    """Resumed from a damaged newest one, killed at each of the next renames, resumed: the same weights."""
    real = os.replace
    _zeroed(checkpoints.path_of(folder, 8) / "weights.safetensors")
    for at in (1, 2, 3, 5, 8):
        count = 0

        def replace(source: Any, target: Any, at: int = at) -> None:
            nonlocal count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)

        def action(replace: Any = replace) -> None:
            os.replace = replace  # in the child alone
            lab.run(folder, SETTINGS)

        assert in_child(action, lambda child: None).code == -signal.SIGKILL
    model, outcome = lab.run(folder, SETTINGS)
    assert outcome.resumed_from >= 7
    assert lab.weights_of(model) == whole


def test_a_disk_that_fills_up_while_it_recovers(lab: SimpleNamespace, whole: str, folder: Path) -> None:
    _truncated(checkpoints.path_of(folder, 8) / "state.json")

    def action() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        lab.run(folder, SETTINGS)

    end = in_child(action, lambda child: None)
    assert end.code == 2, end.said
    assert "File too large" in end.said
    assert end.said.endswith("training stopped at step 8, the last checkpoint, step-00000007, is good")
    model, outcome = lab.run(folder, SETTINGS)
    assert outcome.resumed_from == 7
    assert lab.weights_of(model) == whole


# Signals -------------------------------------------------------------------------------------------------------------


def _run_with_signals(lab: SimpleNamespace, folder: Path, *numbers: int) -> int:
    class Signals(lab.Stopping):
        def __call__(self, model: Any, batch: Any, step: int = 0) -> Any:
            if self.calls == 3:
                for number in numbers:
                    os.kill(os.getpid(), number)
            return super().__call__(model, batch)

    def action() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            lab.run(folder, replace(SETTINGS, save_steps=None, save_seconds=1e6), loss=Signals())
        except KeyboardInterrupt:
            os._exit(130)
        except SystemExit as error:
            os._exit(error.code)  # type: ignore[arg-type]

    return in_child(action, lambda child: None).code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_commits_the_step_and_ends_with_its_own_code(
    lab: SimpleNamespace, whole: str, tmp_path: Path, number: int, code: int
) -> None:
    assert _run_with_signals(lab, tmp_path / "run", number) == code
    found = checkpoints.newest(tmp_path / "run")
    assert found is not None
    assert found[1].step == 4
    assert lab.weights_of(lab.run(tmp_path / "run", SETTINGS)[0]) == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(lab: SimpleNamespace, tmp_path: Path, number: int, code: int) -> None:
    assert _run_with_signals(lab, tmp_path / "run", number, number) == code
    assert checkpoints.newest(tmp_path / "run") is None  # in the middle of the step, which is not saved


def test_a_terminal_that_was_closed_is_nothing_to_nohup(lab: SimpleNamespace, whole: str, tmp_path: Path) -> None:
    class Signals(lab.Stopping):
        def __call__(self, model: Any, batch: Any, step: int = 0) -> Any:
            os.kill(os.getpid(), signal.SIGHUP)
            return super().__call__(model, batch)

    def action() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert lab.weights_of(lab.run(tmp_path / "run", SETTINGS, loss=Signals())[0]) == whole

    end = in_child(action, lambda child: None)
    assert end.code == 0, end.said


# What a run depends on -----------------------------------------------------------------------------------------------


def _rank(lab: SimpleNamespace) -> dict[str, Any]:
    base = lab.new_model(adapter=False)
    config = LoraConfig(r=3, target_modules=["query", "value"], task_type="SEQ_CLS", lora_dropout=0.1)
    return {"model": get_peft_model(base, config)}


def _other_base(lab: SimpleNamespace) -> dict[str, Any]:
    model = lab.new_model()
    with torch.no_grad():
        next(p for p in model.parameters() if not p.requires_grad).add_(1e-3)
    return {"model": model}


CHANGED: dict[str, Callable[[SimpleNamespace], dict[str, Any]]] = {
    "adapter": _rank,
    "base": _other_base,
    "seed": lambda lab: {"settings": replace(SETTINGS, seed=7)},
    "lr": lambda lab: {"settings": replace(SETTINGS, lr=2e-2)},
    "weight_decay": lambda lab: {"settings": replace(SETTINGS, weight_decay=0.5)},
    "warmup": lambda lab: {"settings": replace(SETTINGS, warmup=0.5)},
    "batch_size": lambda lab: {"settings": replace(SETTINGS, batch_size=4)},
    "epochs": lambda lab: {"settings": replace(SETTINGS, epochs=3)},
    "precision": lambda lab: {"settings": replace(SETTINGS, precision="bf16")},
    "threads": lambda lab: {"patch": (torch, "get_num_threads", lambda: 3)},
    "torch": lambda lab: {"patch": (torch, "__version__", "9.9")},
    "transformers": lambda lab: {"patch": (fit, "version", lambda name: f"{name} of another day")},
}


@pytest.mark.parametrize("field", CHANGED)
def test_a_checkpoint_of_another_run_is_refused_by_the_field(
    lab: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    options = CHANGED[field](lab)
    if "patch" in options:
        monkeypatch.setattr(*options.pop("patch"))
    before = digests(folder)
    with pytest.raises(UserError) as caught:
        lab.run(folder, options.pop("settings", SETTINGS), loss=lab.Stopping(1), **options)
    assert f" {field} was " in str(caught.value)
    assert "\n" not in str(caught.value)
    after = digests(folder)
    assert {name: after[name] for name in before if not name.startswith(".lock")} == {
        name: digest for name, digest in before.items() if not name.startswith(".lock")
    }


# Numbers and memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_stops_before_the_step_and_is_in_no_file(
    lab: SimpleNamespace, tmp_path: Path, value: float
) -> None:
    folder = tmp_path / "run"

    class Spoiling(lab.Stopping):
        def __call__(self, model: Any, batch: Any, step: int = 0) -> Any:
            if self.calls == 4:
                with torch.no_grad():
                    next(p for p in model.parameters() if p.requires_grad).view(-1)[0] = value
            return super().__call__(model, batch)

    with pytest.raises(UserError, match=r"training stopped before step 5: .*train-\d+.*step-00000004"):
        lab.run(folder, SETTINGS, loss=Spoiling())
    for path in folder.glob("step-*"):
        for tensors in checkpoints.read_checkpoint(path).tensors.values():
            assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
        assert "NaN" not in (path / "state.json").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_too_little_memory_of_the_machine_is_one_line_and_the_checkpoint_is_good(
    lab: SimpleNamespace, whole: str, tmp_path: Path
) -> None:
    class Greedy(lab.Stopping):
        def __call__(self, model: Any, batch: Any, step: int = 0) -> Any:
            loss = super().__call__(model, batch)
            return loss if self.calls < 5 else loss * torch.ones(1 << 31).mean()

    def action() -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + (1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        lab.run(tmp_path / "run", SETTINGS, loss=Greedy())

    end = in_child(action, lambda child: None)
    assert end.code == 2, end.said
    assert "too little memory for batch_size 8; set batch_size: 4 and accumulation: 2" in end.said
    model, outcome = lab.run(tmp_path / "run", SETTINGS)
    assert outcome.resumed_from == 4
    assert lab.weights_of(model) == whole


# The same bytes everywhere -------------------------------------------------------------------------------------------

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from crossflare.experiment.running.run import run
from tiny_experiment import Lab, results
lab = Lab(Path(sys.argv[2]), languages=("es",), seeds=(0,))
print(sorted(results(run(lab.spec(methods=("lora", "flare")), Path(sys.argv[3]), workers=1)).items()))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_hash_seed_locale_clock_and_folder_change_no_byte(tmp_path: Path) -> None:
    shown: list[str] = []
    for number, more in enumerate(
        ({"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Asia/Jakarta"}, {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8"})
    ):
        here = tmp_path / f"here {number} ü"
        here.mkdir()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, str(Path(__file__).parents[1]), str(tmp_path / "lab"),
             str(here / "runs")],
            cwd=here, env={**os.environ, "PYTHONUTF8": "1", **more}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout.splitlines()[-1])
    assert shown[0] == shown[1]
    assert shown[0].count("safetensors") >= 3
