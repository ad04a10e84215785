"""What a look found, in words and tables: what a person should know before training, and all counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossflare.inspection.found import LanguageLook, Look, PairLook, PartLook, WorkLook
from crossflare.languages import SCRIPT_LETTERS, find_language, script_words

UNKNOWN, CUT, AGAIN, SCRIPT, MIXED, COPIED, MAJORITY = 0.05, 0.1, 0.01, 0.05, 0.2, 0.05, 0.9
"""Shares above which something is said: of unknown pieces, and of rows that are cut, that repeat others, that are in
another script than the tag's, in two scripts, copied from the source, of one label."""
SOME = 5
"""Rows that repeat others, from which their share counts."""


def warnings_of(look: Look) -> list[str]:
    """Return a line for each thing that is likely to spoil a result."""
    found = [line for language in look.languages for line in _unknown(look, language)]
    found += [line for pair in look.pairs for line in _pairs(pair)]
    found += [*_leaks(look), *_cut(look)]
    found += [line for language in look.languages for line in _scripts(language)]
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
    """Return a share of one in per cent; never 0 of something, nor all of it where some is missing."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


FEW = 4
"""Labels that are counted one by one in a table."""
NEARLY = 0.995
"""Share of letters from which a language is as good as all in one script."""
NOTHING = "·"
PART = "part"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of texts; all columns but the first `named` hold numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    named: int = 1
    legend: str = ""

    @property
    def keys(self) -> int:
        """The columns that name a row: the language, and the part where there are several."""
        return 2 if PART in self.head else 1


def sheets(look: Look) -> list[Sheet]:
    """Return the tables that have something to say."""
    made = [parts_sheet(look), languages_sheet(look), pairs_sheet(look.pairs), work_sheet(look)]
    return [sheet for sheet in made if sheet.rows and len(sheet.head) > sheet.named]


def parts_sheet(look: Look) -> Sheet:
    """Return rows, labels, repeated and empty texts, and lengths, by language and part."""
    several = len({part.part for part in look.parts}) > 1 or look.parts[0].part != "file"
    over = "windows" if look.asks else "cut"
    columns = ["rows", "labels", "same", "empty", "median", "p95", "max", over]
    rows = [[*_counts(look, part), *_lengths(part)] for part in look.parts]
    keys = [(part.language, *([part.part] if several else [])) for part in look.parts]
    kept, made = _telling(columns, keys, rows, ("rows",))
    limits = sorted({part.tokens.limit for part in look.parts if part.tokens is not None and part.tokens.limit})
    legend = [f"labels: {', '.join(look.labels)}"] if look.labels and len(look.labels) <= FEW else []
    legend += [f"labels: {len(look.labels)}, the rarest and the commonest"] if len(look.labels) > FEW else []
    legend += ["same: rows with the text of an earlier one"] if any(part.again for part in look.parts) else []
    if look.model:
        limit = f", of {' or '.join(map(str, limits))} at most" if limits else ""
        legend += [f"median, p95, max: tokens of {Path(look.model).name}{limit}"]
    head = ("language", *([PART] if several else []), *kept)
    return Sheet("Rows", head, made, 1 + several, "; ".join(legend))


def _telling(
    columns: Sequence[str], keys: Sequence[tuple[str, ...]], rows: Sequence[Sequence[str]], always: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the columns that tell something in some row, and each row's key with its cells in them."""
    kept = [n for n, name in enumerate(columns) if name in always or any(row[n] not in ("", NOTHING) for row in rows)]
    made = tuple((*key, *(row[n] for n in kept)) for key, row in zip(keys, rows, strict=True))
    return tuple(columns[n] for n in kept), made


def _counts(look: Look, part: PartLook) -> list[str]:
    counts = list(part.labels.values())
    labels = " ".join(map(str, counts)) if len(counts) <= FEW else f"{min(counts)} to {max(counts)}"
    labels = (labels if sum(counts) else "") + (f" none {part.unlabelled}" if part.unlabelled and look.labels else "")
    return [f"{part.rows:,}", labels.strip(), counted_text(part.again), counted_text(part.empty)]


