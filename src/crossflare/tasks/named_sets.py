"""Named sets, as their releases lay them out: one row for each set, and what a user must know about its rows.

Texts are kept byte for byte, including the blanks around 3 % of those of NusaX and cells that are broken in the release
(`#ERROR!`, cut-off texts). Stripping would change what an MT system and a content hash see, while most subword
tokenizers ignore it, and numbers are comparable with published ones only on the released text. Questions are in
SQuAD's layout.
"""

from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.tasks.layout import FileLayout, FilePart
from crossflare.tasks.released import OnHub, Release

_SENTIMENTS = ("negative", "neutral", "positive")
_ENTAILMENT = ("entailment", "neutral", "contradiction")
_NUMBERED = dict(zip("012", _ENTAILMENT, strict=True))
_PAIR = FileLayout(texts=("premise", "hypothesis"))
_PARQUET = {
    part: f"{{language}}/{split}-*.parquet"
    for part, split in {"train": "train", "dev": "validation", "test": "test"}.items()
}


def _same(names: str) -> dict[str, str]:
    """Return the languages that a set names by their tags."""
    return {name: name for name in names.split()}


NUSAX = Release(
    TextTask("nusax", 1, _SENTIMENTS, main_metric="macro_f1"),
    {"train": "{language}/train.csv", "dev": "{language}/valid.csv", "test": "{language}/test.csv"},
    FileLayout(id="id"),
    languages={
        "ace": "acehnese",
        "ban": "balinese",
        "bbc": "toba_batak",
        "bjn": "banjarese",
        "bug": "buginese",
        "en": "english",
        "id": "indonesian",
        "jv": "javanese",
        "mad": "madurese",
        "min": "minangkabau",
        "nij": "ngaju",
        "su": "sundanese",
    },
    hub=OnHub(
        "indonlp/NusaX-senti",
        # The repository itself holds a loading script; the hub keeps this conversion next to it.
        "refs/convert/parquet",
        {
            "train": "{language}/train/*.parquet",
            "dev": "{language}/validation/*.parquet",
            "test": "{language}/test/*.parquet",
        },
        languages=_same("ace ban bbc bjn bug mad min nij") | {"en": "eng", "id": "ind", "jv": "jav", "su": "sun"},
    ),
)
"""The same 1000 texts in languages of Indonesia, translated by people. Ngaju ids 100 to 121 and nine of the first 20
are known to be misaligned by 100 in the release; labels follow the id, so nothing is moved here."""

XNLI_HEADER = ("premise", "hypo", "label")
XNLI = Release(
    TextTask("xnli", 1, _ENTAILMENT, aliases={"contradictory": "contradiction"}, text_count=2),
    {
        "train": ("{language}/train.tsv", "{language}/train_mt.tsv"),
        "dev": FilePart(path="{language}/dev.tsv", header=XNLI_HEADER),
        "test": FilePart(path="{language}/test.tsv", header=XNLI_HEADER),
    },
    FileLayout(texts=("premise", "hypo"), quotes=False),
    "row",
    _same("ar bg de el en es fr hi ru sw th tr ur vi zh"),
    machine=FilePart(path="{language}/{part}_mt_{source}.tsv", header=XNLI_HEADER),
    hub=OnHub("facebook/xnli", "b8dd5d7af51114dbda02c0e3f6133f332186418e", _PARQUET, _PAIR),
)
"""Dev and test are human translations, row by row. `train.tsv` is the labelled source, `train_mt.tsv` that file
machine-translated row by row, `test_mt_en.tsv` the test rows in English by a machine. So `parallel` gives the human
English text everywhere: as the source of a machine-translated training row it is what translate-train has; as the
source of a dev or test row it is an oracle. `machine_source` is what a real application has."""

SIB200 = Release(
    TextTask(
        "sib200", 1, ("science/technology", "travel", "politics", "sports", "health", "entertainment", "geography")
    ),
    {part: f"{{language}}/{part}.tsv" for part in ("train", "dev", "test")},
    FileLayout(id="index_id", label="category"),
    hub=OnHub(
        "Davlan/sib200",
        "38977a667f6fc264d5c26ec57a01e16db040b358",
        {part: f"data/{{language}}/{part}.tsv" for part in ("train", "dev", "test")},
    ),
)
"""Topics of the sentences of FLORES-200, parallel by id; quoted as CSV is."""

AFRISENTI = Release(
    TextTask("afrisenti", 1, _SENTIMENTS, main_metric="macro_f1"),
    {part: (f"{{language}}_{part}.tsv", f"{part}/{{language}}_{part}.tsv") for part in ("train", "dev", "test")},
    FileLayout(id="ID", texts=("tweet",), quotes=False),
    "none",
    _same("am ha ig pcm sw ts yo")
    | {"arq": "dz", "rw": "kr", "ary": "ma", "om": "or", "pt-MZ": "pt", "ti": "tg", "tw": "twi"},
)
"""Tweets labelled in their own languages: there is no English, and nothing is parallel. The hub has only a program."""

