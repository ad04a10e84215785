"""Languages: what a user writes (BCP-47, ISO 639-3, FLORES, an English name) and each engine's code for it."""

import unicodedata
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, lru_cache

import langcodes

from crossflare.errors import UserError, nearest
from crossflare.languages.engines import MADLAD, MADLAD_NAMES, MARIAN_NAMES, MBART, MBART_NAMES, WIDE
from crossflare.languages.table import ALIASES, APERTIUM_NAMES, M2M, M2M_NAMES, MEMBERS, PRIVATE, SCRIPTS, TABLE


@dataclass(frozen=True, slots=True)
class Language:
    """A language in one script; a code is None if the engine does not have the language."""

    tag: str
    """The BCP-47 tag."""
    name: str
    """The English name; the tag if no name is known."""
    script: str | None
    """The ISO 15924 code; None if it is not known."""
    nllb: str | None = None
    """The FLORES-200 code that NLLB's tokenizers use."""
    m2m: str | None = None
    """The code of M2M-100."""
    apertium: str | None = None
    """The code in names of Apertium's pairs (ISO 639-3 by custom); whether a pair is installed is another matter."""
    madlad: str | None = None
    """The code in the token `<2xx>` of MADLAD-400's models."""
    mbart: str | None = None
    """The token of mBART-50."""
    marian: tuple[str, ...] = ()
    """Codes that OPUS-MT models may have for it, in names and in `>>code<<`, the most likely first."""
    note: str = ""
    """For a tag that may mean several languages: which one it means here, and what to write for another."""

    @property
    def flores(self) -> str | None:
        """The code as FLORES would write it (`bbc_Latn`), for models that know more languages than NLLB's."""
        iso = _iso(self.tag)
        return self.nllb or (f"{iso}_{self.script}" if iso and self.script else None)


def find_language(tag: str) -> Language:
    """Return the language that `tag` names.

    Args:
        tag: BCP-47 (`sw`, `zh-Hant`, `pt-BR`), ISO 639-3 (`swh`), a FLORES code (`swh_Latn`) or an English name.

    Raises:
        UserError: There is no such language; the message names the nearest known ones.
    """
    wanted = str(tag).strip()
    known, names = _by_tag(), _by_name()
    dashed = wanted.replace("_", "-")
    for form in (wanted.lower(), dashed.lower()):
        if form in names:
            return known[names[form]]
    macro = dashed.split("-")[0].lower() not in MEMBERS
    valid = langcodes.tag_is_valid(dashed)
    standard = langcodes.standardize_tag(dashed, macro=macro) if valid else "und"
    parsed = langcodes.get(standard, normalize=False)
    if parsed.extlangs or parsed.language in (None, "und"):  # `swh_Lat` would pass as language and extension
        raise UserError(f"unknown language '{wanted}': {_suggest(wanted)}")
    if PRIVATE[0] <= (parsed.language or "") <= PRIVATE[1]:
        return _private(standard, parsed.language or "", parsed.script or "Latn")
    base, script = parsed.language or "", SCRIPTS.get(parsed.script or "") or parsed.script or _script(standard)
    row = known.get(names.get(f"{base}-{script}".lower(), "")) or known.get(names.get(base.lower(), ""))
    if row is not None and row.script == script:
        return row if parsed.territory is None else _regional(row, parsed.territory)
    name = standard if row is None else f"{row.name.split(' (')[0]} ({script} script)"
    bare = row is None and "-" not in standard
    return Language(standard, name, script, madlad=_madlad(standard) if bare else None, marian=_marian(standard, None))


@lru_cache(4096)
def tag_of(language: str) -> str:
    """Return the one tag under which a language is looked up and kept, however it is written.

    An unknown name comes back unchanged: users may name the languages of their own files as they like.

    >>> tag_of("swh_Latn"), tag_of("swa"), tag_of("Swahili"), tag_of("SW")
    ('sw', 'sw', 'sw', 'sw')
    """
    try:
        return find_language(language).tag
    except UserError:
        return str(language)


def bare_tag(language: str) -> str:
    """Return the tag of a language (see `tag_of`) without script and region, for rules that need neither."""
    return tag_of(language).partition("-")[0].lower()


@cache
def all_languages() -> tuple[Language, ...]:
    """Return every language known by name, sorted by name; `find_language` takes any other valid BCP-47 tag, too."""
    m2m = set(M2M.split())
    rows: list[Language] = []
    for line in TABLE.splitlines():
        tag, flores, name = line.split(" ", 2)
        code = M2M_NAMES.get(tag, tag)
        rows.append(
            Language(
                tag=tag,
                name=name,
                script=flores[4:] if flores != "-" else langcodes.get(tag).script or _script(tag),
                nllb=flores if flores != "-" else None,
                m2m=code if code in m2m else None,
                apertium=APERTIUM_NAMES[tag] if tag in APERTIUM_NAMES else _iso(tag),
                madlad=_madlad(tag),
                mbart=_mbart(tag),
                marian=_marian(tag, flores if flores != "-" else None),
                note=_note(tag),
            )
        )
    return tuple(sorted(rows, key=lambda language: language.name))


def _madlad(tag: str) -> str | None:
    code = MADLAD_NAMES.get(tag, tag.replace("-", "_"))
    return code if code in MADLAD.split() else None


def _mbart(tag: str) -> str | None:
    return MBART_NAMES.get(tag, next((code for code in MBART.split() if code.split("_")[0] == tag), None))


