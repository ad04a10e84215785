"""However a language is written, it is one language: one engine, one segmentation, one score, one experiment."""

from functools import cache
from pathlib import Path

import langcodes
import pytest

from crossflare.errors import UserError
from crossflare.evaluation.answers import ARTICLES, SIGNS, mlqa, normaliser
from crossflare.languages import Language, all_languages, find_language, tag_of
from crossflare.recipe.read import spec_from
from crossflare.recipe.spec import Spec
from crossflare.tasks.own import own_set
from crossflare.translation.engines.dictionary import Dictionary
from crossflare.translation.engines.lexicon import Lexicon
from crossflare.translation.engines.precomputed import Precomputed
from crossflare.translation.engines.protocol import check_pair
from crossflare.translation.sentences import ORDINAL_DOT, sentences
from crossflare.translation.store import Store
from crossflare.translation.translate import translate_all
from crossflare_lab.languages import word_forms
from crossflare_lab.translator import LabTranslator

LEXICON = Lexicon({"moja": "one", "mbili": "two"})
TEXT = "Der 3. Tag ال der la casa the của 北京市かな ตลาดใหม่ ລາວ ខ្មែរ မြန်မာ. Em 3. Ein Ende."
RECIPE = """
name: case
task:
  files:
    en: {{train: a.csv, dev: a.csv}}
    {0}: {{train: a.csv, dev: a.csv, test: a.csv}}
  texts: [text]
  label: label
  labels: [negative, positive]
source: {1}
targets: [{0}]
model: {{name: minilm}}
seeds: [0]
translation: {{to_source: {{engine: dictionary, lexicon: a.tsv}}}}
methods:
  zero-shot: {{languages: [{0}]}}
  flare: {{train_source: machine, languages: [{0}], trained_in: {0}}}
"""


@cache
def spellings(language: Language) -> list[str]:
    """Every way to write a language that cannot mean another one."""
    base = language.tag.partition("-")[0]
    forms = [language.tag, language.name, language.nllb, language.flores, f"{base}-{language.script}"]
    if language.tag == base and language.tag != "prs":  # CLDR makes Dari the Persian of Afghanistan
        forms += [langcodes.get(base).to_alpha3(), langcodes.get(base).to_alpha3(variant="B")]
    written = [form for form in forms if form and "None" not in form]
    return [*written, *(form.replace("-", "_") for form in written), *(form.upper() for form in written)]


def test_every_spelling_is_one_tag() -> None:
    for language in all_languages():
        assert {tag_of(form) for form in spellings(language)} == {language.tag}
        assert find_language(language.tag) == language


def test_every_spelling_gives_one_segmentation_and_one_score() -> None:
    for language in all_languages():
        forms = spellings(language)
        assert len({tuple(sentences(TEXT, form)) for form in forms}) == 1, language
        assert len({normaliser("mlqa", form)(TEXT) for form in forms}) == 1, language
        assert len({mlqa(TEXT, form) for form in forms}) == 1, language


def test_every_spelling_finds_one_engine() -> None:
    for language in all_languages():
        other = "en" if language.tag != "en" else "sw"
        forms = spellings(language)
        engines = [Dictionary({(form, other): LEXICON}) for form in forms]
        given = [Precomputed([("moja", "one")], form, other) for form in forms]
        identities = [{str(engine.identity) for engine in some} for some in (engines, given)]
        assert [len(some) for some in identities] == [1, 1], language
        for form in forms:
            assert engines[0].translate(["moja mbili"], source=form, target=other) == ["one two"]
            assert given[-1].translate(["moja"], source=form, target=other) == ["one"]
            with pytest.raises(UserError, match=f"both '{language.tag}'"):
                check_pair(language.tag, form)


