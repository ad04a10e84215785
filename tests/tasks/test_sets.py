import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.tasks.cutting import dev_ids, with_dev
from crossflare.tasks.dataset import DataSet, LanguageParts
from crossflare.tasks.example import Example, Split
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.layout import FileLayout, FilePart
from crossflare.tasks.own import own_set
from crossflare.tasks.sets import KNOWN_SETS, load_set


def put(path: Path, rows: list[tuple[str, ...]], delimiter: str = "\t") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if delimiter == "\t":
        path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


@pytest.fixture
def nusax(tmp_path: Path) -> DataSet:
    header = ("id", "text", "label")
    for folder, word in (("english", "good"), ("javanese", "apik")):
        for file, start in (("train", 10), ("valid", 20), ("test", 30)):
            rows = [(str(start + n), f" {word} {n}\n", ("negative", "positive")[n % 2]) for n in (2, 1, 0)]
            put(tmp_path / "nusax" / folder / f"{file}.csv", [header, *rows], ",")
    return load_set("nusax", tmp_path / "nusax")


@pytest.fixture
def xnli(tmp_path: Path) -> DataSet:
    folder = tmp_path / "xnli"
    labels = ("entailment", "neutral", "contradiction")
    for language in ("en", "sw"):
        rows = [(f"{language} p{n // 3}", f'{language} "h{n}', labels[n % 3]) for n in range(12)]
        put(folder / language / "dev.tsv", rows)
        put(folder / language / "test.tsv", rows[:6])
        old = [(p, h, label.replace("diction", "dictory")) for p, h, label in rows]
        put(
            folder / language / ("train.tsv" if language == "en" else "train_mt.tsv"),
            [("premise", "hypo", "label"), *old],
        )
    put(folder / "sw" / "test_mt_en.tsv", [(f"mt p{n // 3}", f"mt h{n}", labels[n % 3]) for n in range(6)])
    return load_set("xnli", folder)


def test_nusax_is_parallel_by_id_and_keeps_blanks(nusax: DataSet) -> None:
    assert nusax.languages == ("en", "jv")
    assert nusax.parts("jv") == ("train", "dev", "test")
    split = nusax.parallel("jv", "dev", "en")
    assert [(item.id, item.label, item.texts, item.source) for item in split] == [
        ("22", 0, (" apik 2\n",), (" good 2\n",)),
        ("21", 2, (" apik 1\n",), (" good 1\n",)),
        ("20", 0, (" apik 0\n",), (" good 0\n",)),
    ]
    assert nusax.split("jv", "dev").examples[0].source is None
    assert nusax.machine_source("jv", "test") is None
    assert nusax.task.main_metric == "macro_f1"


def test_xnli_keeps_the_human_text_and_the_machine_translation_apart(xnli: DataSet) -> None:
    assert xnli.parallel("sw", "test", "en").examples[1].source == ("en p0", 'en "h1')
    shipped = xnli.machine_source("sw", "test")
    assert shipped is not None
    assert shipped[1] == ("mt p0", "mt h1")
    assert xnli.machine_source("sw", "dev") is None
    assert xnli.machine_source("en", "test") is None


def test_xnli_train_of_a_target_is_translated_text_beside_its_source(xnli: DataSet) -> None:
    train = xnli.parallel("sw", "train", "en")
    assert train.examples[2] == Example("2", ("sw p0", 'sw "h2'), 2, ("en p0", 'en "h2'), train.examples[2].origin)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda data: data.split("xx", "test"), "unknown language of nusax 'xx'"),
        (lambda data: data.split("jv", "valid"), "unknown part 'valid': known: dev, test, train"),
        (lambda data: data.parallel("jv", "test", "id"), "unknown language of nusax 'id'"),
    ],
)
def test_unknown_names_are_refused(nusax: DataSet, call: Callable[[DataSet], object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        call(nusax)
    assert str(caught.value).startswith(says)


def test_a_missing_set_part_or_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path / "x" / "en" / "dev.tsv", [("a", "b", "neutral")])
    with pytest.raises(UserError, match="xnli has no test part in 'en'; it has: dev"):
        load_set("xnli", tmp_path / "x").split("en", "test")
    with pytest.raises(UserError, match="unknown data set 'nusa': did you mean 'nusax'"):
        load_set("nusa", tmp_path)
    for name in ("nusax", "xnli"):
        with pytest.raises(UserError, match="found none"):
            load_set(name, tmp_path)
        with pytest.raises(UserError, match="found none"):
            load_set(name, tmp_path / "nowhere")


def test_every_known_set_states_citation_and_licence() -> None:
    for name, known in KNOWN_SETS.items():
        assert known.name == name
        assert all((known.title, known.citation, known.licence))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, dict[str, Path]]:
    put(tmp_path / "en.tsv", [("key", "text", "label"), ("a", "one", "no"), ("b", "two", "yes")])
    put(tmp_path / "sw.tsv", [("key", "text", "label"), ("b", "mbili", "yes"), ("a", "moja", "NO")])
    return {"en": {"train": Path("en.tsv")}, "sw": {"train": Path("sw.tsv"), "test": Path("sw.tsv")}}


