"""The findings of a look, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossflare.inspection.found import Look, PairLook, PartLook, WorkLook
from crossflare.inspection.remarks import percent

FEW = 4
"""The most labels that are counted one by one in a table."""
NEARLY = 0.995
"""With this share of letters a language counts as all in one script."""
NOTHING = "·"
PART = "part"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of texts; all columns after the first `named` hold numbers."""

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
    """Return the tables that have content."""
    made = [parts_sheet(look), languages_sheet(look), pairs_sheet(look.pairs), work_sheet(look)]
    return [sheet for sheet in made if sheet.rows and len(sheet.head) > sheet.named]


def parts_sheet(look: Look) -> Sheet:
    """Return rows, labels, repeated and empty texts, and lengths, by language and part."""
    several = len({part.part for part in look.parts}) > 1 or look.parts[0].part != "file"
    over = "windows" if look.asks else "cut"
    columns = ["rows", "labels", "same", "empty", "median", "p95", "max", over, "unlike"]
    rows = [[*_counts(look, part), *_lengths(part), _unlike(part)] for part in look.parts]
    keys = [(part.language, *([part.part] if several else [])) for part in look.parts]
    kept, made = _telling(columns, keys, rows, ("rows",))
    limits = sorted({part.tokens.limit for part in look.parts if part.tokens is not None and part.tokens.limit})
    legend = [f"labels: {', '.join(look.labels)}"] if look.labels and len(look.labels) <= FEW else []
    legend += [f"labels: {len(look.labels)}, the rarest and the commonest"] if len(look.labels) > FEW else []
    legend += ["same: rows with the text of an earlier one"] if any(part.again for part in look.parts) else []
    if look.model:
        limit = f", of {' or '.join(map(str, limits))} at most" if limits else ""
        legend += [f"median, p95, max: tokens of {Path(look.model).name}{limit}"]
    unlike = "unlike: texts that do not look like the language, of those long enough to tell"
    legend += [unlike] if any(part.judged for part in look.parts) else []
    unknown = [each.language for each in look.languages if each.identified is False]
    legend += [f"the language identifier does not know {', '.join(unknown)}"] if unknown else []
    head = ("language", *([PART] if several else []), *kept)
    return Sheet("Rows", head, made, 1 + several, "; ".join(legend))


def _telling(
    columns: Sequence[str], keys: Sequence[tuple[str, ...]], rows: Sequence[Sequence[str]], always: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the columns with content in some row, and each row's key with its cells in them."""
    kept = [n for n, name in enumerate(columns) if name in always or any(row[n] not in ("", NOTHING) for row in rows)]
    made = tuple((*key, *(row[n] for n in kept)) for key, row in zip(keys, rows, strict=True))
    return tuple(columns[n] for n in kept), made


def _counts(look: Look, part: PartLook) -> list[str]:
    counts = list(part.labels.values())
    labels = " ".join(map(str, counts)) if len(counts) <= FEW else f"{min(counts)} to {max(counts)}"
    labels = (labels if sum(counts) else "") + (f" none {part.unlabelled}" if part.unlabelled and look.labels else "")
    return [f"{part.rows:,}", labels.strip(), counted_text(part.again), counted_text(part.empty)]


def _unlike(part: PartLook) -> str:
    if not part.judged:
        return ""
    return percent(part.foreign / part.judged) if part.foreign else "0 %"


def _lengths(part: PartLook) -> list[str]:
    found = part.tokens
    if found is None:
        return [""] * 4
    above = percent(found.above / part.looked) if found.above and part.looked else NOTHING
    return [f"{found.median}", f"{found.p95}", f"{found.longest}", above]


def languages_sheet(look: Look) -> Sheet:
    """Return the script of each language, how the base reads it, and the unusual characters in it."""
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
    """Return how well the rows of each language fit those of the source language."""
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
    """Return the translations to be made, and how much text they have."""
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
    """Return a count with its thousands separated; a dot for none."""
    return f"{count:,}" if count else NOTHING
