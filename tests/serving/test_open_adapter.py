"""`open_adapter` and `predict` say what the run and the command say; what does not go together is one line."""

import gc
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import crossflare
from crossflare.disk.files import CARD, read_json
from crossflare.errors import UserError
from crossflare.evaluation.calibration import tempered
from crossflare.experiment.making.building import form_of
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.fusion.saved.readme import UNKNOWN
from crossflare.serving.adapter import TrainedAdapter
from crossflare.serving.file import Column, predict_file
from crossflare.serving.prediction import Prediction
from crossflare.serving.push import parcel_of
from crossflare.tasks.example import Example
from crossflare.translation.engines.dictionary import Dictionary
from crossflare.translation.engines.lexicon import Lexicon
from tiny_adapters import LABELS, SOURCES, TEXTS, make_adapters, write
from tiny_experiment import Lab, read_jsonl

METHODS: dict[str, Any] = {
    "zero-shot": None,
    "lora": None,
    "flare": None,
    "flare-no-source": {"of": "flare"},
    "input-fusion": None,
    "flare-released": None,
    "xmixup": {"train_source": "machine"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapters(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def flare(folder: Path) -> TrainedAdapter:
    return crossflare.open_adapter(folder / "flare")


Ran = tuple[Path, Context, tuple[Example, ...]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A finished run, its recipe, and its test rows."""
    lab = Lab(tmp_path_factory.mktemp("lab"), languages=("sw",), seeds=(0,))
    gc.collect()
    gc.freeze()
    spec = lab.spec({"methods": METHODS, "stage1.epochs": 1, "stage2.epochs": 1})
    folder = run(spec, lab.folder / "runs", workers=1)
    context = Context(spec, folder)
    return folder, context, context.data.test("sw", "machine").examples


def shares(said: Sequence[Prediction]) -> np.ndarray:
    return np.array([list(each.probabilities.values()) for each in said])


@pytest.mark.parametrize("method", METHODS)
def test_it_says_what_the_run_said(ran: Ran, method: str) -> None:
    folder, context, rows = ran
    (record,) = [
        each for path in (folder / "records").glob("*.json") if (each := read_json(path))["method"]["name"] == method
    ]
    adapter = crossflare.open_adapter(folder / "models" / record["model"]["id"])
    sources = None if method in ("lora", "zero-shot") else [(each.source or ("",))[0] for each in rows]
    if method == "flare-no-source":
        sources = [None] * len(rows)
    said = adapter.predict([each.texts[0] for each in rows], sources)
    expected = read_jsonl(folder / record["predictions"])
    heat = 1.0 if method == "zero-shot" else record["calibration"]["temperature"]  # stage 1 has none for this language
    logs = tempered(np.array([row["log_probabilities"] for row in expected]), heat)
    np.testing.assert_allclose(shares(said), np.exp(logs), atol=1e-4)
    assert record["calibration"]["rows"] == len(context.data.dev("sw", "none"))
    assert all(each.calibrated == (method != "zero-shot") for each in said)
    assert [adapter.task.labels.index(each.label) for each in said] == [row["prediction"] for row in expected]


def test_a_push_carries_the_scores_of_the_run(ran: Ran) -> None:
    folder, _, rows = ran
    records = [read_json(path) for path in (folder / "records").glob("*.json")]
    flare = [each for each in records if each["method"]["name"] in ("flare", "flare-no-source")]
    place = folder / "adapters" / "flare-sw-seed0"
    parcel = parcel_of(place, "me/flare")
    assert {(each.metric, each.how.partition(",")[0], round(each.score, 6)) for each in parcel.scores} == {
        (metric, each["method"]["name"], round(score, 6)) for each in flare for metric, score in each["scores"].items()
    }
    assert all(each.low <= each.score <= each.high and each.rows == len(rows) for each in parcel.scores)
    said = ModelCard(parcel.readme)
    assert len(said.data.eval_results or ()) == len(parcel.scores)
    trained = read_json(place / CARD)["data"]
    assert (
        f"| data | own files, {trained['n_train']} rows (train), {trained['n_dev']} rows (dev) | {UNKNOWN} |"
        in said.text
    )
    assert "| test sources by (sw) | dictionary | that of the lexicon |" in said.text
    shutil.copytree(place.resolve(), folder.parent / "elsewhere")
    assert parcel_of(folder.parent / "elsewhere", "me/flare").scores == ()


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("zero-shot", "flare-no-source")])
def test_rows_are_put_to_the_model_as_in_training(ran: Ran, method: str) -> None:
    folder, context, rows = ran
    adapter = crossflare.open_adapter(folder / "adapters" / f"{method}-sw-seed0")
    about, stage2 = context.spec.method(method).about, context.spec.stage2
    trained = form_of(context, stage2, adapter.model, adapter.tokenizer, about, "machine")
    form = adapter.form(with_source=about.reads == "both")
    assert type(form) is type(trained)
    assert form.longest == trained.longest
    unlabelled = [replace(each, label=None) for each in rows]
    encoded = [(each, each.encode(unlabelled)) for each in (form, trained)]
    batch, expected = (each.collate([found[n] for n in range(len(found))]) for each, found in encoded)
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(torch.as_tensor(batch[name]), torch.as_tensor(value)), name


def test_it_says_what_the_command_writes(folder: Path, flare: TrainedAdapter, tmp_path: Path) -> None:
    given = [(text, source) for text, source in zip(TEXTS, SOURCES, strict=True) if text.strip()]  # a file's are filled
    texts, sources = [text for text, _ in given], [source for _, source in given]
    rows = write(tmp_path / "in.jsonl", [{"text": text, "en": source} for text, source in given])
    counts = predict_file(adapter=folder / "flare", input=rows, output=tmp_path / "out.jsonl", source=Column(("en",)))
    said = flare.predict(texts, sources)
    assert [
        {"prediction": each.label, "probabilities": {label: round(p, 6) for label, p in each.probabilities.items()}}
        for each in said
    ] == [{name: row[name] for name in ("prediction", "probabilities")} for row in read_jsonl(tmp_path / "out.jsonl")]
    assert all(list(each.probabilities) == LABELS for each in said)
    assert all(each.score == each.probabilities[each.label] == max(each.probabilities.values()) for each in said)
    assert [each.source for each in said] == [source if source.strip() else None for source in sources]
    assert [each.truncated for each in said] == [len(text.split()) > 14 for text in texts]
    assert sum(each.truncated for each in said) == counts.truncated


def test_the_company_of_a_row_changes_nothing(flare: TrainedAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.evaluation.scoring.resolve", lambda precision, device: "fp32")
    sources = [*SOURCES[:3], None, *SOURCES[4:]]
    whole = shares(flare.predict(TEXTS, sources))
    alone = [shares(flare.predict([text], [source]))[0] for text, source in zip(TEXTS, sources, strict=True)]
    turned = shares(flare.predict(TEXTS[::-1], sources[::-1], batch_size=3))[::-1]
    np.testing.assert_allclose(whole, alone, atol=1e-5)
    np.testing.assert_allclose(whole, turned, atol=1e-5)


def test_none_among_the_sources_is_no_source(flare: TrainedAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.evaluation.scoring.resolve", lambda precision, device: "fp32")
    bare = shares(flare.predict(TEXTS, [None] * len(TEXTS)))
    some = flare.predict(TEXTS, [None, *SOURCES[1:]])
    np.testing.assert_allclose(shares(some)[0], bare[0], atol=1e-5)
    assert some[0].source is None
    assert np.abs(shares(some)[5] - bare[5]).max() > 1e-3  # a source is read where there is one
    np.testing.assert_allclose(shares(flare.predict(TEXTS, ["", *SOURCES[1:]])), shares(some), atol=1e-6)


def test_a_translator_makes_the_sources(flare: TrainedAdapter, tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("".join(f"w{n}\tw{39 - n}\n" for n in range(40)))
    engine = Dictionary({("sw", "en"): Lexicon.load(tmp_path / "words.tsv")})
    said = flare.predict(["w1 w2 w3", "w9"], translator=engine)
    assert [each.source for each in said] == ["w38 w37 w36", "w30"]
    assert said == flare.predict(["w1 w2 w3", "w9"], ["w38 w37 w36", "w30"])


def test_pairs(folder: Path) -> None:
    adapter = crossflare.open_adapter(folder / "pairs")
    said = adapter.predict([("w1", "w2"), ("w3 w4", "w5")], [("w6", "w7"), None])
    assert [each.source for each in said] == [("w6", "w7"), None]
    swapped = adapter.predict([("w2", "w1"), ("w3 w4", "w5")], [("w6", "w7"), None])
    assert np.abs(shares(said)[0] - shares(swapped)[0]).max() > 1e-3


@pytest.mark.parametrize("place", [None, 3, ["folder"]])
def test_what_is_no_place_is_one_line(place: Any) -> None:
    with pytest.raises(UserError, match="expected a folder or a name on the hub as text, got"):
        crossflare.open_adapter(place)


def test_no_texts_no_predictions(flare: TrainedAdapter) -> None:
    assert flare.predict([]) == flare.predict([], []) == []
    assert len(flare.predict(iter(["w1"]), iter(["w2"]))) == 1


class Other:
    """No engine."""


@pytest.mark.parametrize(
    ("name", "texts", "options", "said"),
    [
        ("flare", ["w1"], {}, "with their translations into 'en'; give them as sources, or a translator; "
         "sources=[None, ...] reads the texts alone"),
        ("flare", ["w1"], {"sources": ["w2", "w3"]}, "1 texts but 2 sources; give each text a source, or None"),
        ("flare", ["w1"], {"sources": ["w2"], "translator": Other()}, "expected sources or a translator, got both"),
        ("flare", ["w1"], {"translator": Other()}, "translator: expected an engine with `identity` and `translate`"),
        ("flare", "w1", {}, "texts: expected a list, got str; one text goes into a list: [text]"),
        ("flare", ["w1"], {"sources": "w2"}, "sources: expected a list, got str"),
        ("flare", 3, {}, "texts: expected a list, got int"),
        ("flare", ["w1", None], {}, "texts[1]: expected a text, got None"),
        ("flare", [("w1", "w2")], {}, "texts[0]: expected a text, got (str, str); this adapter's task has 1 text(s)"),
        ("flare", [("w1",)], {}, "texts[0]: expected a text, got (str)"),
        ("flare", ["w1"], {"sources": [float("nan")]}, "sources[0]: expected a text, got float"),
        ("flare", ["\ud800"], {}, "texts[0]: holds half of a surrogate pair"),
        ("flare", ["w1"], {"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ("pairs", ["w1"], {}, "texts[0]: expected a pair of texts, got str; this adapter's task has 2 text(s)"),
        ("pairs", [("w1", 2)], {}, "texts[0]: expected a pair of texts, got (str, int)"),
        ("lora", ["w1"], {"sources": ["w2"]}, "lora reads no source; leave it out"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(
    folder: Path, flare: TrainedAdapter, name: str, texts: Any, options: dict[str, Any], said: str
) -> None:
    adapter = flare if name == "flare" else crossflare.open_adapter(folder / name)
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        adapter.predict(texts, **options)
    assert "\n" not in str(caught.value)


def test_lora_takes_sources_that_are_none(folder: Path) -> None:
    adapter = crossflare.open_adapter(folder / "lora")
    assert adapter.predict(["w1"], [None]) == adapter.predict(["w1"])


def test_what_it_holds(folder: Path, flare: TrainedAdapter) -> None:
    assert (flare.folder, flare.task.labels, flare.card["language"]) == (folder / "flare", tuple(LABELS), "sw")
    assert flare.kind.fuses
    assert not flare.model.training
    assert flare.tokenizer("w1")["input_ids"] == [2, 5, 3]
    assert "Parameter" not in repr(flare)


def test_the_base_is_the_one_that_the_adapter_names_or_the_callers(
    folder: Path, tmp_path: Path, flare: TrainedAdapter
) -> None:
    for name in ("flare", "base"):
        shutil.copytree(folder / name, tmp_path / name)
    card = read_json(tmp_path / "flare" / "crossflare.json")
    card["model"]["name"] = "nobody/nothing-of-that-name"
    (tmp_path / "flare" / "crossflare.json").write_text(json.dumps(card))
    reseal(tmp_path / "flare")
    with pytest.raises(UserError, match="the base model 'nobody/nothing-of-that-name' that the adapter names is not"):
        crossflare.open_adapter(tmp_path / "flare")
    given = crossflare.open_adapter(tmp_path / "flare", base=str(tmp_path / "base"))
    assert given.predict(TEXTS, SOURCES) == flare.predict(TEXTS, SOURCES)


def reseal(adapter: Path) -> None:
    from crossflare.disk.files import MANIFEST, digest_file

    names = [path.name for path in adapter.iterdir() if path.name != MANIFEST]
    content = {"format": 1, "sha256": {name: digest_file(adapter / name) for name in names}}
    (adapter / MANIFEST).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("device", "said"), [("gpu", "unknown device 'gpu'"), ("cpu:x", "device 'cpu:x'"), ("cuda:99", "device 'cuda:99'")]
)
def test_a_device_that_is_not_here_is_one_line(folder: Path, device: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        crossflare.open_adapter(folder / "lora", device=device)
    assert "\n" not in str(caught.value)


def test_the_device_is_the_callers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFLARE_DEVICE", "nothing")
    with pytest.raises(UserError, match="CROSSFLARE_DEVICE"):
        crossflare.open_adapter(folder / "lora")
    opened = crossflare.open_adapter(folder / "lora", device="cpu")
    assert next(opened.model.parameters()).device.type == "cpu"
