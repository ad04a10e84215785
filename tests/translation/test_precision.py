"""MADLAD and the T5 family never compute in float16, which cannot hold their numbers."""

from pathlib import Path
from typing import get_args

import pytest
import torch

import translation_models
from crossflare.errors import UserError
from crossflare.recipe.spec import Training
from crossflare.recipe.translation import TranslatorSpec
from crossflare.training.loop.settings import Precision
from crossflare.translation.engines.model_files import WIDE
from crossflare.translation.engines.registry import make_engine

OPTIONS = {"transformers": "dtype", "ctranslate2": "compute_type"}
"""Engine -> the option that chooses the precision."""


@pytest.fixture(scope="module")
def madlad(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(translation_models.madlad(tmp_path_factory.mktemp("models") / "madlad"))


@pytest.fixture(scope="module")
def m2m(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(translation_models.m2m(tmp_path_factory.mktemp("models") / "m2m"))


def card(patch: pytest.MonkeyPatch, engine: str, bf16: bool) -> None:
    """Let an engine see a graphics card that knows bfloat16, or not."""
    patch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: bf16 or including_emulation)
    if engine == "ctranslate2":
        module = pytest.importorskip("ctranslate2")
        known = {"float32", "float16"} | ({"bfloat16"} if bf16 else set())
        patch.setattr(module, "get_supported_compute_types", lambda device, index: known)


@pytest.mark.parametrize("engine", OPTIONS)
@pytest.mark.parametrize(("bf16", "wanted"), [(True, "bfloat16"), (False, "float32")])
def test_madlad_takes_bfloat16_or_float32(
    madlad: str, monkeypatch: pytest.MonkeyPatch, engine: str, bf16: bool, wanted: str
) -> None:
    card(monkeypatch, engine, bf16)
    made = make_engine({"engine": engine, "model": madlad, "device": "cuda"})
    assert made.identity[OPTIONS[engine]] == wanted


@pytest.mark.parametrize("engine", OPTIONS)
def test_control_other_models_take_float16(m2m: str, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    card(monkeypatch, engine, True)
    made = make_engine({"engine": engine, "model": m2m, "device": "cuda"})
    assert made.identity[OPTIONS[engine]] == "float16"


@pytest.mark.parametrize(
    ("engine", "asked"),
    [("transformers", "float16"), ("ctranslate2", "float16"), ("ctranslate2", "int8_float16")],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_float16_is_refused_for_madlad(
    madlad: str, m2m: str, monkeypatch: pytest.MonkeyPatch, engine: str, asked: str, device: str
) -> None:
    card(monkeypatch, engine, True)
    options = {"engine": engine, "device": device, OPTIONS[engine]: asked}
    with pytest.raises(UserError, match=rf"\(t5\) exceed what float16 holds, found {OPTIONS[engine]} {asked}; take"):
        make_engine({**options, "model": madlad})
    assert make_engine({**options, "model": m2m}).identity[OPTIONS[engine]] == asked


def test_float32_and_bfloat16_are_taken_as_asked(madlad: str) -> None:
    for dtype in ("float32", "bfloat16"):
        made = make_engine({"engine": "transformers", "model": madlad, "device": "cpu", "dtype": dtype})
        assert made.identity["dtype"] == dtype


def test_the_family_is_known_by_the_types_of_transformers() -> None:
    from transformers import CONFIG_MAPPING

    assert set(CONFIG_MAPPING) >= WIDE
    assert {"t5", "mt5", "umt5"} <= WIDE


def test_training_knows_no_float16() -> None:
    assert set(get_args(Precision)) == {"auto", "fp32", "bf16"}
    for settings in (Training, TranslatorSpec):
        assert "fp16" not in str(settings.__annotations__["precision"])


def test_a_model_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    """transformers would fill them with random numbers, and the translations would be noise."""
    from safetensors.torch import load_file, save_file

    folder = translation_models.m2m(tmp_path / "m2m")
    state = load_file(folder / "model.safetensors")
    name = next(each for each in sorted(state) if "decoder.layers.0" in each)
    del state[name]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    for engine in OPTIONS:
        if engine == "ctranslate2":
            pytest.importorskip("ctranslate2")
        made = make_engine({"engine": engine, "model": str(folder), "device": "cpu"})
        with pytest.raises(UserError, match=f"its files have no weights for {name}; take a whole copy"):
            made.translate(["mbwa"], source="sw", target="en")
