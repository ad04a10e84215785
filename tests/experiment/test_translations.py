"""What a recipe says of its translations: mixed sources, long texts, flags, and a translator that it trains."""

from pathlib import Path
from typing import Any

import pytest

from crossflare.errors import UserError
from crossflare.experiment.data.rows import Data, controls
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import Stage2
from crossflare.recipe.read import spec_from
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.tasks.example import Example, Split
from crossflare.translation.states import encode_rows
from crossflare.translation.translate import BySentence, for_long_texts
from tiny_experiment import Lab, word_pairs

TRANSLATOR: dict[str, Any] = {
    "width": 64, "layers": 1, "vocabulary": 64, "dropout": 0.0, "epochs": 1, "batch_size": 4, "max_tokens": 16,
    "precision": "fp32", "licence": "CC-BY-NC-4.0",
}  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """No base model is needed here."""
    monkeypatch.setattr("tiny_experiment.make_base", lambda folder: folder.mkdir(parents=True))
    return Lab(tmp_path / "lab", languages=("sw",))


def data(lab: Lab, changes: dict[str, Any] | None = None) -> Data:
    return Data(lab.spec(changes), lab.folder)


def sources(split: Split) -> list[Any]:
    return [example.source for example in split]


# Mixed sources -------------------------------------------------------------------------------------------------------


