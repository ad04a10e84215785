"""Which device is the best there is, and what is done there."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from crossflare import devices
from crossflare.errors import UserError
from crossflare.training.loop.memory import resolve


@pytest.fixture(autouse=True)
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(devices.VARIABLE, raising=False)


def there(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """Let torch find these kinds of devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: "xpu" in kinds)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)


@pytest.mark.parametrize(
    ("kinds", "best"),
    [((), "cpu"), (("mps",), "mps"), (("xpu",), "xpu:0"), (("cuda",), "cuda:0"), (("cuda", "xpu", "mps"), "cuda:0")],
)
def test_a_gpu_of_any_kind_is_taken_where_there_is_one(
    kinds: tuple[str, ...], best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(monkeypatch, *kinds)
    assert str(devices.best_device()) == best


@pytest.mark.parametrize(("asked", "best"), [("cpu", "cpu"), ("mps", "mps"), (" CUDA ", "cuda:0"), ("", "cuda:0")])
def test_the_environment_overrules_the_choice(asked: str, best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, "cuda", "mps")
    monkeypatch.setenv(devices.VARIABLE, asked)
    assert str(devices.best_device()) == best


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("best", r"unknown device in CROSSFLARE_DEVICE 'best': known: cpu, cuda, mps, xpu"),
        (
            "cuda:1",
            r"CROSSFLARE_DEVICE is 'cuda:1': expected cuda, xpu, mps, cpu; choose a GPU by CUDA_VISIBLE_DEVICES",
        ),
        ("xpu", r"CROSSFLARE_DEVICE is 'xpu', but torch finds no such device here \(it finds cuda, cpu\); unset it"),
    ],
)
def test_what_cannot_be_had_is_refused(asked: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, "cuda")
    monkeypatch.setenv(devices.VARIABLE, asked)
    with pytest.raises(UserError, match=said):
        devices.best_device()


def test_on_an_apple_gpu_training_is_in_fp32_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("auto", torch.device("mps")) == "fp32"
    assert resolve("bf16", torch.device("mps")) == "bf16"


def test_an_apple_gpus_random_generator_is_kept_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    state = [torch.arange(4, dtype=torch.uint8)]
    module = SimpleNamespace(get_rng_state=lambda: state[0], set_rng_state=lambda new: state.__setitem__(0, new))
    monkeypatch.setattr(torch, "mps", module)
    kept = devices.random_state(torch.device("mps"))
    assert list(kept) == ["mps.0"]
    state[0] = torch.zeros(4, dtype=torch.uint8)
    devices.set_random_state(torch.device("mps"), {"torch": torch.ones(1), **kept})
    assert state[0].tolist() == [0, 1, 2, 3]
    assert devices.random_state(torch.device("cpu")) == {}


def test_a_model_that_was_loaded_onto_a_device_stays_there() -> None:
    moved: list[object] = []
    model = SimpleNamespace(hf_device_map={"": "cuda:0"}, to=moved.append)
    assert devices.to_device(model) is model
    assert moved == []
    layer = torch.nn.Linear(1, 1)
    assert devices.to_device(layer) is layer


def test_seeded_numbers_leave_the_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    with devices.seeded(3):
        first = torch.rand(2)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        assert torch.equal(torch.rand(2), first)


def test_asking_for_the_variable_alone_loads_no_torch() -> None:
    code = "import sys; from crossflare import devices; devices.asked(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
