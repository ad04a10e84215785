"""Languages: what a user writes (BCP-47, ISO 639-3, FLORES, an English name) and what each engine calls it."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache

import langcodes

from crossflare.errors import UserError, nearest
from crossflare.languages.table import ALIASES, APERTIUM_NAMES, M2M, M2M_NAMES, MEMBERS, SCRIPTS, TABLE


@dataclass(frozen=True, slots=True)
class Language:
    """A language in one script; a code is None where the engine does not have it."""

    tag: str
    """BCP-47."""
    name: str
    """In English; the tag where no name is known."""
    script: str | None
    """ISO 15924; None where it is not known."""
    nllb: str | None = None
    """The FLORES-200 code, as NLLB's tokenizers have it."""
    m2m: str | None = None
    """The code of M2M-100."""
    apertium: str | None = None
    """The code in names of Apertium's pairs (ISO 639-3 by custom); whether a pair is installed is another matter."""


def find(tag: str) -> Language:
    """Return the language that `tag` names.

    Args:
        tag: BCP-47 (`sw`, `zh-Hant`, `pt-BR`), ISO 639-3 (`swh`), a FLORES code (`swh_Latn`) or an English name.

    Raises:
        UserError: No such language; the nearest known ones are named.
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
    base, script = parsed.language or "", SCRIPTS.get(parsed.script or "") or parsed.script or _script(standard)
    row = known.get(names.get(f"{base}-{script}".lower(), "")) or known.get(names.get(base.lower(), ""))
    if row is not None and row.script == script:
        return row if parsed.territory is None else _regional(row, parsed.territory)
    return Language(standard, standard if row is None else f"{row.name.split(' (')[0]} ({script} script)", script)


@cache
def all_languages() -> tuple[Language, ...]:
    """Return every language known by name, sorted by name; `find` also takes any other valid BCP-47 tag."""
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
            )
        )
    return tuple(sorted(rows, key=lambda language: language.name))


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


def _iso(tag: str) -> str | None:
    try:
        return langcodes.get(tag).to_alpha3()
    except LookupError:
        return None


def _script(tag: str) -> str | None:
    """Return the script a language is mostly written in; None where CLDR does not say."""
    likely = langcodes.get(tag).maximize()
    # CLDR's answer for a language it does not know is that of the whole world: Latin, in the United States.
    guessed = likely.territory == "US" and langcodes.get(tag).territory is None and likely.language != "en"
    return None if guessed or likely.script is None else SCRIPTS.get(likely.script, likely.script)


@cache
def _by_tag() -> dict[str, Language]:
    return {language.tag: language for language in all_languages()}


@cache
def _by_name() -> dict[str, str]:
    """Small-letter forms -> tag: tags, FLORES codes with `_` or `-`, names with and without brackets, aliases."""
    names: dict[str, str] = {}
    for row in all_languages():
        forms = [row.tag, row.name]
        if row.nllb is not None:
            forms += [row.nllb, row.nllb.replace("_", "-")]
        if row.nllb is not None and "-" not in row.tag:  # a bare code means the script it is mostly written in
            forms += [row.nllb[:3]]
        for form in forms:
            names.setdefault(form.lower(), row.tag)
    bare = [row.name.split(" (")[0].lower() for row in all_languages()]
    unique = {name: row.tag for name, row in zip(bare, all_languages(), strict=True) if bare.count(name) == 1}
    return unique | names | {alias.lower(): tag for alias, tag in ALIASES.items()}
