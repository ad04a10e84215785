"""Laws of neural translation: it hangs on the text, the languages and the model, and on nothing else."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import translation_models
from crossflare.errors import UserError
from crossflare.translation.engines.hf import Transformers
from crossflare.translation.engines.protocol import engine_id
from crossflare.translation.engines.registry import make_engine

TEXTS = [
    "nyumba kubwa",
    "samaki wa bahari mbwa anakula nyumba",
    "mbwa",
    "a big dog eats the red house",
    " ",
    "samaki bahari " * 6,
]


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Any:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def made(root: Path, family: str) -> Path:
    """Return the folder of a model, made by whoever asks first: pytest may ask for a fixture twice, in any order."""
    folder = root / family
    return folder if folder.exists() else getattr(translation_models, family)(folder)


@pytest.fixture(scope="module", params=["m2m", "nllb", "marian", "mbart", "madlad"])
def engine(request: pytest.FixtureRequest, root: Path) -> Transformers:
    return Transformers(str(made(root, request.param)), beams=2, device="cpu", length_ratio=0.2)


def translate(engine: Transformers, texts: list[str]) -> list[str]:
    return engine.translate(texts, source="sw", target="en")


def test_order_and_batches_do_not_matter(engine: Transformers) -> None:
    together = translate(engine, TEXTS)
    assert together[4] == " "
    assert len(set(together)) > 2
    assert [translate(engine, [text])[0] for text in TEXTS] == together
    before, engine._tokens_per_batch = engine._tokens_per_batch, 20
    assert translate(engine, TEXTS[::-1]) == together[::-1]
    engine._tokens_per_batch = before


def test_the_same_as_the_library_by_hand(engine: Transformers) -> None:
    tokenizer, model, text = engine._tokenizer, engine._model, TEXTS[1]
    codes = {
        "m2m": ("sw", "__en__"),
        "nllb": ("swh_Latn", "eng_Latn"),
        "mbart": ("sw_KE", "en_XX"),
    }.get(engine._family.kind)
    forced = None
    if codes is not None:
        tokenizer.src_lang = codes[0]
        forced = tokenizer.convert_tokens_to_ids(codes[1])
    before = "<2en> " if engine._family.kind == "madlad" else ""
    inputs = tokenizer(before + text, return_tensors="pt")
    new = engine._limit(inputs["input_ids"].shape[1])
    output = model.generate(**inputs, forced_bos_token_id=forced, num_beams=2, max_new_tokens=new, max_length=None)
    if forced is not None:
        assert output[0, 1] == forced
        output = output[:, 2:]
    assert translate(engine, [text]) == [tokenizer.decode(output[0], skip_special_tokens=True).strip()]


def test_states_are_those_of_the_text_alone(engine: Transformers) -> None:
    texts = [text for text in TEXTS if text.strip()]
    states = engine.encode(texts, "sw")
    assert {state.shape[1] for state in states} == {engine.encoder_size} == {16}
    for text, state in zip(texts, states, strict=True):
        row = engine._rows([text], engine._family.source_code("sw"))[0]
        alone = engine._model.get_encoder()(input_ids=torch.tensor([row])).last_hidden_state[0]
        torch.testing.assert_close(state, alone)
        assert not state.requires_grad
        assert not state.is_inference()
    assert engine.encode([], "sw") == []


def test_the_source_code_is_read(root: Path) -> None:
    engine = Transformers(str(made(root, "nllb")), device="cpu")
    swahili, indonesian = engine.encode(["mbwa"], "sw")[0], engine.encode(["mbwa"], "id")[0]
    assert swahili.shape == indonesian.shape
    assert not torch.allclose(swahili, indonesian)
    rows = engine._rows(["mbwa"], "swh_Latn")[0]
    assert rows[0] == engine._tokenizer.convert_tokens_to_ids("swh_Latn")


def test_missing_languages_are_named(engine: Transformers) -> None:
    if type(engine._tokenizer).__name__ == "MarianTokenizer":
        with pytest.raises(UserError, match=r"has Swahili \(sw\) as its source, not Toba Batak \(bbc\)"):
            engine.translate(["a"], source="bbc", target="en")
        with pytest.raises(UserError, match=r"has English \(en\) as its target, not Spanish \(es\)"):
            engine.translate(["a"], source="sw", target="es")
    else:
        with pytest.raises(UserError, match=r"does not have Toba Batak \(bbc\): .* mt_language: {bbc: <language>}"):
            engine.translate(["a"], source="bbc", target="en")
        with pytest.raises(UserError, match=r"does not have Ngaju"):
            engine.encode(["a"], "nij")
        with pytest.raises(UserError, match=r"en-US and en are both en(g_Latn|_XX)? to .*: nothing to translate"):
            engine.translate(["a"], source="en-US", target="en")


def test_a_named_stand_in_is_used_and_in_the_identity(engine: Transformers) -> None:
    model = str(engine._model_name)
    other = Transformers(model, beams=2, device="cpu", length_ratio=0.2, mt_language={"Toba Batak": "swh_Latn"})
    assert other.identity["mt_language"] == {"bbc": "sw"}
    assert engine_id(other.identity) != engine_id(engine.identity)
    assert other.translate(TEXTS[:2], source="bbc", target="en") == translate(engine, TEXTS[:2])


def test_identity_follows_the_content(engine: Transformers, tmp_path: Path) -> None:
    model = Path(engine._model_name)
    copy = tmp_path / model.name
    shutil.copytree(model, copy)
    (copy / "README.md").write_text("---\nlanguage:\n- sw\nlicense: cc-by-nc-4.0\n---\n# A model\nlicense: other\n")
    again = Transformers(str(copy), beams=2, device="cpu", length_ratio=0.2)
    assert again.identity["licence"] == "CC-BY-NC-4.0"
    assert again.identity | {"licence": ""} == engine.identity | {"licence": ""}
    config = copy / "generation_config.json"
    config.write_text(config.read_text() + "\n")
    assert Transformers(str(copy), device="cpu").identity["revision"] != engine.identity["revision"]


def test_a_text_too_long_is_refused(engine: Transformers) -> None:
    most = 1024 if engine._family.kind == "madlad" else 128
    with pytest.raises(
        UserError, match=rf"a text of \d+ tokens is longer than the {most} that .* reads; split it: 'mbwa mbwa"
    ):
        translate(engine, ["ok", "mbwa " * most])


def test_tokens_are_counted_as_the_model_reads_them(engine: Transformers) -> None:
    """A text of `max_tokens` goes through, whatever code comes before it."""
    assert engine.count_tokens([]) == []
    texts = ["mbwa", "samaki wa bahari", "\ud800", "a\0b"]
    rows = engine._rows(texts, engine._family.source_code("sw"))
    assert engine.count_tokens(texts) == [len(row) for row in rows]
    long = "mbwa"
    while engine.count_tokens([f"{long} mbwa"])[0] <= engine.max_tokens:
        long += " mbwa"
    assert engine._rows([engine._family.direction("sw", "en").prefix + long], engine._family.source_code("sw"))


def test_long_texts_are_counted_without_a_word(
    engine: Transformers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Counting comes before splitting: a text that will be split is no reason for the tokenizer to warn."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    monkeypatch.setattr(engine._tokenizer, "model_max_length", 16)
    monkeypatch.setattr(engine._tokenizer, "deprecation_warnings", {})
    assert engine.count_tokens(["mbwa " * 40])[0] > 16
    assert len(engine.encode(["mbwa " * 25], "sw")[0]) > 16
    assert caplog.messages == []


ODD = [
    "\0",
    "a\0b\x01\x1b[2J",
    "שלום עולם",
    "e\u0301\u0323",
    "👩‍👩‍👧 \u202emirror",
    "\ud800",
    "a\r\nb",
    "\u200b",
    "x" * 90,
]


def test_odd_texts_do_not_stop_it(engine: Transformers) -> None:
    assert len(translate(engine, [*ODD, "", " \t\n", "\u2003"])) == len(ODD) + 3
    assert translate(engine, ["", " \t\r\n", "\u2003"]) == ["", " \t\r\n", "\u2003"]


def test_a_line_of_100_kilobytes_is_named_in_seconds(engine: Transformers) -> None:
    with pytest.raises(UserError, match="split it: 'nyumba kubwa"):
        translate(engine, ["nyumba kubwa " * 8000])


def test_a_copy_for_another_process_loads_its_own_model(engine: Transformers) -> None:
    from multiprocessing.reduction import ForkingPickler

    assert len(bytes(ForkingPickler.dumps(engine))) < 4000
    copied = ForkingPickler.loads(ForkingPickler.dumps(engine))
    assert copied.identity == engine.identity
    assert translate(copied, TEXTS) == translate(engine, TEXTS)


def test_a_licence_that_forbids_commercial_use_is_shown_once(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossflare.translation.engines import model_files

    monkeypatch.setattr(model_files, "_said", set())
    folder = made(root, "nllb")
    for _ in range(2):
        engine = Transformers(str(folder), device="cpu", licence="CC-BY-NC-4.0", length_ratio=0.2)
        engine.encode(["mbwa"], "sw")
        translate(engine, ["mbwa"])
    message = "nllb: its licence CC-BY-NC-4.0 forbids commercial use of the model and of what it translates"
    assert [record.getMessage() for record in caplog.records].count(message) == 1
    translate(Transformers(str(folder), device="cpu", licence="MIT", length_ratio=0.2), ["mbwa"])
    assert len(caplog.records) == 1


def test_a_tag_of_several_languages_says_which_one_is_meant(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossflare.translation.engines import model_files

    monkeypatch.setattr(model_files, "_said", set())
    folder = made(root, "nllb")
    engine = Transformers(str(folder), device="cpu", length_ratio=0.2)
    engine.encode(["mbwa"], "ar")
    engine.encode(["mbwa"], "arb")
    said = [record.getMessage() for record in caplog.records if "licence" not in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("'ar' is read as Modern Standard Arabic (arb); for another language write its own tag")


def test_a_language_that_was_taught_to_the_model(tmp_path: Path) -> None:
    """NLLB models that were trained on have tokens in FLORES' way for languages that NLLB lacks."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = translation_models.nllb(tmp_path / "more")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, "bbc_Latn"]})
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    engine = Transformers(str(folder), device="cpu", length_ratio=0.2)
    assert engine._rows(["mbwa"], engine._family.source_code("bbc"))[0][0] == tokenizer.convert_tokens_to_ids(
        "bbc_Latn"
    )


