"""Every way to write a language leads to the same one, and to none other than was meant."""

import subprocess
import sys

import pytest

from crossflare.errors import UserError
from crossflare.languages import Language, all_languages, find_language


def test_the_codes_are_those_of_the_tokenizers() -> None:
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB

    assert sorted(row.nllb for row in all_languages() if row.nllb) == sorted(NLLB)
    assert sorted(row.m2m for row in all_languages() if row.m2m) == sorted(M2M["m2m100"])


@pytest.mark.parametrize("language", all_languages(), ids=lambda language: language.tag)
def test_every_form_leads_home(language: Language) -> None:
    forms = [language.tag, language.tag.upper(), language.name, language.name.lower(), f" {language.tag} "]
    forms += [language.nllb, language.nllb.replace("_", "-")] if language.nllb else []
    assert {find_language(form) for form in forms} == {language}


@pytest.mark.parametrize(
    ("written", "tag", "nllb"),
    [
        ("swh", "sw", "swh_Latn"),
        ("swa", "sw", "swh_Latn"),
        ("arb", "ar", "arb_Arab"),
        ("Arabic", "ar", "arb_Arab"),
        ("Kurdish", "ku", "kmr_Latn"),
        ("no", "nb", "nob_Latn"),
        ("tl", "fil", "tgl_Latn"),
        ("fil_Latn", "fil", "tgl_Latn"),
        ("ekk", "et", "est_Latn"),
        ("cmn_Hani", "zh", "zho_Hans"),
        ("zh-TW", "zh-Hant-TW", "zho_Hant"),
        ("zho_Hant", "zh-Hant", "zho_Hant"),
        ("ko-KR", "ko-KR", "kor_Hang"),
        ("twi", "tw", "twi_Latn"),
        ("fa-AF", "prs", "prs_Arab"),
        ("pt-BR", "pt-BR", "por_Latn"),
        ("en-Latn-US", "en-US", "eng_Latn"),
        ("iw", "he", "heb_Hebr"),
        ("gug_Latn", "gn", "grn_Latn"),
        ("quy", "qu", "quy_Latn"),
        ("Bokmal", "nb", "nob_Latn"),
    ],
)
def test_aliases(written: str, tag: str, nllb: str) -> None:
    assert (find_language(written).tag, find_language(written).nllb) == (tag, nllb)


@pytest.mark.parametrize("written", ["uz-Cyrl", "sr-Latn", "ku-Arab", "sat_Olck", "mni-Mtei", "quz", "pbu", "yue-Hans"])
def test_another_script_or_member_is_not_passed_off(written: str) -> None:
    assert find_language(written).nllb is None
    assert find_language(written).m2m is None