def test_control_the_text_tells_languages_apart() -> None:
    tags = [language.tag for language in all_languages()]
    assert len({tuple(sentences(TEXT, tag)) for tag in tags}) == 2
    assert len({mlqa(TEXT, tag) for tag in tags}) == len({*ARTICLES, *SIGNS}) + 1
    assert {tag for tag in tags if sentences(TEXT, tag) == sentences(TEXT, "de")} >= ORDINAL_DOT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zh", "zh-Hant"),
        ("sr", "sr-Latn"),
        ("ace", "ace-Arab"),
        ("zho_Hans", "zho_Hant"),
        ("pt", "pt-BR"),
        ("fa", "prs"),
    ],
)
def test_scripts_regions_and_members_stay_apart(one: str, other: str) -> None:
    assert tag_of(one) != tag_of(other)
    check_pair(one, other)


@pytest.mark.parametrize("name", ["", "my own dialect", "xx", "qaa", "a+b"])
def test_names_of_no_known_language_stay(name: str) -> None:
    assert tag_of(name) == name


@pytest.mark.parametrize("form", ["tw-GH", "twi_Latn", "tw-Latn", "prs-AF", "zh-TW", "pt_BR", "swh-KE", "qaa-Latn"])
def test_the_tag_of_a_tag_is_itself(form: str) -> None:
    assert tag_of(tag_of(form)) == tag_of(form)
    assert tag_of(form).partition("-")[0] in ("tw", "prs", "zh", "pt", "sw", "qaa")


def test_the_store_keeps_one_folder_for_a_language(tmp_path: Path) -> None:
    engine = Dictionary({("sw", "en"): LEXICON})
    for form in ("sw", "swa", "swh_Latn", "Swahili"):
        assert translate_all(Store(tmp_path), engine, ["moja"], form, "eng_Latn") == ["one"]
    assert [path.name for path in tmp_path.glob("*/*/")] == ["sw-en"]


def test_the_laboratory_knows_its_tags_with_a_script() -> None:
    assert word_forms("qab_Latn") is word_forms("qab")
    assert LabTranslator().translate(["Bala."], source="qaa", target="qab-Latn")


@pytest.mark.parametrize("form", ["swa", "swh", "swh_Latn", "Swahili", "SW"])
def test_a_recipe_is_the_same_however_it_writes_its_languages(form: str, tmp_path: Path) -> None:
    plain, other = read(RECIPE.format("sw", "en"), tmp_path), read(RECIPE.format(form, "eng_Latn"), tmp_path)
    assert other == plain
    assert other.to_yaml() == plain.to_yaml()
    assert (other.source, other.targets, *other.task.files) == ("en", ("sw",), "en", "sw")


def test_a_language_given_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    text = RECIPE.format("sw", "en").replace("targets: [sw]", "targets: [sw, swa]")
    text = text.replace("  texts:", "    swa: {test: b.csv}\n  texts:")
    with pytest.raises(UserError) as raised:
        read(text, tmp_path)
    assert "recipe:6: task.files.swa: is 'sw', which stands here in another spelling, too" in str(raised.value)
    assert "'sw' stands here 2 times" in str(raised.value)


def test_a_missing_file_is_named_by_the_line_of_its_language(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe:5: task\.files\.sw\.test: missing"):
        read(RECIPE.format("swa", "en").replace(", test: a.csv", ""), tmp_path)


def test_own_files_are_found_by_every_spelling(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nmoja,yes\nmbili,no\n")
    data = own_set("own", {"swa": {"test": "a.csv"}, "eng": {"test": "a.csv"}}, ["yes", "no"], base=tmp_path)
    assert data.languages == ("en", "sw")
    assert data.split("swh_Latn", "test") is data.split("sw", "test")
    assert data.split("swa", "test").language == "sw"
    assert [e.source for e in data.parallel("swa", "test", "English")] == [("moja",), ("mbili",)]
    with pytest.raises(UserError, match=r"'swa' and 'sw' are the same language \(sw\)"):
        own_set("own", {"swa": {"test": "a.csv"}, "sw": {"test": "a.csv"}}, ["yes", "no"], base=tmp_path)


def read(text: str, folder: Path) -> Spec:
    return spec_from(text.strip(), folder)