def test_own_files_are_parallel_by_shared_id(tmp_path: Path, files: dict[str, dict[str, Path]]) -> None:
    data = own_set("mine", files, ("no", "yes"), layout=FileLayout(id="key"), aliases={"NO": "no"}, base=tmp_path)
    assert [item.source for item in data.parallel("sw", "train", "en")] == [("two",), ("one",)]
    assert [item.source for item in data.parallel("sw", "test", "en")] == [None, None]
    assert data.parts("sw") == ("train", "test")
    assert isinstance(data, DataSet)


def test_own_files_without_ids_are_parallel_by_row_or_not_at_all(
    tmp_path: Path, files: dict[str, dict[str, Path]]
) -> None:
    with pytest.raises(UserError, match="same label"):
        own_set("mine", files, ("no", "yes"), aliases={"NO": "no"}, base=tmp_path).parallel("sw", "train", "en")
    put(tmp_path / "en.tsv", [("text", "label"), ("one", "no")])
    data = own_set("mine", files, ("no", "yes"), aliases={"NO": "no"}, base=tmp_path)
    with pytest.raises(UserError, match="2 rows against 1"):
        data.parallel("sw", "train", "en")
    apart = own_set("mine", files, ("no", "yes"), aliases={"NO": "no"}, align="none", base=tmp_path)
    assert [item.source for item in apart.parallel("sw", "train", "en")] == [None, None]


def test_a_source_column_comes_before_another_file(tmp_path: Path) -> None:
    put(tmp_path / "sw.tsv", [("text", "english", "label"), ("moja", "one", "no"), ("mbili", "two", "yes")])
    layout = FileLayout(source_texts=("english",))
    files = {"sw": {"test": "sw.tsv"}, "es": {"train": "sw.tsv"}}
    data = own_set("mine", files, ("no", "yes"), layout=layout, base=tmp_path)
    assert [item.source for item in data.parallel("sw", "test", "en")] == [("one",), ("two",)]
    # English beside the text is no source in Spanish.
    assert [item.source for item in data.parallel("sw", "test", "es")] == [None, None]


def test_own_files_are_checked_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.csv: the train file of 'sw' in mine is missing"):
        own_set("mine", {"sw": {"train": "gone.csv"}}, ("no", "yes"), base=tmp_path)
    with pytest.raises(UserError, match="unknown part of mine 'tests': did you mean 'test'"):
        own_set("mine", {"sw": {"tests": "gone.csv"}}, ("no", "yes"), base=tmp_path)
    with pytest.raises(UserError, match="expected files for at least one language"):
        own_set("mine", {}, ("no", "yes"))


premises = st.lists(st.integers(0, 8), min_size=4, max_size=30)


def split_of(language: str, firsts: list[int], order: list[int] | None = None) -> Split:
    rows = [Example(str(n), (f"premise {first}", f"hypothesis {n}"), 0) for n, first in enumerate(firsts)]
    return Split("train", language, tuple(rows[n] for n in order or range(len(rows))))


def parts_of(family: Sequence[Split]) -> LanguageParts:
    rows = {split.language: split.examples for split in family}
    task = TextTask("pairs", 1, ("no", "yes"), text_count=2)
    return LanguageParts("pairs", task, dict.fromkeys(rows, ("train",)), lambda language, part: rows[language])


