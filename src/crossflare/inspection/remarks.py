"""What of a look a person should know before training: one line for each, in the order in which it matters."""

from collections.abc import Iterator

from crossflare.inspection.found import LanguageLook, Look, PairLook, PartLook
from crossflare.languages import find_language
from crossflare.languages.scripts import script_words

UNKNOWN, CUT, AGAIN, SCRIPT, MIXED, COPIED, MAJORITY = 0.05, 0.1, 0.01, 0.05, 0.2, 0.05, 0.9
"""Shares above which something is said: unknown pieces, rows that are cut, repeated, in another script than declared, of
two scripts, copied from the source, of one label."""


def warnings_of(look: Look) -> list[str]:
    """Return a line for each thing that is likely to spoil a result."""
    found = [line for language in look.languages for line in _unknown(look, language)]
    found += [line for pair in look.pairs for line in _pairs(pair)]
    found += list(_leaks(look))
    found += [line for language in look.languages for line in _texts(language)]
    return found + [line for part in look.parts for line in _rows(look, part)]


def _unknown(look: Look, found: LanguageLook) -> Iterator[str]:
    if found.unknown_share > UNKNOWN:
        why = f"{look.model} knows {percent(1 - found.unknown_share)} of the pieces of its texts"
        yield f"{found.language} ({found.name}): {why}, the rest is unknown to it; take a base that reads {found.script}"


def _pairs(pair: PairLook) -> Iterator[str]:
    head = f"{pair.language}: {pair.rows} rows compared with {pair.source}"
    if pair.shift is not None:
        here, there = pair.places[0]
        whole = "all" if pair.shifted + abs(pair.shift) >= pair.rows else str(pair.shifted)
        unit = "id" if pair.by == "ids" else "row"
        way = f"the {unit} {abs(pair.shift)} {'higher' if pair.shift > 0 else 'lower'}"
        if unit == "row":
            way = f"the row {abs(pair.shift)} further {'down' if pair.shift > 0 else 'up'}"
        yield f"{head}: {whole} fit {way} better than their own, as {here} and {there}"
    if pair.parallel is False:
        yield f"{head}: they do not look like translations of each other; check that the files belong together"
    if pair.copied > COPIED * pair.rows:
        yield f"{head}: {pair.copied} are the {pair.source} text itself, not translated"


def _leaks(look: Look) -> Iterator[str]:
    for leak in look.leaks:
        places = "; ".join(f"{here} is {known}" for known, here in leak.places)
        of = f"the {leak.what} of a {leak.known} row"
        yield f"{leak.language}: {leak.rows} {leak.part} row{'s have' if leak.rows > 1 else ' has'} {of}: {places}"


def _texts(found: LanguageLook) -> Iterator[str]:
    kinds, first, tag = found.kinds, found.first, found.language
    own = script_words(tag)
    off = kinds.get("other_script", 0) + kinds.get("romanised", 0)
    if own and off > SCRIPT * found.rows:
        declared = find_language(tag).script
        said = f"most letters of {percent(off / found.rows)} of the texts are not {declared}"
        latin = f" ({kinds['romanised']} are in Latin letters)" if kinds.get("romanised") else ""
        yield f"{tag}: {said}{latin}, which the tag says; is it the language, and is the tag right?"
    if kinds.get("mixed", 0) > MIXED * found.rows:
        yield f"{tag}: {percent(kinds['mixed'] / found.rows)} of the texts mix two scripts"
    if (apart := kinds.get("decomposed")) and found.composed:
        many = f"{apart} row{'s are' if apart > 1 else ' is'} not in Unicode NFC, {found.composed} others are"
        yield f"{tag}: {many}: the same word is two to a model; normalise the files ({first['decomposed']})"
    for kind, what in (("hidden", "zero-width or direction signs"), ("control", "control signs or U+FFFD")):
        if rows := kinds.get(kind):
            yield f"{tag}: {rows} row{'s hold' if rows > 1 else ' holds'} {what}, the first {first[kind]}"


def _rows(look: Look, part: PartLook) -> Iterator[str]:
    head = f"{part.language} {part.part}"
    if part.empty:
        yield f"{head}: {part.empty} row{'s have' if part.empty > 1 else ' has'} an empty text, the first {part.empty_at}"
    if part.unlike:
        places = " and ".join(part.unlike_at[0])
        yield f"{head}: {part.unlike} rows have the text of an earlier row and another label, as {places}"
    if part.again > AGAIN * part.rows:
        yield f"{head}: {part.again} of {part.rows} rows repeat the text of an earlier one"
    tokens = part.tokens
    if tokens is not None and not look.asks and tokens.above > CUT * part.looked:
        said = f"{percent(tokens.above / part.looked)} of the rows are longer than max_length {tokens.limit} and are cut"
        yield f"{head}: {said}; 95 % would fit into {tokens.p95}"
    there = {name: rows for name, rows in part.labels.items() if rows}
    if len(there) > 1:
        most = max(there, key=lambda name: there[name])
        if there[most] > MAJORITY * sum(there.values()):
            yield f"{head}: {percent(there[most] / sum(there.values()))} of the rows have the label {most}"
        if none := [name for name in part.labels if not part.labels[name]]:
            yield f"{head}: no row has the label {', '.join(none)}"


def percent(share: float) -> str:
    """Return a share of one in per cent; never 0 of something, nor all of it where some is missing."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.3g} %"