MASAKHANEWS = Release(
    TextTask(
        "masakhanews",
        1,
        ("business", "entertainment", "health", "politics", "religion", "sports", "technology"),
        text_count=2,
        main_metric="macro_f1",
    ),
    {part: f"{{language}}/{part}.tsv" for part in ("train", "dev", "test")},
    FileLayout(texts=("headline", "text"), label="category"),
    "none",
    {"am": "amh", "en": "eng", "fr": "fra", "ha": "hau", "ig": "ibo", "ln": "lin", "lg": "lug", "om": "orm"}
    | {"pcm": "pcm", "rn": "run", "sn": "sna", "so": "som", "sw": "swa", "ti": "tir", "xh": "xho", "yo": "yor"},
    hub=OnHub(
        "masakhane/masakhanews",
        "fa3b5fff8a91d187bf0c5900a39c4271d08cf7fe",
        {part: f"data/{{language}}/{part}.tsv" for part in ("train", "dev", "test")},
    ),
)
"""News, each language with its own; headline and text are the two texts of a row, as its authors join them."""

AFRIXNLI = Release(
    TextTask("afrixnli", 1, _ENTAILMENT, aliases=_NUMBERED, text_count=2),
    {part: f"{{language}}/{part}.tsv" for part in ("train", "dev", "test")},
    _PAIR,
    "row",
    {"am": "amh", "ee": "ewe", "en": "eng", "fr": "fra", "ha": "hau", "ig": "ibo", "rw": "kin", "ln": "lin"}
    | {"lg": "lug", "om": "orm", "sn": "sna", "st": "sot", "sw": "swa", "tw": "twi", "wo": "wol", "xh": "xho"}
    | {"yo": "yor", "zu": "zul"},
    hub=OnHub(
        "masakhane/afrixnli",
        "e3ca06b30f3e7af2a86f6c8609ea76fee326bc56",
        {part: f"data/{{language}}/{part}.tsv" for part in ("dev", "test")},
    ),
)
"""A part of XNLI translated by people, row by row. It has no train part; one that is put next to the others is read."""

AMERICASNLI = Release(
    TextTask("americasnli", 1, _ENTAILMENT, text_count=2),
    {part: f"{part}/{{language}}.tsv" for part in ("train", "dev", "test")},
    _PAIR,
    "none",
    _same("bzd cni gn hch nah oto shp tar") | {"ay": "aym", "qu": "quy"},
    hub=OnHub(
        "nala-cub/americas_nli",
        "56acd4de2e9ddefb31cd6fd8ed2eae9188edd7df",
        {part: pattern for part, pattern in _PARQUET.items() if part != "train"},
    ),
)
"""XNLI translated by people from Spanish; not all rows exist in all languages, and they have no ids. There is no train
part: one that is put next to the others, as `train/es.tsv`, is read."""

PAWSX = Release(
    TextTask("paws-x", 1, ("different", "paraphrase"), aliases={"0": "different", "1": "paraphrase"}, text_count=2),
    {
        "train": ("{language}/train.tsv", "{language}/translated_train.tsv"),
        "dev": "{language}/dev_2k.tsv",
        "test": "{language}/test_2k.tsv",
    },
    FileLayout(id="id", texts=("sentence1", "sentence2"), quotes=False),
    "none",
    _same("de en es fr ja ko zh"),
    hub=OnHub("google-research-datasets/paws-x", "4cd8187c404bda33cb1f62b49b001115862acf37", _PARQUET),
)
"""Pairs of sentences with nearly the same words. The languages have the same ids, but not the same labels in all dev
and test rows, so that no row counts as the translation of another. A few cells are `NS`: they were not translated."""


_XQUAD_LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
XQUAD = Release(
    QuestionTask("xquad", 1, "mlqa"),
    {"test": "xquad.{language}.json"},
    languages={language: language for language in _XQUAD_LANGUAGES},
    hub=OnHub(
        "google/xquad",
        "51adfef1c1287aab1d2d91b5bead9bcfb9c68583",
        {"test": "xquad.{language}/validation-*.parquet"},
    ),
)
"""1190 questions of SQuAD v1.1 translated by people, parallel by id. There is only a test part: train on SQuAD or on
another set. Answers are compared by MLQA's rules for each language."""

_TYDIQA_NAMES = {
    "ar": "arabic",
    "bn": "bengali",
    "en": "english",
    "fi": "finnish",
    "id": "indonesian",
    "ko": "korean",
    "ru": "russian",
    "sw": "swahili",
    "te": "telugu",
}
TYDIQA = Release(
    QuestionTask("tydiqa", 1, "squad"),
    {"train": "{language}/train.json", "test": "{language}/dev.json"},
    align="none",
    languages={language: language for language in _TYDIQA_NAMES},
    hub=OnHub(
        "google-research-datasets/tydiqa",
        "da78f23f9119363459acbaf46bf89426ff26c259",
        {"train": "secondary_task/train-*.parquet", "test": "secondary_task/validation-*.parquet"},
        languages={language: f"{name}-*" for language, name in _TYDIQA_NAMES.items()},
        column="id",
    ),
)
"""The gold passage task: questions on one paragraph of Wikipedia, which are not translations of each other. Papers
score the official dev part, so it is `test` here, whole; rows for choosing models are cut from `train` (`with_dev`).
Some Swahili test questions have a context that is also in train (94 of 499 in the release, two of them under the same
id). Answers are compared as the official gold passage evaluation does it, by SQuAD v1.1's script in every language."""