@given(first=premises, seed=st.integers(0, 5), random=st.randoms(use_true_random=False))
def test_no_premise_of_any_language_stands_on_both_sides(first: list[int], seed: int, random) -> None:
    other = [value if random.random() < 0.7 else random.randrange(9) for value in first]
    order = random.sample(range(len(first)), len(first))
    family = (split_of("en", first), split_of("sw", other, order))
    rows = max(1, len(first) // 3)
    try:
        cut = with_dev(parts_of(family), rows, seed)
    except UserError:
        # Every group of linked premises is larger than the rows asked for.
        return
    parts = [(cut.split(split.language, "train"), cut.split(split.language, "dev")) for split in family]
    for split, (train, dev) in zip(family, parts, strict=True):
        assert not {item.texts[0] for item in train} & {item.texts[0] for item in dev}
        assert 0 < len(dev) <= rows
        assert sorted(item.id for item in (*train, *dev)) == sorted(item.id for item in split)
    assert {item.id for item in parts[0][1]} == {item.id for item in parts[1][1]}
    assert dev_ids(family[::-1], rows, seed) == {item.id for item in parts[0][1]}


def test_the_cut_depends_on_the_seed_and_fills_exactly_when_it_can() -> None:
    split = split_of("en", [n // 3 for n in range(90)])
    chosen = {dev_ids([split], 30, seed) for seed in range(5)}
    assert len(chosen) == 5
    assert {len(ids) for ids in chosen} == {30}
    for rows in (0, 90):
        with pytest.raises(UserError, match=f"cannot cut {rows} dev rows from 90 train rows; ask for 1 to 89"):
            dev_ids([split], rows, 0)


def test_a_cut_set_moves_the_same_items_in_every_language(xnli: DataSet) -> None:
    cut = with_dev(xnli, 6, 0)
    assert isinstance(cut, DataSet)
    ids = [[item.id for item in cut.split(language, "dev")] for language in cut.languages]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 6
    train = cut.parallel("sw", "train", "en")
    assert sorted([item.id for item in train] + ids[0]) == sorted(item.id for item in xnli.split("sw", "train"))
    assert all(item.source and item.source[0][2:] == item.texts[0][2:] for item in train)
    assert cut.split("sw", "test") == xnli.split("sw", "test")
    assert cut.machine_source("sw", "test") == xnli.machine_source("sw", "test")
    assert cut.parts("sw") == ("train", "dev", "test")


def test_own_files_take_the_options_of_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "en-1.txt").write_text("no;one\n")
    (tmp_path / "en-2.txt").write_text("yes;two\n")
    put(
        tmp_path / "sw.tsv", [("text", "verdict", "fold"), ("moja", "no", "a"), ("x", "no", "b"), ("mbili", "yes", "a")]
    )
    swahili = FilePart(path="sw.tsv", texts=("text",), label="verdict", header=True, format="tsv", where={"fold": "a"})
    layout = FileLayout(format="csv", header=False, texts=(2,), label=1)
    files = {"en": {"train": "en-*.txt"}, "sw": {"train": replace(swahili, delimiter="tab")}}
    data = own_set("mine", files, ("no", "yes"), layout=replace(layout, delimiter=";"), base=tmp_path)
    assert [item.source for item in data.parallel("sw", "train", "en")] == [("one",), ("two",)]
    assert [item.source for item in data.parallel("en", "train", "sw")] == [("moja",), ("mbili",)]
    with pytest.raises(UserError, match="mine: delimiter of the train part of 'en': expected one sign"):
        own_set("mine", files, ("no", "yes"), layout=replace(layout, delimiter="--"), base=tmp_path)
    two = replace(layout, texts=(1, 2), delimiter=";")
    with pytest.raises(UserError, match="one or two text columns, as many in every part, got 1, 2"):
        own_set("mine", files, ("no", "yes"), layout=two, base=tmp_path)


def test_a_source_column_of_one_part_is_of_that_part_alone(tmp_path: Path) -> None:
    put(tmp_path / "en.tsv", [("text", "label"), ("one", "no")])
    put(tmp_path / "sw.tsv", [("text", "english", "label"), ("moja", "beside", "no")])
    beside = FilePart(path="sw.tsv", source_texts=("english",))
    files = {"en": {"train": "en.tsv", "test": "en.tsv"}, "sw": {"train": "sw.tsv", "test": beside}}
    data = own_set("mine", files, ("no", "yes"), base=tmp_path)
    assert [item.source for item in data.parallel("sw", "train", "en")] == [("one",)]
    assert [item.source for item in data.parallel("sw", "test", "en")] == [("beside",)]