def test_mixed_sources_are_drawn_by_row_and_seed(lab: Lab) -> None:
    (lab.folder / "words.tsv").write_text("".join(f"{word}\tx{other}\n" for word, other in word_pairs("sw")))
    made = data(lab)
    back, original = (sources(made.training("sw", "train", kind)) for kind in ("machine", "original"))
    assert all(a != b for a, b in zip(back, original, strict=True))
    draws = [sources(made.training("sw", "train", "mixed(0.5)", seed)) for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len({str(draw) for draw in draws}) == 3
    for draw in draws:
        assert all(row in (a, b) for row, a, b in zip(draw, back, original, strict=True))
    assert sources(made.training("sw", "train", "mixed(0)")) == original
    assert sources(made.training("sw", "train", "mixed(1)")) == back
    assert sources(made.training("sw", "dev", "mixed(0)")) == sources(made.training("sw", "dev", "machine"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("mixd(0.5)", "nearest|did you mean|known"), ("mixed(2)", "p from 0 to 1"), ("mixed(x)", "p from 0 to 1")],
)
def test_a_wrong_mixture_is_told(lab: Lab, wrong: str, said: str) -> None:
    with pytest.raises(GatheredError, match=f"train_source.*({said})"):
        lab.spec({"methods.flare": {"train_source": wrong}}, ("flare",))


def test_a_mixture_needs_an_engine(lab: Lab) -> None:
    with pytest.raises(GatheredError, match="to_source is missing"):
        lab.spec({"methods.flare": {"train_source": "mixed(0.5)"}, "translation": {}}, ("flare",))


def test_ids_change_only_for_what_is_mixed_or_dropped(lab: Lab) -> None:
    def ids(changes: dict[str, Any]) -> list[str]:
        context = Context(lab.spec(changes, ("lora", "flare")), lab.folder / "run")
        return [context.training_key(("sw",), Stage2(context, m, ("sw",), 0).reads) for m in context.spec.methods]

    plain, mixed = ids({}), ids({"methods.flare": {"train_source": "mixed(0.5)"}})
    assert plain[0] == mixed[0]
    assert plain[1] != mixed[1]
    assert not set(plain) & set(ids({"translation.drop": ["empty"]}))


# Flags ---------------------------------------------------------------------------------------------------------------


def rows(*pairs: tuple[str, str]) -> Split:
    made = [Example(str(n), (text,), source=(source,)) for n, (text, source) in enumerate(pairs)]
    return Split("train", "sw", tuple(made))


def test_flags_of_both_routes() -> None:
    split = rows(("nyumba kubwa nyekundu", "the big house"), ("a b c d", "a b c d"), ("mbwa", ""))
    assert [sorted(row) for row in controls.to_target(split, "en")] == [[], ["copied"], []]
    assert [sorted(row) for row in controls.to_source(split, "en")] == [[], ["copied"], ["empty"]]
    assert len(controls.without(split, controls.to_source(split, "en"), ["empty"])) == 2
    assert controls.counted(controls.to_source(split, "en"), 1) == {
        "rows": 3, "flagged": 2, "empty": 1, "copied": 1, "dropped": 1,
    }  # fmt: skip


def test_flagged_training_rows_are_dropped_and_counted_and_test_rows_never(lab: Lab) -> None:
    def copy(found: list[dict[str, str]]) -> None:
        found[0]["text"] = "the film the story"

    for language in ("en", "sw"):
        lab.edit(language, "train", copy)
    lab.edit("sw", "test", copy)
    kept, dropping = data(lab), data(lab, {"translation.drop": ["copied"]})
    counts = dropping.translated("sw", "train", "original").flagged["to_target"]  # nothing was read before
    assert (counts["rows"], counts["copied"], counts["dropped"]) == (12, 1, 1)
    assert "dropped" not in kept.translated("sw", "train", "original").flagged["to_target"]
    assert dropping.translated("sw", "test", "machine").flagged["to_source"]["copied"] == 1
    assert dropping.translated("sw", "test", "none").flagged == {}
    assert dropping.translated("sw", "train", "mixed(0.5)").flagged.keys() == {"to_target", "to_source"}
    assert len(kept.training("sw", "train", "original")) == 12
    assert len(dropping.training("sw", "train", "original")) == 11
    assert len(dropping.test("sw", "machine")) == 7


def test_an_unknown_flag_is_told(lab: Lab) -> None:
    with pytest.raises(GatheredError, match=r"unknown flag 'empti': .*empty"):
        data(lab, {"translation.drop": ["empti"]})


# Long texts ----------------------------------------------------------------------------------------------------------


class Short:
    """Reads three words at once, and has a state for each."""

    identity: dict[str, Any] = {"engine": "short"}  # noqa: RUF012
    max_tokens = 3

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def translate(self, texts: list[str], *, source: str, target: str) -> list[str]:
        if max(self.count_tokens(texts), default=0) > self.max_tokens:
            raise UserError("too long")
        return [text.upper() for text in texts]

    def encode(self, texts: list[str], language: str) -> list[Any]:
        import torch

        self.translate(texts, source="sw", target="en")
        return [torch.tensor([[float(len(word))] for word in text.split()]) for text in texts]


def test_engines_with_a_limit_get_parts() -> None:
    engine, text = Short(), "one two three four five six seven"
    wrapped = for_long_texts(engine)  # type: ignore[arg-type]
    assert wrapped.translate([text], source="sw", target="en") == [text.upper()]
    assert isinstance(wrapped, BySentence)
    assert wrapped.identity["split"]
    unlimited: Any = object()
    assert for_long_texts(unlimited) is unlimited


def test_states_of_long_texts_stand_one_after_the_other() -> None:
    text = "one two three four five six seven"
    ((long, short),) = encode_rows(Short(), [(text, "a bb")], "sw")
    assert long[:, 0].tolist() == [float(len(word)) for word in text.split()]
    assert short[:, 0].tolist() == [1.0, 2.0]


# A translator of the recipe's own ------------------------------------------------------------------------------------


def own(lab: Lab, **more: Any) -> dict[str, Any]:
    sides = list(zip(*word_pairs("sw"), strict=True))
    for name, words in zip(("sw", "en"), sides, strict=True):
        (lab.folder / f"words.{name}").write_text("".join(f"{word}\n" for word in words))
    files = {"source_file": str(lab.folder / "words.en"), "target_file": str(lab.folder / "words.{language}")}
    engine = {"engine": "trained", "decode_with": "transformers", "beams": 1}
    return {
        "translator": {**files, **TRANSLATOR, **more},
        "to_target": engine, "to_source": engine, "latents": {"engine": "trained", "store": True},
    }  # fmt: skip


def test_a_translator_is_trained_once_and_serves_every_route(lab: Lab) -> None:
    made = data(lab, {"translation": own(lab)})
    place = lab.folder / "translators"
    key = made.identity("sw", "machine")
    assert not place.exists()  # ids need no training
    split = made.training("sw", "train", "machine")
    folders = [path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
    assert key is not None
    assert folders == [key["model"]]
    assert made.identity("sw", "machine") == key == data(lab, {"translation": own(lab)}).identity("sw", "machine")
    assert key["licence"] == "CC-BY-NC-4.0"
    assert made.translations.identity_to_target("sw")["model"] == key["model"]  # type: ignore[index]
    states = made.translations.latents(split)
    assert states[0][0].shape[1] == made.translations.encoder("sw").encoder_size == 64
    assert list((lab.folder / "states").iterdir())
    assert [len(row) for row in made.translations.latents(split)] == [len(row) for row in states]


def test_another_size_is_another_engine(lab: Lab) -> None:
    keys = [data(lab, {"translation": own(lab, **more)}).identity("sw", "machine") for more in ({}, {"epochs": 2})]
    assert keys[0] != keys[1]


def test_the_recipe_reads_back(lab: Lab) -> None:
    spec = lab.spec({"translation": {**own(lab), "drop": ["empty"]}})
    assert spec_from(spec.to_yaml(), lab.folder) == spec


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"translator": None}, "needs translation.translator"),
        ({"to_target": {"engine": "parallel", "store": True}}, "store"),
        ({"latents": {"engine": "dictionary", "lexicon": "x"}}, "expected an engine with an encoder"),
    ],
)
def test_what_does_not_go_together(lab: Lab, change: dict[str, Any], said: str) -> None:
    given = {key: value for key, value in {**own(lab), **change}.items() if value is not None}
    with pytest.raises(GatheredError, match=said):
        lab.spec({"translation": given})


def test_a_translator_for_nobody(lab: Lab) -> None:
    with pytest.raises(GatheredError, match="no route uses it"):
        lab.spec({"translation.translator": own(lab)["translator"]})
