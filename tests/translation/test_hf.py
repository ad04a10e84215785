"""Laws of neural translation: it hangs on the text, the languages and the model, and on nothing else."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from crossflare.errors import UserError
from crossflare.translation.engines import build
from crossflare.translation.hf import Transformers
from crossflare.translation.translator import engine_id

TEXTS = [
    "nyumba kubwa",
    "samaki wa bahari mbwa anakula nyumba",
    "mbwa",
    "a big dog eats the red house",
    " ",
    "samaki bahari " * 6,
]


def _tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("tiny.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = _tiny()


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Any:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=["m2m", "nllb", "marian"])
def engine(request: pytest.FixtureRequest, root: Path) -> Transformers:
    folder = getattr(tiny, request.param)(root / request.param)
    return Transformers(str(folder), beams=2, device="cpu", length_ratio=0.2)


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
    codes = {"M2M100Tokenizer": ("sw", "__en__"), "NllbTokenizer": ("swh_Latn", "eng_Latn")}.get(
        type(tokenizer).__name__
    )
    forced = None
    if codes is not None:
        tokenizer.src_lang = codes[0]
        forced = tokenizer.convert_tokens_to_ids(codes[1])
    inputs = tokenizer(text, return_tensors="pt")
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
    engine = Transformers(
        str(root / "nllb") if (root / "nllb").exists() else str(tiny.nllb(root / "nllb")), device="cpu"
    )
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
        with pytest.raises(UserError, match=r"en-US and en are both eng?(_Latn)? to .*: nothing to translate"):
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
    with pytest.raises(
        UserError, match=r"a text of \d+ tokens is longer than the 128 that .* reads; split it: 'mbwa mbwa"
    ):
        translate(engine, ["ok", "mbwa " * 200])


def test_licences_by_name(tmp_path: Path) -> None:
    from crossflare.translation.checkpoint import read_licence

    names = ("nllb-200-distilled-600M", "m2m100_418M", "opus-mt-en-es", "mine")
    found = [read_licence(str(tmp_path / name), None) for name in names]
    assert found == ["CC-BY-NC-4.0", "MIT", "CC-BY-4.0", "unknown; see the model's page"]


def test_marian_with_several_target_languages(root: Path) -> None:
    folder = tiny.marian(root / "many", "sw", "ROMANCE", (">>spa<<", ">>fra<<"))
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
        ({"model": "no/such-model"}, "no/such-model: expected a hub name or a folder of an M2M-100, NLLB, mBART-50, MADLAD or"),
        ({"model": "x", "beams": 0}, "option 'beams' of the engine transformers: expected more than 0, found 0"),
        ({"model": "x", "dtype": "int8"}, "expected float32, float16 or bfloat16, found int8"),
        ({"model": "x", "mt_language": {"bbc": "indonesean"}}, "did you mean 'Indonesian'"),
        ({"model": "x", "mt_language": "id"}, "option 'mt_language' of the engine transformers: expected"),
        ({"model": "x", "beam": 1}, "unknown option 'beam' of the engine transformers: did you mean 'beams'"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build({"engine": "transformers", **options})


def test_only_safetensors_are_read(root: Path, tmp_path: Path) -> None:
    folder = tiny.marian(tmp_path / "pickled")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="with safetensors weights; transformers says"):
        translate(Transformers(str(folder), device="cpu"), ["mbwa"])


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    words = Tokenizer(WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="expected an M2M-100, NLLB, mBART-50, MADLAD or Marian model, found one with a"):
        translate(Transformers(str(tmp_path), device="cpu"), ["a"])