def test_licences_by_name(tmp_path: Path) -> None:
    from crossflare.translation.engines.model_files import read_licence

    names = ("nllb-200-distilled-600M", "m2m100_418M", "opus-mt-en-es", "mine")
    found = [read_licence(str(tmp_path / name), None) for name in names]
    assert found == ["CC-BY-NC-4.0", "MIT", "CC-BY-4.0", "unknown; see the model's page"]


def test_madlad_reads_the_target_before_the_text(root: Path) -> None:
    engine = Transformers(str(translation_models.madlad(root / "madlad2")), device="cpu")
    direction = engine._family.direction("sw", "id")
    assert (direction.source_code, direction.forced_token, direction.prefix) == (None, None, "<2id> ")
    row = engine._rows(["<2id> mbwa"], None)[0]
    assert engine._tokenizer.convert_tokens_to_ids("<2id>") in row
    with pytest.raises(UserError, match=r"does not have French \(fr\)"):
        engine.translate(["a"], source="sw", target="fr")


def test_marian_with_several_target_languages(root: Path) -> None:
    folder = translation_models.marian(root / "many", "sw", "ROMANCE", (">>spa<<", ">>fra<<"))
    engine = Transformers(str(folder), device="cpu")
    assert engine._family.direction("sw", "es").prefix == ">>spa<< "
    with pytest.raises(UserError, match=r"does not have Italian \(it\): it has >>fra<<, >>spa<<"):
        engine.translate(["a"], source="sw", target="it")
    row = engine._rows([">>spa<< mbwa"], None)[0]
    assert row[0] == engine._tokenizer.convert_tokens_to_ids(">>spa<<") != engine._tokenizer.unk_token_id
    assert len(engine.translate(["mbwa"], source="sw", target="fr")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "no/such-model"},
            "no/such-model: expected a hub name or a folder of an M2M-100, NLLB, mBART-50, MADLAD or",
        ),
        ({"model": "x", "beams": 0}, "option 'beams' of the engine transformers: expected more than 0, found 0"),
        ({"model": "x", "dtype": "int8"}, "expected float32, float16 or bfloat16, found int8"),
        ({"model": "x", "mt_language": {"bbc": "indonesean"}}, "did you mean 'Indonesian'"),
        ({"model": "x", "mt_language": "id"}, "option 'mt_language' of the engine transformers: expected"),
        ({"model": "x", "beam": 1}, "unknown option 'beam' of the engine transformers: did you mean 'beams'"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_engine({"engine": "transformers", **options})


def test_only_safetensors_are_read(root: Path, tmp_path: Path) -> None:
    folder = translation_models.marian(tmp_path / "pickled")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"with safetensors weights .`crossflare fetch` makes them of others.; the reason"
    ):
        translate(Transformers(str(folder), device="cpu"), ["mbwa"])


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    words = Tokenizer(WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match="expected an M2M-100, NLLB, mBART-50, MADLAD or Marian model, found one with a"
    ):
        translate(Transformers(str(tmp_path), device="cpu"), ["a"])


def test_a_search_that_takes_too_long_is_ended(engine: Transformers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.translation.engines.protocol.PATIENCE", -1.0)
    with pytest.raises(UserError, match="took more than -1 seconds for one batch"):
        translate(engine, ["samaki wa bahari mbwa"])
    monkeypatch.undo()
    assert translate(engine, ["mbwa"]) == translate(engine, ["mbwa"])
