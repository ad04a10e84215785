"""Several adapters behind one call say what each says alone, and share a model and a source pass where they can."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel

import crossflare
from crossflare.disk.files import CARD, read_json
from crossflare.errors import UserError
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.reading import SourceReader
from crossflare.fusion.saved.adapter_files import save_adapter
from crossflare.languages import identify
from crossflare.serving.prediction import Prediction
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base
from crossflare.translation.engines.dictionary import Dictionary
from crossflare.translation.engines.lexicon import Lexicon
from tiny_adapters import LABELS, SOURCES, TEXTS, make_adapters


def further(folder: Path, name: str, labels: list[str], *, lora: bool = False, seed: int = 1) -> Path:
    """Save one more adapter on the base of `make_adapters`, with labels of its own."""
    shared = {"r": 3, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"}
    base = load_base(str(folder / "base"), TextTask(name, 1, tuple(labels)), seed=0)
    model = get_peft_model(base.model, LoraConfig(**shared) if lora else FlareConfig(**shared))
    torch.manual_seed(seed)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                weight.normal_(std=0.5)
    card = read_json(folder / ("lora" if lora else "flare") / CARD)
    card = {key: value for key, value in card.items() if key not in ("base", "format")}
    card |= {"task": {"name": name, "labels": labels, "texts": 1}, "language": "jv", "max_length": 24}
    card["settings"] = {"precision": "fp32"}  # in bf16 a batch's width changes the last of few digits
    save_adapter(model, folder / name, base=base.identity, card=card)
    return folder / name


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = make_adapters(tmp_path_factory.mktemp("models"))
    AutoModel.from_pretrained(folder / "base").save_pretrained(folder / "base")  # without the head of its own
    return {
        "sw": further(folder, "opinions", LABELS, seed=2),
        "jv": further(folder, "topics", ["food", "sport", "art", "law", "war"]),
        "ha": further(folder, "plain-opinions", LABELS, lora=True, seed=3),
        "pairs": folder / "pairs",
    }


NAMES = ["sw", "jv", "ha", "jv", "sw", "ha", "jv", "sw"]
FILLED = [text if text.strip() else "w7" for text in TEXTS]


def one_by_one(places: dict[str, Path], names: list[str], sources: list[Any] | None) -> list[Prediction]:
    """Return what each adapter, opened alone, says of each text."""
    found: list[Prediction] = []
    for row, name in enumerate(names):
        adapter = crossflare.open_adapter(places[name])
        reads = sources is not None and adapter.kind.reads == "both"
        found += adapter.predict([FILLED[row]], [sources[row]] if reads and sources else None)
    return found


def assert_alike(said: list[Prediction], alone: list[Prediction]) -> None:
    for one, other in zip(said, alone, strict=True):
        assert (one.label, one.source, one.truncated) == (other.label, other.source, other.truncated)
        assert one.probabilities == pytest.approx(dict(other.probabilities), abs=1e-5)


@pytest.mark.parametrize("batch_size", [3, 64])
def test_each_text_gets_what_its_adapter_says_alone(places: dict[str, Path], batch_size: int) -> None:
    adapters = crossflare.open_adapters({name: places[name] for name in ("sw", "jv", "ha")})
    sources = [None if name == "ha" else source for name, source in zip(NAMES, SOURCES, strict=True)]
    said = adapters.predict(FILLED, sources, languages=NAMES, batch_size=batch_size)
    assert_alike(said, one_by_one(places, NAMES, sources))
    assert [len(each.probabilities) for each in said] == [3, 5, 3, 5, 3, 3, 5, 3]


def test_one_model_and_one_source_pass(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = crossflare.open_adapters({name: places[name] for name in ("sw", "jv", "ha")})
    assert len({id(member.model) for member in adapters._members.values()}) == 1
    passes: list[int] = []
    own = SourceReader.read
    monkeypatch.setattr(
        SourceReader, "read", lambda self, inputs: passes.append(len(inputs["input_ids"])) or own(self, inputs)
    )
    adapters.predict(["w1", "w2", "w3"], ["w4", "w4", "w5"], languages=["sw", "jv", "sw"])
    assert passes == [2]  # two rows share a source


def test_an_adapter_that_cannot_share_has_a_model_of_its_own(places: dict[str, Path]) -> None:
    adapters = crossflare.open_adapters({"sw": places["sw"], "jv": places["jv"], "two": places["pairs"]})
    said = adapters.predict(["w1", ("w1", "w2"), "w3"], ["w5", ("w6", "w7"), None], languages=["sw", "two", "jv"])
    alone = crossflare.open_adapter(places["pairs"]).predict([("w1", "w2")], [("w6", "w7")])
    assert_alike(said[1:2], alone)


def test_lora_alone(places: dict[str, Path]) -> None:
    further(places["sw"].parent, "plain", ["one", "two"], lora=True, seed=4)
    both = {"sw": places["ha"], "jv": places["sw"].parent / "plain"}
    said = crossflare.open_adapters(both).predict(["w1 w2", "w3", "w1 w2"], languages=["jv", "sw", "sw"])
    alone = [crossflare.open_adapter(both[name]).predict([text])[0] for name, text in
             (("jv", "w1 w2"), ("sw", "w3"), ("sw", "w1 w2"))]  # fmt: skip
    assert_alike(said, alone)


def test_translators_by_language(places: dict[str, Path]) -> None:
    engine = Dictionary({(language, "en"): Lexicon({"w1": "w21", "w3": "w22"}) for language in ("sw", "jv")})
    adapters = crossflare.open_adapters({"sw": places["sw"], "ha": places["ha"]})
    said = adapters.predict(["w1", "w2", "w3"], languages=["sw", "ha", "sw"], translators={"Swahili": engine})
    assert [each.source for each in said] == ["w21", None, "w22"]
    assert_alike([said[0]], crossflare.open_adapter(places["sw"]).predict(["w1"], translator=engine))


def test_names_are_languages_in_any_spelling(places: dict[str, Path]) -> None:
    adapters = crossflare.open_adapters({"sw": places["sw"], "jv": places["jv"]})
    said = adapters.predict(["w1"], [None], languages="Swahili")
    assert set(said[0].probabilities) == set(LABELS)


def test_the_language_is_detected(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = crossflare.open_adapters({"sw": places["sw"], "jv": places["jv"]})
    monkeypatch.setattr(identify, "identifier", lambda: lambda text: {"sw": 0.3, "jv": 0.6 * ("w9" in text), "en": 0.1})
    said = adapters.predict(["w1", "w9 w8"], [None, None])
    assert [len(each.probabilities) for each in said] == [3, 5]
    monkeypatch.setattr(identify, "identifier", lambda: lambda text: {"sw": 1.0})
    with pytest.raises(UserError, match="does not know 'jv'; name the language"):
        adapters.predict(["w1"], [None])
    monkeypatch.setattr(identify, "identifier", lambda: None)
    with pytest.raises(UserError, match="no language identifier is installed"):
        adapters.predict(["w1"], [None])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"texts": ["w1"], "languages": ["fr"]}, "unknown language 'fr'"),
    ({"texts": ["w1", "w2"], "languages": ["sw"]}, "2 texts but 1 languages"),
    ({"texts": ["w1"], "sources": [], "languages": "sw"}, "1 texts but 0 sources"),
    ({"texts": "w1", "languages": "sw"}, "expected a list"),
    ({"texts": ["w1"], "languages": "sw"}, "this adapter reads texts with their translations"),
    ({"texts": ["w1"], "sources": [None], "languages": "sw", "batch_size": 0}, "batch_size: expected at least 1"),
    ({"texts": ["w1"], "languages": "sw", "translators": {"xx-yy": None}}, "unknown language"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_calls(places: dict[str, Path], given: dict[str, Any], message: str) -> None:
    adapters = crossflare.open_adapters({"sw": places["sw"], "jv": places["jv"]})
    with pytest.raises(UserError, match=message) as caught:
        adapters.predict(**given)
    assert "\n" not in str(caught.value)


def test_nothing_to_open_and_nothing_to_read(places: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected at least one adapter, got none"):
        crossflare.open_adapters({})
    shutil.copytree(places["sw"], tmp_path / "damaged")
    (tmp_path / "damaged" / CARD).write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        crossflare.open_adapters({"sw": places["sw"], "jv": tmp_path / "damaged"})
    assert crossflare.open_adapters({"sw": places["sw"]}).predict([]) == []
