"""Every way to write a language leads to the same one, and to none other than was meant."""

import subprocess
import sys

import pytest

from crossflare.errors import UserError
from crossflare.languages import Language, all_languages, find


def test_the_codes_are_those_of_the_tokenizers() -> None:
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB

    assert sorted(row.nllb for row in all_languages() if row.nllb) == sorted(NLLB)
    assert sorted(row.m2m for row in all_languages() if row.m2m) == sorted(M2M["m2m100"])


@pytest.mark.parametrize("language", all_languages(), ids=lambda language: language.tag)
def test_every_form_leads_home(language: Language) -> None:
    forms = [language.tag, language.tag.upper(), language.name, language.name.lower(), f" {language.tag} "]
    forms += [language.nllb, language.nllb.replace("_", "-")] if language.nllb else []
    assert {find(form) for form in forms} == {language}


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
    assert (find(written).tag, find(written).nllb) == (tag, nllb)


@pytest.mark.parametrize("written", ["uz-Cyrl", "sr-Latn", "ku-Arab", "sat_Olck", "mni-Mtei", "quz", "pbu", "yue-Hans"])
def test_another_script_or_member_is_not_passed_off(written: str) -> None:
    assert find(written).nllb is None
    assert find(written).m2m is None


@pytest.mark.parametrize("written", ["bbc", "mad", "nij", "bbc_Latn", "Madurese"])
def test_languages_without_an_engine_are_known(written: str) -> None:
    assert find(written).nllb is None
    assert find(written).script == "Latn"


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
        find(written)


def test_other_codes() -> None:
    assert find("hr").apertium == find("sr-Latn").apertium == "hbs"
    assert find("sr").apertium is None
    assert (find("es").apertium, find("nso").m2m, find("nb").m2m) == ("spa", "ns", "no")


def test_stays_light() -> None:
    code = "import sys, crossflare.languages; assert not {'torch', 'transformers', 'language_data'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
