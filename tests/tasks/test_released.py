"""Each published set's own layout, on rows written here: what is read of them, in which languages, aligned how."""

from pathlib import Path

import pytest

from crossflare.errors import UserError
from crossflare.tasks.dataset import aligned_by
from crossflare.tasks.sets import KNOWN_SETS, load_set

NLI = "premise\thypothesis\tlabel\n"
FILES = {
    "sib200": {
        "eng_Latn/train.tsv": 'index_id\tcategory\ttext\n4\ttravel\t"A ""quoted"" text."\n7\tsports\tRun.\n',
        "ace_Arab/train.tsv": "index_id\tcategory\ttext\n4\ttravel\tسابوه\n7\tsports\tلۏم\n",
        "eng_Latn/labels.txt": "travel\n",
    },
    "afrisenti": {
        "pt_train.tsv": 'ID\ttweet\tlabel\npt_1\t"boa tarde @user\tpositive\n',
        "train/kr_train.tsv": "ID\ttweet\tlabel\nkr_1\tMwaramutse\tneutral\n",
        "ha_test.tsv": "ID\ttweet\tlabel\nha_1\tban so\tnegative\n",
    },
    "masakhanews": {
        "eng/dev.tsv": 'category\theadline\ttext\turl\nhealth\tHead\t"First line.\n""Second"" line."\thttp://x\n',
        "lin/train.tsv": "category\theadline\ttext\turl\npolitics\tMoto\tNsango\thttp://x\n",
    },
    "afrixnli": {
        "eng/dev.tsv": NLI + "A man walks.\tHe moves.\t0\nA man walks.\tHe sits.\t2\n",
        "swa/dev.tsv": NLI + "Mtu anatembea.\tAnasonga.\t0\nMtu anatembea.\tAmeketi.\t2\n",
        "eng/train.tsv": NLI + "A man walks.\tHe is old.\t1\n",
    },
    "americasnli": {
        "dev/quy.tsv": f"language\t{NLI}quy\tRunam purin.\tPuriykachan.\tentailment\n",
        "test/aym.tsv": f"language\t{NLI}aym\tJaqix sari.\tUtjasi.\tcontradiction\n",
        "train/es.tsv": f"language\t{NLI}es\tUn hombre camina.\tEs viejo.\tneutral\n",
        "dev.tsv": f"language\t{NLI}",
    },
    "paws-x": {
        "en/train.tsv": 'id\tsentence1\tsentence2\tlabel\n1\tA of "B".\tB of A.\t0\n2\tA and B.\tB and A.\t1\n',
        "de/translated_train.tsv": "id\tsentence1\tsentence2\tlabel\n1\tA von B.\tB von A.\t0\n",
        "de/dev_2k.tsv": "id\tsentence1\tsentence2\tlabel\n9\tNS\tNS\t1\n",
        "de/test_2k.tsv": "id\tsentence1\tsentence2\tlabel\n3\tA.\tA.\t1\n",
    },
}
READ = {
    ("sib200", "en", "train"): [("4", ('A "quoted" text.',), "travel"), ("7", ("Run.",), "sports")],
    ("sib200", "ace-Arab", "train"): [("4", ("سابوه",), "travel"), ("7", ("لۏم",), "sports")],
    ("afrisenti", "pt-MZ", "train"): [("pt_1", ('"boa tarde @user',), "positive")],
    ("afrisenti", "rw", "train"): [("kr_1", ("Mwaramutse",), "neutral")],
    ("afrisenti", "ha", "test"): [("ha_1", ("ban so",), "negative")],
    ("masakhanews", "en", "dev"): [("0", ("Head", 'First line.\n"Second" line.'), "health")],
    ("masakhanews", "ln", "train"): [("0", ("Moto", "Nsango"), "politics")],
    ("afrixnli", "sw", "dev"): [
        ("0", ("Mtu anatembea.", "Anasonga."), "entailment"),
        ("1", ("Mtu anatembea.", "Ameketi."), "contradiction"),
    ],
    ("afrixnli", "en", "dev"): [
        ("0", ("A man walks.", "He moves."), "entailment"),
        ("1", ("A man walks.", "He sits."), "contradiction"),
    ],
    ("afrixnli", "en", "train"): [("0", ("A man walks.", "He is old."), "neutral")],
    ("americasnli", "qu", "dev"): [("0", ("Runam purin.", "Puriykachan."), "entailment")],
    ("americasnli", "ay", "test"): [("0", ("Jaqix sari.", "Utjasi."), "contradiction")],
    ("americasnli", "es", "train"): [("0", ("Un hombre camina.", "Es viejo."), "neutral")],
    ("paws-x", "en", "train"): [
        ("1", ('A of "B".', "B of A."), "different"),
        ("2", ("A and B.", "B and A."), "paraphrase"),
    ],
    ("paws-x", "de", "train"): [("1", ("A von B.", "B von A."), "different")],
    ("paws-x", "de", "dev"): [("9", ("NS", "NS"), "paraphrase")],
    ("paws-x", "de", "test"): [("3", ("A.", "A."), "paraphrase")],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, files in FILES.items():
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text, encoding="utf-8", newline="")
    return tmp_path


def test_every_row_of_each_layout_is_read(data: Path) -> None:
    found = {}
    for name in FILES:
        opened = load_set(name, data / name)
        for language in opened.languages:
            for part in opened.parts(language):
                rows = [(row.id, row.texts, opened.task.labels[row.label or 0]) for row in opened.split(language, part)]
                found[name, language, part] = rows
    assert found == READ


def test_languages_correspond_as_their_set_says(data: Path) -> None:
    assert [row.source for row in load_set("sib200", data / "sib200").parallel("ace_Arab", "train", "eng_Latn")] == [
        ('A "quoted" text.',),
        ("Run.",),
    ]
    assert [row.source for row in load_set("afrixnli", data / "afrixnli").parallel("sw", "dev", "en")] == [
        ("A man walks.", "He moves."),
        ("A man walks.", "He sits."),
    ]
    for name in ("afrisenti", "masakhanews", "americasnli", "paws-x"):
        assert aligned_by(load_set(name, data / name)) == "none"


def test_rows_that_do_not_correspond_are_refused_without_advice_that_a_set_does_not_take(data: Path) -> None:
    path = data / "sib200" / "ace_Arab" / "train.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("7\tsports", "8\tsports"), encoding="utf-8")
    with pytest.raises(UserError, match="the id '8' and 0 more have no partner") as said:
        load_set("sib200", data / "sib200").parallel("ace_Arab", "train", "en")
    assert "align" not in str(said.value)


@pytest.mark.parametrize("name", [name for name, known in KNOWN_SETS.items() if known.release is not None])
def test_a_row_is_whole(name: str, tmp_path: Path) -> None:
    """Its metric, labels and languages agree, and a folder without its files says which are expected."""
    release = KNOWN_SETS[name].release
    assert release is not None
    assert release.task.name == name
    assert set(release.files) <= {"train", "dev", "test"}
    assert "test" in release.files
    assert release.names()
    if release.hub is not None:
        assert set(release.hub.files) <= set(release.files)
        assert set(load_set(name).languages) == set(release.hub.languages or release.names())
    with pytest.raises(UserError, match=f"expected files of {name} such as .*, found none; check the path"):
        load_set(name, tmp_path)