@pytest.mark.parametrize("written", ["bbc", "mad", "nij", "bbc_Latn", "Madurese"])
def test_languages_without_an_engine_are_known(written: str) -> None:
    assert find_language(written).nllb is None
    assert find_language(written).script == "Latn"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("Swahilli", "unknown language 'Swahilli': did you mean 'Swahili'"),
        ("swh_Lat", "did you mean 'swh_Latn'"),
        ("zzz", "expected a BCP-47 tag, an ISO 639-3 or FLORES code or an English name"),
        ("", "unknown language ''"),
        ("und", "unknown language 'und'"),
    ],
)
def test_unknown(written: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_language(written)


def test_other_codes() -> None:
    assert find_language("hr").apertium == find_language("sr-Latn").apertium == "hbs"
    assert find_language("sr").apertium is None
    assert (find_language("es").apertium, find_language("nso").m2m, find_language("nb").m2m) == ("spa", "ns", "no")


def test_stays_light() -> None:
    code = "import sys, crossflare.languages; assert not {'torch', 'transformers', 'language_data'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mbart_and_madlad_codes() -> None:
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART

    from crossflare.languages.engines import MADLAD

    assert sorted(row.mbart for row in all_languages() if row.mbart) == sorted(MBART)
    madlad = [row.madlad for row in all_languages() if row.madlad]
    assert len(madlad) == len(set(madlad)) > 190
    assert set(madlad) <= set(MADLAD.split())
    assert len(MADLAD.split()) == len(set(MADLAD.split()))


@pytest.mark.parametrize(
    ("tag", "madlad", "mbart", "marian"),
    [
        ("sw", "sw", "sw_KE", "swh_Latn"),
        ("crh", "crh_Latn", None, "crh_Latn"),
        ("qu", "quy", None, "quy"),
        ("nb", "no", None, "nob"),
        ("zh", "zh", "zh_CN", "cmn_Hans"),
        ("zh-Hant", "zh_Hant", None, "cmn_Hant"),
        ("sr-Latn", None, None, "srp_Latn"),
        ("fil", "fil", "tl_XX", "tgl_Latn"),
        ("bbc", "bbc", None, "bbc"),
        ("tet", "tet", None, "tet"),
        ("mni", None, None, "mni"),
        ("bjn-Arab", "bjn_Arab", None, "bjn_Arab"),
    ],
)
def test_codes_of_the_other_models(tag: str, madlad: str | None, mbart: str | None, marian: str) -> None:
    language = find_language(tag)
    assert (language.madlad, language.mbart) == (madlad, mbart)
    assert marian in language.marian


def test_a_code_of_one_model_is_one_language() -> None:
    """No two languages share a code: else one would be passed off as the other."""
    for field in ("nllb", "m2m", "madlad", "mbart"):
        codes = [getattr(row, field) for row in all_languages() if getattr(row, field)]
        assert len(codes) == len(set(codes)), field
    scripted = [row for row in all_languages() if "-" in row.tag]
    for row in scripted:
        assert not set(row.marian) & {code for other in all_languages() if other != row for code in other.marian}, row


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        *[(form, "gn") for form in ("gn", "grn", "gug")],
        *[(form, "fil") for form in ("fil", "tl", "tgl")],
        *[(form, "zh") for form in ("zh", "zho", "cmn")],
        *[(form, "nb") for form in ("no", "nor", "nob")],
        *[(form, "ar") for form in ("ara", "arb")],
        *[(form, "az") for form in ("aze", "azj")],
        *[(form, "ku") for form in ("kur", "kmr")],
        *[(form, "lv") for form in ("lav", "lvs")],
        *[(form, "fa") for form in ("fas", "pes")],
        *[(form, "ms") for form in ("msa", "zsm")],
        *[(form, "et") for form in ("est", "ekk")],
        *[(form, "uz") for form in ("uzb", "uzn")],
        *[(form, "sq") for form in ("sqi", "als")],
        *[(form, "yi") for form in ("yid", "ydd")],
        *[(form, "om") for form in ("orm", "gaz")],
        *[(form, "ps") for form in ("pus", "pbt")],
        *[(form, "mg") for form in ("mlg", "plt")],
        *[(form, "mn") for form in ("mon", "khk")],
        *[(form, "ne") for form in ("nep", "npi")],
        *[(form, "or") for form in ("ori", "ory")],
        *[(form, "qu") for form in ("que", "quy")],
        *[(form, "ay") for form in ("aym", "ayr")],
        *[(form, "ff") for form in ("ful", "fuv")],
        *[(form, "kr") for form in ("kau", "knc")],
        *[(form, "sw") for form in ("swa", "swh")],
    ],
)
def test_macrolanguages_and_the_member_that_stands_for_them(written: str, tag: str) -> None:
    assert find_language(written).tag == tag


def test_a_wide_tag_says_what_it_means() -> None:
    from crossflare.languages.engines import WIDE

    assert {row.tag for row in all_languages() if row.note} == set(WIDE)
    assert find_language("Kurdish").note == (
        "'ku' is read as Northern Kurdish, Kurmanji (kmr); for another language write its own tag (ckb)"
    )
    for _, others in WIDE.values():
        assert all(find_language(other).tag not in WIDE for other in others.split(", "))