def _marian(tag: str, flores: str | None) -> tuple[str, ...]:
    iso = _iso(tag) if "-" not in tag else None
    own = flores.split("_")[0] if flores and "-" not in tag else None
    codes = (tag, iso, own, *MARIAN_NAMES.get(tag, ()), flores)
    return tuple(dict.fromkeys(code for code in codes if code))


def _note(tag: str) -> str:
    if tag not in WIDE:
        return ""
    meant, others = WIDE[tag]
    return f"'{tag}' is read as {meant}; for another language write its own tag ({others})"


def _suggest(wanted: str) -> str:
    shown = [form for row in all_languages() for form in (row.tag, row.name, row.nllb) if form]
    forms = {form: form for form in _by_name()} | {form.lower(): form for form in shown}
    close = get_close_matches(wanted.lower(), list(forms), n=3, cutoff=0.6)
    if not close:
        return (
            "expected a BCP-47 tag, an ISO 639-3 or FLORES code or an English name; `crossflare languages` lists them"
        )
    return nearest(forms[close[0]], [forms[form] for form in close])


def _regional(row: Language, territory: str) -> Language:
    if row.tag.endswith(f"-{territory}"):
        return row
    return replace(row, tag=f"{row.tag}-{territory}", name=f"{row.name} in {territory}")


def _private(tag: str, base: str, script: str) -> Language:
    """Return a language of private use, in Latin script unless the tag names another; the rule forms its codes."""
    tag = tag.removesuffix("-Latn")
    return Language(tag, f"{tag} (private use)", script, nllb=f"{base}_{script}")


def _iso(tag: str) -> str | None:
    try:
        return langcodes.get(tag).to_alpha3()
    except LookupError:
        return None


def _script(tag: str) -> str | None:
    """Return the script that a language is mostly written in; None if CLDR does not say."""
    likely = langcodes.get(tag).maximize()
    # For a language that CLDR does not know, it gives the answer for the whole world: Latin, in the United States.
    guessed = likely.territory == "US" and langcodes.get(tag).territory is None and likely.language != "en"
    return None if guessed or likely.script is None else SCRIPTS.get(likely.script, likely.script)


@cache
def _by_tag() -> dict[str, Language]:
    return {language.tag: language for language in all_languages()}


@cache
def _by_name() -> dict[str, str]:
    """Return lower-case form -> tag: tags, FLORES codes with `_` or `-`, names with and without brackets, aliases."""
    names: dict[str, str] = {}
    for row in all_languages():
        forms = [row.tag, row.name]
        if row.nllb is not None:
            forms += [row.nllb, row.nllb.replace("_", "-")]
        if row.nllb is not None and "-" not in row.tag:  # a code without a script means the most common script
            forms += [row.nllb[:3]]
        if row.script is not None and "-" not in row.tag:
            forms += [f"{row.tag}-{row.script}"]
        for form in forms:
            names.setdefault(form.lower(), row.tag)
    bare = [row.name.split(" (")[0].lower() for row in all_languages()]
    unique = {name: row.tag for name, row in zip(bare, all_languages(), strict=True) if bare.count(name) == 1}
    return unique | names | {alias.lower(): tag for alias, tag in ALIASES.items()}


SCRIPT_LETTERS = {
    "Latn": "LATIN", "Cyrl": "CYRILLIC", "Arab": "ARABIC", "Deva": "DEVANAGARI", "Beng": "BENGALI", "Grek": "GREEK",
    "Hani": "CJK", "Hans": "CJK", "Hant": "CJK", "Jpan": "CJK HIRAGANA KATAKANA", "Hang": "HANGUL", "Kore": "HANGUL",
    "Hebr": "HEBREW", "Armn": "ARMENIAN", "Geor": "GEORGIAN", "Ethi": "ETHIOPIC", "Thai": "THAI", "Laoo": "LAO",
    "Khmr": "KHMER", "Mymr": "MYANMAR", "Taml": "TAMIL", "Telu": "TELUGU", "Knda": "KANNADA", "Mlym": "MALAYALAM",
    "Gujr": "GUJARATI", "Guru": "GURMUKHI", "Orya": "ORIYA", "Sinh": "SINHALA", "Tibt": "TIBETAN", "Olck": "OL",
    "Tfng": "TIFINAGH", "Mong": "MONGOLIAN", "Thaa": "THAANA", "Nkoo": "NKO", "Syrc": "SYRIAC", "Mtei": "MEETEI",
    "Cans": "CANADIAN", "Cher": "CHEROKEE", "Java": "JAVANESE", "Sund": "SUNDANESE", "Bugi": "BUGINESE",
}  # fmt: skip
"""ISO 15924 -> the first words of the Unicode names of its letters."""
LETTER_WORDS = frozenset(word for names in SCRIPT_LETTERS.values() for word in names.split())
"""Every first word of a letter's name that says its script."""


@lru_cache(maxsize=65536)
def script_word(letter: str) -> str:
    """Return the first word of the Unicode name of a letter; for most letters it names the script."""
    return unicodedata.name(letter, "").split(" ")[0].split("-")[0]


@lru_cache
def script_words(language: str) -> frozenset[str]:
    """Return the first words of the names of a language's letters; empty if its script is not known."""
    return frozenset(SCRIPT_LETTERS.get(find_language(language).script or "", "").split())
