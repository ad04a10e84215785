"""Several adapters: a wrong call gets one line that says what was expected; odd texts are answered beside others."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import crossflare
from crossflare.errors import UserError
from crossflare.languages import identify
from crossflare.serving.several import TrainedAdapters
from several_adapters import make_several
from tiny_adapters import make_base


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_several(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def adapters(places: dict[str, Path]) -> TrainedAdapters:
    return crossflare.open_adapters({"sw": places["sw"], "jv": places["jv"]})


HALF = "w1 \ud83d"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"texts": ["w1"], "languages": ["fr"]}, "unknown language 'fr'"),
    ({"texts": ["w1"], "languages": [None]}, "unknown language 'None'"),
    ({"texts": ["w1"], "languages": 7}, "languages: expected a list, got int"),
    ({"texts": ["w1", "w2"], "languages": ["sw"]}, "2 texts but 1 languages"),
    ({"texts": ["w1"], "sources": [], "languages": "sw"}, "1 texts but 0 sources"),
    ({"texts": "w1", "languages": "sw"}, "expected a list"),
    ({"texts": None, "languages": "sw"}, "texts: expected a list, got None"),
    ({"texts": [b"w1"], "sources": [None], "languages": "sw"}, r"texts\[0\]: expected a text, got bytes"),
    ({"texts": [("w1", "w2")], "sources": [None], "languages": "sw"}, r"expected a text, got \(str, str\)"),
    ({"texts": [HALF], "sources": [None], "languages": "sw"}, "half of a surrogate pair"),
    ({"texts": ["w1"], "sources": [HALF], "languages": "sw"}, r"sources\[0\]: holds half of a surrogate pair"),
    ({"texts": [HALF], "sources": [None]}, "half of a surrogate pair"),
    ({"texts": ["w1", None], "sources": [None, None]}, r"texts\[1\]: expected a text, or two, got NoneType"),
    ({"texts": [()], "sources": [None]}, r"texts\[0\]: expected a text, or two, got tuple"),
    ({"texts": ["w1"], "languages": "sw"}, "this adapter reads texts with their translations"),
    ({"texts": ["w1"], "sources": [None], "languages": "sw", "batch_size": 0}, "batch_size: expected at least 1"),
    ({"texts": ["w1"], "sources": [None], "languages": "sw", "batch_size": "9"}, "batch_size: expected at least 1"),
    ({"texts": ["w1"], "sources": [None], "languages": "sw", "coverage": 0.5}, "has no calibration"),
    ({"texts": ["w1"], "languages": "sw", "translators": {"xx-yy": None}}, "unknown language"),
    ({"texts": ["w1"], "languages": "sw", "translators": ["sw"]}, "translators: expected {name: value}"),
    ({"texts": ["w1"], "languages": "sw", "translators": {"sw": "apertium"}}, "expected an engine"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_wrong_calls(
    adapters: TrainedAdapters, given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identify, "identifier", lambda: lambda text: {"sw": 0.5 + 0 * len(text.encode()), "jv": 0.5})
    with pytest.raises(UserError, match=message) as caught:
        adapters.predict(**given)
    assert "\n" not in str(caught.value)


def test_a_generator_that_fails(adapters: TrainedAdapters) -> None:
    with pytest.raises(UserError, match="texts: failed after 1 items"):
        adapters.predict((["w1"][number] for number in range(2)), languages="sw")


@pytest.mark.parametrize("text", ["", " \n\t", "w1\0w2", "\0", "unknown! " * 111_112, "w" * 1_000_000, "\u202e\ufeff"])
def test_odd_texts_are_answered_beside_others(adapters: TrainedAdapters, text: str) -> None:
    said = adapters.predict([text, "w1"], [text[:1000], "w2"], languages=["sw", "jv"])
    alone = adapters.predict(["w1"], ["w2"], languages="jv")
    assert said[1].probabilities == pytest.approx(dict(alone[0].probabilities), abs=1e-5)
    assert said[0].truncated == (text.count(" ") > 20)


def test_wrong_openings(places: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_base(other)
    shutil.copy(other / "base" / "config.json", other / "config.json")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"places": {"sw": places["sw"]}, "base": str(tmp_path / "nowhere")}, "nowhere"),
        ({"places": {"sw": tmp_path / "gone"}}, "gone"),
        ({"places": str(places["sw"])}, "expected at least one adapter, got str"),
        ({"places": [places["sw"]]}, "expected at least one adapter, got list"),
        ({"places": {5: places["sw"]}}, "for each adapter, got 5"),
        ({"places": {" ": places["sw"]}}, "for each adapter, got ' '"),
        ({"places": {"sw": places["sw"], "Swahili": places["jv"]}}, "'sw' and 'Swahili' are one language"),
        ({"places": {"sw": None}}, "None"),
        ({"places": {"sw": places["sw"]}, "device": "toaster"}, "toaster"),
    ]
    for given, message in wrong:
        with pytest.raises(UserError, match=message) as caught:
            crossflare.open_adapters(**given)
        assert "\n" not in str(caught.value)