def _lengths(part: PartLook) -> list[str]:
    found = part.tokens
    if found is None:
        return [""] * 4
    above = percent(found.above / part.looked) if found.above and part.looked else NOTHING
    return [f"{found.median}", f"{found.p95}", f"{found.longest}", above]


def languages_sheet(look: Look) -> Sheet:
    """Return the script of each language, what the base knows of it, and what is odd about its characters."""
    kinds = {"mixed": "mixed", "romanised": "roman", "other_script": "other", "decomposed": "not NFC"}
    columns = ["script", "words", "pieces/word", "unknown", *kinds.values(), "hidden"]
    rows: list[list[str]] = []
    for found in look.languages:
        script = found.script + (f" {percent(found.share)}" if found.share < NEARLY else "") or NOTHING
        known = [""] * 2
        if found.pieces is not None:
            spread = f"{found.pieces / found.words:.2f}" if found.words and found.spaced else NOTHING
            known = [spread, percent(found.unknown_share) if found.unknown else NOTHING]
        hidden = found.kinds.get("hidden", 0) + found.kinds.get("control", 0)
        odd = [counted_text(found.kinds.get(kind, 0)) for kind in kinds]
        rows.append([script, f"{found.words:,}", *known, *odd, counted_text(hidden)])
    keep = ("script", "words", "pieces/word", "unknown") if look.model else ("script", "words")
    kept, made = _telling(columns, [(found.language,) for found in look.languages], rows, keep)
    said = {
        "mixed": "mixed: two scripts in one text",
        "roman": "roman: in Latin letters, not the script of the tag",
        "other": "other: mostly of another script than the tag's",
        "hidden": "hidden: rows with zero-width, direction or control signs",
    }
    return Sheet("Texts", ("language", *kept), made, 2, "; ".join(text for name, text in said.items() if name in kept))


def pairs_sheet(pairs: Sequence[PairLook]) -> Sheet:
    """Return how well the rows of each language go with those of the source language."""
    shown = [pair for pair in pairs if pair.fit]
    rows = [(_verdict(pair), counted_text(pair.rows), percent(pair.fit), counted_text(pair.copied)) for pair in shown]
    columns = ("", "compared", "fit", "copied")
    kept, made = _telling(columns, [(pair.language,) for pair in shown], rows, columns[:-1])
    source = shown[0].source if shown else ""
    legend = f"fit: of the other rows' {source} texts, those that a text's own one beats; 50 % by chance"
    return Sheet(f"Rows beside those of {source}", ("language", *kept), made, 2, legend)


def _verdict(pair: PairLook) -> str:
    if pair.shift is not None:
        return f"{counted_text(pair.shifted)} shifted by {pair.shift:+d} {pair.by}"
    return {True: "parallel", False: "not parallel", None: "cannot be told"}[pair.parallel]


def work_sheet(look: Look) -> Sheet:
    """Return what will be translated, and how much text that is."""
    rows = [
        (
            _way(job),
            job.engine,
            f"{job.rows:,}",
            *(f"{'' if job.exact else '~'}{count:,}" for count in (job.sentences, job.characters)),
        )
        for job in look.work
    ]
    about = not all(job.exact for job in look.work)
    legend = "~: not counted one by one, or of texts that are to be translated first" if about else ""
    return Sheet("To translate", ("from", "engine", "rows", "sentences", "characters"), tuple(rows), 2, legend)


def _way(job: WorkLook) -> str:
    way = f"{job.source} to {job.target}" if job.route != "latents" else f"states of {job.source}"
    return f"{way}, round trip" if job.made and job.route == "to_source" else way


def counted_text(count: int) -> str:
    """Return a count with thousands apart; a dot for none."""
    return f"{count:,}" if count else NOTHING
