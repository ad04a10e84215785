"""Several adapters behind one call say what each says alone, and share a model and a source pass where they can."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import crossflare
from crossflare.disk.files import CARD
from crossflare.errors import UserError
from crossflare.fusion.reading import SourceReader
from crossflare.languages import identify
from crossflare.translation.engines.dictionary import Dictionary
from crossflare.translation.engines.lexicon import Lexicon
from several_adapters import FILLED, NAMES, assert_alike, further, make_several, one_by_one
from tiny_adapters import LABELS, SOURCES


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_several(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("batch_size", [3, 64])
def test_each_text_gets_what_its_adapter_says_alone(places: dict[str, Path], batch_size: int) -> None:
    adapters = crossflare.open_adapters({name: places[name] for name in ("sw", "jv", "ha")})
    sources = [None if name == "ha" else source for name, source in zip(NAMES, SOURCES, strict=True)]
    said = adapters.predict(FILLED, sources, languages=NAMES, batch_size=batch_size)
    assert_alike(said, one_by_one(places, NAMES, sources))
    assert [len(each.probabilities) for each in said] == [3, 5, 3, 5, 3, 3, 5, 3]


def test_rows_of_all_adapters_are_batched_by_length(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The model and its source pass run once for each batch, and a batch's rows are as long, whatever their adapter."""
    adapters = crossflare.open_adapters({name: places[name] for name in ("sw", "jv")})
    shapes: list[tuple[int, ...]] = []
    passes: list[int] = []
    own = SourceReader.read
    monkeypatch.setattr(
        SourceReader, "read", lambda self, inputs: passes.append(len(inputs["input_ids"])) or own(self, inputs)
    )
    model = adapters._members["sw"].model
    hook = model.register_forward_pre_hook(lambda *call: shapes.append(call[2]["input_ids"].shape), with_kwargs=True)
    texts = ["w1 " * length for length in (18, 2, 18, 2)]
    adapters.predict(texts, ["w2", "w3", "w4", "w5"], languages=["sw", "sw", "jv", "jv"], batch_size=2)
    hook.remove()
    assert shapes == [(2, 24), (2, 8)]
    assert passes == [2, 2]


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


def test_a_text_of_one_language_is_translated_once(places: dict[str, Path]) -> None:
    asked: list[list[str]] = []

    class Counting(Dictionary):
        def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
            asked.append([source, *texts])
            return super().translate(texts, source=source, target=target)

    engine = Counting({("jv", "en"): Lexicon({"w1": "w21"})})
    adapters = crossflare.open_adapters({"opinions": places["sw"], "topics": places["jv"]})
    texts, names = ["w1", "w1", "w2", "w1"], ["opinions", "topics", "topics", "topics"]
    said = adapters.predict(texts, languages=names, translators={"opinions": engine, "topics": engine})
    assert asked == [["jv", "w1", "w2"]]
    assert [each.source for each in said] == ["w21", "w21", "w2", "w21"]


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


def test_nothing_to_open_and_nothing_to_read(places: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected at least one adapter, got none"):
        crossflare.open_adapters({})
    shutil.copytree(places["sw"], tmp_path / "damaged")
    (tmp_path / "damaged" / CARD).write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        crossflare.open_adapters({"sw": places["sw"], "jv": tmp_path / "damaged"})
    assert crossflare.open_adapters({"sw": places["sw"]}).predict([]) == []
