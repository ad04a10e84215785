"""Laws of the CTranslate2 engine: what transformers finds, it finds; a model is converted once and never by half."""

import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import translation_models
from crossflare.errors import UserError
from crossflare.translation.engines.ct2 import CTranslate2
from crossflare.translation.engines.hf import Transformers
from crossflare.translation.engines.registry import make_engine
from lanes import cover

pytest.importorskip("ctranslate2")


WORDS = "the big red house a dog eats fish nyumba kubwa nyekundu mbwa anakula samaki wa bahari"


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("CROSSFLARE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


FOLDERS = ["m2m", "nllb", "marian", "mbart", "madlad"]


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return getattr(translation_models, request.param)(tmp_path_factory.mktemp("models") / request.param)


def texts(count: int) -> list[str]:
    pick = random.Random(0)
    return [" ".join(pick.choices(WORDS.split(), k=pick.randint(1, 12))) for _ in range(count)]


def ct2(folder: Path, **options: Any) -> Any:
    return make_engine({"engine": "ctranslate2", "model": str(folder), "device": "cpu", "threads": 1, **options})


@pytest.mark.parametrize(("folder", "beams"), cover(FOLDERS, [1, 4]), indirect=["folder"])
def test_the_same_translations_as_transformers(folder: Path, beams: int) -> None:
    given = [*texts(24), " ", "", "שלום 👩‍👧 e\u0301", "a\0b", "\ud800"]
    options = {"beams": beams, "length_ratio": 1.0, "tokens_per_batch": 200}
    theirs = Transformers(str(folder), device="cpu", **options).translate(given, source="sw", target="en")
    ours = ct2(folder, compute_type="float32", **options)
    found = ours.translate(given, source="sw", target="en")
    assert found == theirs
    assert len(set(theirs)) > (4 if folder.name != "nllb" else 2)
    assert ours.translate(given[::-1], source="sw", target="en") == theirs[::-1]


def test_int8_is_near_and_has_its_own_identity(folder: Path) -> None:
    engine = ct2(folder, length_ratio=1.0)
    assert (engine.identity["engine"], engine.identity["compute_type"]) == ("ctranslate2", "int8")
    assert engine.identity != ct2(folder, compute_type="float32", length_ratio=1.0).identity
    assert len(engine.translate(texts(5), source="sw", target="en")) == 5
    assert engine.max_tokens > 100
    assert engine.count_tokens(["mbwa"])[0] > 1


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSFLARE_CACHE", str(tmp_path / "cache"))
    return translation_models.m2m(tmp_path / "m2m")


def test_a_model_is_converted_once_and_again_when_it_changed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossflare.translation.engines import ct2 as module

    calls: list[str] = []
    real = module.write_converted
    monkeypatch.setattr(module, "write_converted", lambda *given: calls.append(given[2]) or real(*given))
    first = ct2(model, length_ratio=0.2).translate(["mbwa"], source="sw", target="en")
    assert ct2(model, length_ratio=0.2).translate(["mbwa"], source="sw", target="en") == first
    assert calls == ["int8"]
    (weights,) = (model.parent / "cache" / "ctranslate2").glob("*/model.bin")
    weights.write_bytes(weights.read_bytes()[:-100])  # damaged: made again, not read
    assert ct2(model, length_ratio=0.2).translate(["mbwa"], source="sw", target="en") == first
    ct2(model, compute_type="float32", length_ratio=0.2).translate(["mbwa"], source="sw", target="en")
    assert calls == ["int8", "int8", "float32"]
    vocabulary = model / "vocab.json"
    vocabulary.write_text(vocabulary.read_text() + "\n")
    ct2(model, length_ratio=0.2).translate(["mbwa"], source="sw", target="en")
    assert calls == ["int8", "int8", "float32", "int8"]


def test_a_conversion_that_is_cut_off_leaves_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossflare.translation.engines import ct2 as module

    real = module.write_converted

    def cut(*given: Any) -> None:
        real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_converted", cut)
    with pytest.raises(KeyboardInterrupt):
        ct2(model).translate(["mbwa"], source="sw", target="en")
    assert list((model.parent / "cache" / "ctranslate2").iterdir()) == []


def test_a_copy_for_another_process(model: Path) -> None:
    from multiprocessing.reduction import ForkingPickler

    engine = ct2(model, length_ratio=0.2)
    first = engine.translate(["mbwa"], source="sw", target="en")
    copied = ForkingPickler.loads(ForkingPickler.dumps(engine))
    assert copied.translate(["mbwa"], source="sw", target="en") == first


def test_the_missing_package_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UserError, match=r"needs the package ctranslate2; install it: pip install 'crossflare\[ct2\]'"):
        ct2(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_type": "int7"}, "unknown compute_type of the engine ctranslate2 'int7': did you mean"),
        ({"device": "tpu"}, "unknown device of the engine ctranslate2 'tpu'"),
        ({"device": "cuda:x"}, "expected cpu, cuda or cuda:1, found cuda:x"),
        ({"beams": 0}, "option 'beams' of the engine ctranslate2: expected more than 0"),
        ({"model": "no/such"}, "no/such: expected a hub name or a folder"),
        ({"beam": 0}, "unknown option 'beam' of the engine ctranslate2: did you mean 'beams'"),
    ],
)
def test_mistakes(model: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ct2(model, **options)


def test_missing_languages_and_pickled_weights(model: Path) -> None:
    with pytest.raises(UserError, match=r"does not have Toba Batak \(bbc\)"):
        ct2(model).translate(["a"], source="bbc", target="en")
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    with pytest.raises(
        UserError, match=r"with safetensors weights .`crossflare fetch` makes them of others.; the reason"
    ):
        ct2(model).translate(["a"], source="sw", target="en")


def test_a_search_that_takes_too_long_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting:
        def done(self) -> bool:
            return False

    engine = CTranslate2(str(folder), device="cpu", beams=1)
    expected = engine.translate(["mbwa"], source="sw", target="en")
    monkeypatch.setattr("crossflare.translation.engines.protocol.PATIENCE", -1.0)
    monkeypatch.setattr(engine, "_translator", type("", (), {"translate_batch": lambda *_, **__: [Waiting()]})())
    with pytest.raises(UserError, match="took more than -1 seconds for one batch"):
        engine.translate(["mbwa"], source="sw", target="en")
    monkeypatch.undo()
    assert CTranslate2(str(folder), device="cpu", beams=1).translate(["mbwa"], source="sw", target="en") == expected
