"""Pre-training: real architectures, one vocabulary without gaps, made once, taken up again after a kill."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from crossflare.cli import laboratory
from crossflare.disk.files import read_json
from crossflare.disk.storage import cache_folder
from crossflare.errors import UserError
from crossflare.recipe.grid import load_recipe
from crossflare.translation.engines.hf import Transformers
from crossflare_lab import pretrain
from crossflare_lab.architectures import build
from crossflare_lab.corpus import documents
from crossflare_lab.languages import SOURCE, tags
from crossflare_lab.models import SMALL, PretrainRecipe, find_model, recipe_of
from crossflare_lab.objectives import IGNORED, Collator, DocumentRows, loss
from crossflare_lab.sets import NAMES, load_lab_set
from crossflare_lab.tokenizer import FAMILIES, Family, train_tokenizer

CLASSES = {
    "encoder": AutoModelForMaskedLM,
    "decoder": AutoModelForCausalLM,
    "encoder-decoder": AutoModelForSeq2SeqLM,
    "translator": AutoModelForSeq2SeqLM,
}
TEXT = [d.text for d in documents(600, 0.75)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFLARE_CACHE", str(tmp_path))
    monkeypatch.setattr(pretrain, "_TOKENIZER_TEXT", 300)
    torch.set_num_threads(1)


def micro(family: Family, **more: Any) -> PretrainRecipe:
    return PretrainRecipe(
        family, **{"documents": 48, "width": 16, "layers": 1, "batch_size": 16, "vocabulary": 300} | more
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_has_an_unknown_word_and_all_come_back(family: Family) -> None:
    tokenizer = train_tokenizer(TEXT, 400, family)
    texts = [
        t
        for name in NAMES
        for tag in tags()
        for e in load_lab_set(name, train=0, dev=0, test=20).split(tag, "test")
        for t in e.texts
    ]
    for text in [*texts, "entailment, neutral (or) contradiction: food & music!"]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")
    assert tokenizer.padding_side == ("left" if family == "decoder" else "right")


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_ask_for_what_the_family_learns(family: Family) -> None:
    tokenizer = train_tokenizer(TEXT, 400, family)
    corpus = documents(40, 0.5)
    rows, again = (DocumentRows(corpus, tokenizer, family) for _ in range(2))
    assert list(rows) == list(again)
    for row, document in zip(rows, corpus, strict=True):
        whole = tokenizer(document.text)["input_ids"]
        if family == "encoder":
            seen = [label if label != IGNORED else token for token, label in zip(row.ids, row.labels, strict=True)]
            assert seen == whole
            assert any(label != IGNORED for label in row.labels)
        elif family == "decoder":
            assert [row.ids[0], *row.labels] == [*whole, tokenizer.eos_token_id]
        elif family == "encoder-decoder":
            assert _filled(row.ids, row.labels, tokenizer) == whole
        else:
            assert tokenizer.convert_ids_to_tokens(row.labels[:1]) == [f"{SOURCE}_Latn"]
    batch = Collator(tokenizer, family)([rows[index] for index in range(4)])
    assert batch["input_ids"].shape[1] % 8 == 0
    if "decoder_input_ids" in batch:
        kept = batch["labels"][:, 1:] != IGNORED
        assert torch.equal(batch["decoder_input_ids"][:, 1:][kept], batch["labels"][:, :-1][kept])


def _filled(ids: list[int], labels: list[int], tokenizer: Any) -> list[int]:
    """Put what stands behind each sentinel of `labels` in the place of the sentinel in `ids`."""
    sentinels = set(tokenizer.convert_tokens_to_ids([f"<extra_id_{n}>" for n in range(16)]))
    spans: dict[int, list[int]] = {}
    for token in labels[:-1]:
        if token in sentinels:
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    return [token for piece in ids for token in spans.get(piece, [piece])]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_made_once_and_loads_everywhere(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = micro(family)
    folder = pretrain.pretrain(recipe)
    assert folder == recipe.folder
    card = read_json(folder / pretrain.CARD)
    assert card["steps"] == 3
    assert sum(card["tokens"].values()) > 0
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors"}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == AutoModel.from_pretrained(folder).config.vocab_size
    model, loading = CLASSES[family].from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    rows = DocumentRows(documents(8, 0.5), tokenizer, family)
    assert torch.isfinite(loss(model, Collator(tokenizer, family)(list(rows))))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(pretrain, "fit", refuse)
    assert pretrain.pretrain(recipe) == folder
    with pytest.raises(AssertionError, match="trained again"):
        pretrain.pretrain(micro(family, seed=1))


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_the_loss_is_that_of_the_whole_models_logits(family: Family) -> None:
    tokenizer = train_tokenizer(TEXT, 400, family)
    rows = DocumentRows(documents(6, 0.5), tokenizer, family)
    batch = Collator(tokenizer, family)(list(rows))
    model = build(family, tokenizer, 16, 2, seed=0)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(loss(model, dict(batch)), whole)


def test_the_first_result_names_a_model_that_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(SMALL)
    assert recipe.name == SMALL != PretrainRecipe("encoder").name
    ran: list[str] = []
    monkeypatch.setattr(pretrain, "pretrain", lambda made: ran.append(made.name))
    monkeypatch.setattr(laboratory, "run", lambda path, **_: ran.append(load_recipe(path).cells[0].spec.model.name))
    laboratory.first()
    assert ran == [SMALL, SMALL]
    with pytest.raises(UserError, match=r"run: crossflare lab try$"):
        find_model(SMALL)


def test_a_killed_run_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (pretrain.pretrain(micro("encoder")) / "model.safetensors").read_bytes()
    monkeypatch.setenv("CROSSFLARE_CACHE", str(cache_folder() / "other"))
    calls = 0

    def stop(model: Any, batch: Any, step: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return loss(model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "loss", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain.pretrain(micro("encoder"))
    work = list(cache_folder().glob("lab/.*.run/step-*"))
    assert work
    folder = pretrain.pretrain(micro("encoder"))
    assert (folder / "model.safetensors").read_bytes() == whole
    assert not list(cache_folder().glob("lab/.*.run"))


def test_the_translator_is_an_engine() -> None:
    engine = Transformers(str(pretrain.pretrain(micro("translator"))), device="cpu", beams=1)
    (states,) = engine.encode(["Hello."], "qad")
    assert states.shape[1] == engine.encoder_size == 16
    assert len(engine.translate(["Hello."], source="qab", target="qaa")) == 1
    with pytest.raises(UserError, match="does not have Swahili"):
        engine.encode(["Hello."], "sw")


def test_find_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"run: crossflare lab pretrain --family encoder$"):
        find_model("lab-encoder")
    with pytest.raises(UserError, match=r"run: crossflare lab pretrain --family encoder-decoder --target-share 0\.20$"):
        find_model("lab-encoder-decoder@0.2")
    with pytest.raises(UserError, match="unknown family of the laboratory 'encodr': did you mean 'encoder'"):
        find_model("lab-encodr")
    with pytest.raises(UserError, match=r"model 'minilm': expected lab-small, or lab- with one of"):
        find_model("minilm")
    with pytest.raises(UserError, match="target_share: expected a share from 0 to 1, got 2"):
        find_model("lab-encoder@2")
    monkeypatch.setattr(PretrainRecipe, "identity", property(lambda self: {"family": self.family}))
    small = micro("decoder")
    made = pretrain.pretrain(small)
    assert find_model("lab-decoder") == made
    weights = small.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="is not the file that was saved"):
        find_model("lab-decoder")
