"""What a user should know about data before training, one line for each finding."""

from collections.abc import Iterator

from crossflare.errors import UserError
from crossflare.inspection.found import LanguageLook, Look, PairLook, PartLook
from crossflare.languages import SCRIPT_LETTERS, find_language, script_words

UNKNOWN, CUT, AGAIN, SCRIPT, MIXED, COPIED, MAJORITY, FOREIGN = 0.05, 0.1, 0.01, 0.05, 0.2, 0.05, 0.9, 0.1
"""Shares above which there is a warning: unknown pieces, and rows that are cut, that repeat others, that are in another
script than the tag's, in two scripts, copied from the source, of one label, not like their language."""
SOME = 5
"""The least rows that repeat others for their share to count."""


def warnings_of(look: Look) -> list[str]:
    """Return a line for each finding that is likely to spoil a result."""
    found = [line for language in look.languages for line in _unknown(look, language)]
    found += [line for pair in look.pairs for line in _pairs(pair)]
    found += [*_leaks(look), *_cut(look)]
    found += [line for language in look.languages for line in _scripts(language)]
    found += [line for part in look.parts for line in _foreign(part)]
    found += [*_signs(look)]
    return found + [line for part in look.parts for line in _rows(part)]


def _unknown(look: Look, found: LanguageLook) -> Iterator[str]:
    if found.unknown_share > UNKNOWN:
        said = f"{percent(found.unknown_share)} of the pieces of its texts are unknown to {look.model}"
        advice = f"which sees nothing there; take a base that reads {found.script or 'them'}"
        yield f"{found.language} ({found.name}): {said}, {advice}"


def _pairs(pair: PairLook) -> Iterator[str]:
    if pair.shift is not None:
        whole = pair.shifted + abs(pair.shift) >= pair.rows
        many = f"all {pair.rows}" if whole else f"{pair.shifted} of {pair.rows}"
        far, up = abs(pair.shift), pair.shift < 0
        way = f"row {far} further {'up' if up else 'down'}"
        way = f"row whose id is {far} {'lower' if up else 'higher'}" if pair.by == "ids" else way
        said = f"{many} texts look like translations of the {pair.source} {way}, not of their own"
        yield f"{pair.language}: {said}: {' is '.join(pair.places[0])}"
    if pair.parallel is False:
        yield (
            f"{pair.language}: {pair.rows} texts and their {pair.source} rows do not look like translations of each "
            "other; check that the files belong together, or say align: none"
        )
    if pair.copied > COPIED * pair.rows:
        yield f"{pair.language}: {pair.copied} of {pair.rows} texts are the {pair.source} text itself, not translated"


def _cut(look: Look) -> Iterator[str]:
    for language in dict.fromkeys(part.language for part in look.parts):
        parts = [(part, part.tokens) for part in look.parts if part.language == language and part.tokens is not None]
        rows, above = sum(part.looked for part, _ in parts), sum(tokens.above for _, tokens in parts)
        if not look.asks and above > CUT * rows:
            limit, fits = parts[0][1].limit, max(tokens.p95 for _, tokens in parts)
            said = f"{percent(above / rows)} of the rows are longer than max_length {limit} and are cut"
            yield f"{language}: {said}; 95 % would fit into {fits} tokens"


def _leaks(look: Look) -> Iterator[str]:
    for leak in look.leaks:
        places = "; ".join(f"{here} is {known}" for known, here in leak.places)
        of = f"the {leak.what} of a {leak.known} row"
        yield f"{leak.language}: {leak.rows} {leak.part} row{'s have' if leak.rows > 1 else ' has'} {of}: {places}"


def _scripts(found: LanguageLook) -> Iterator[str]:
    kinds, tag = found.kinds, found.language
    off = kinds.get("other_script", 0) + kinds.get("romanised", 0)
    if script_words(tag) and off > SCRIPT * found.rows:
        declared = SCRIPT_LETTERS.get(find_language(tag).script or "", "").capitalize()
        said = f"most letters of {percent(off / found.rows)} of the texts are not {declared}"
        latin = f" ({kinds['romanised']} are in Latin letters)" if kinds.get("romanised") else ""
        yield f"{tag}: {said}{latin}, which the tag says; is it the language, and is the tag right?"
    if kinds.get("mixed", 0) > MIXED * found.rows:
        yield f"{tag}: {percent(kinds['mixed'] / found.rows)} of the texts mix two scripts"


def _foreign(part: PartLook) -> Iterator[str]:
    if part.foreign >= SOME and part.foreign > FOREIGN * part.judged:
        said = f"{percent(part.foreign / part.judged)} of the texts do not look like {_name(part.language)}"
        most = f"most of them look like {_name(part.foreign_as)}, the first is {part.foreign_at}"
        yield f"{part.language} {part.part}: {said}: {most}; is it the language, and is the tag right?"


def _name(tag: str) -> str:
    try:
        return find_language(tag).name
    except UserError:  # the identifier knows languages that are in no table of crossflare's
        return f"'{tag}'"


def _signs(look: Look) -> Iterator[str]:
    """Yield a line for each kind of odd sign, with the languages that have it."""
    said = {
        "decomposed": "not in Unicode NFC beside others that are, so that one word is two to a model",
        "hidden": "with zero-width or direction signs",
        "control": "with control signs or U+FFFD",
    }
    for kind, what in said.items():
        there = [each for each in look.languages if each.kinds.get(kind) and (kind != "decomposed" or each.composed)]
        if there:
            rows = ", ".join(f"{each.language} {each.kinds[kind]}" for each in there)
            yield f"rows {what}: {rows}; the first is {there[0].first[kind]}"


def _rows(part: PartLook) -> Iterator[str]:
    head = f"{part.language} {part.part}"
    if part.empty:
        have = "rows have" if part.empty > 1 else "row has"
        yield f"{head}: {part.empty} {have} an empty text, the first {part.empty_at}"
    if part.unlike:
        places = " and ".join(part.unlike_at[0])
        have = "rows have" if part.unlike > 1 else "row has"
        yield f"{head}: {part.unlike} {have} the text of an earlier row and another label, as {places}"
    if part.again >= max(SOME, AGAIN * part.rows):
        yield f"{head}: {part.again} of {part.rows} rows repeat the text of an earlier one"
    there = {name: rows for name, rows in part.labels.items() if rows}
    if len(there) > 1:
        most = max(there, key=lambda name: there[name])
        if there[most] > MAJORITY * sum(there.values()):
            yield f"{head}: {percent(there[most] / sum(there.values()))} of the rows have the label {most}"
        if none := [name for name in part.labels if not part.labels[name]]:
            yield f"{head}: no row has the label {', '.join(none)}"


def percent(share: float) -> str:
    """Return a share of one in per cent; never 0 of something, nor 100 where something is missing."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"
