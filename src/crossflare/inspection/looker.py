"""The look itself: it reads every row once, with the readers of a run, and keeps hardly anything."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice

from crossflare.errors import UserError
from crossflare.inspection.counting import RowTally, TextTally, TokenTally
from crossflare.inspection.found import LanguageLook, LeakLook, Lengths, Look, PairLook, PartLook, WorkLook
from crossflare.inspection.identify import IdentityTally
from crossflare.inspection.parallel import MOST, KeptRow, KeptRows, fit_of
from crossflare.languages import find_language
from crossflare.languages.identify import knows
from crossflare.progress import bar
from crossflare.recipe.engines import Translating
from crossflare.tasks.dataset import PARTS, Align
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import CONTEXT
from crossflare.translation.sentences import sentences
from crossflare.translation.translate import UNSPACED

AT_ONCE = 500
"""How many rows are in memory at once."""


@dataclass(frozen=True)
class Share:
    """The rows to read of one part in one language."""

    language: str
    part: str
    rows: Callable[[], Iterable[Example]]
    max_length: int = 0
    """0: none is set."""
    only_compared: bool = False
    """The recipe does not read them: they are only compared with other languages' rows."""


@dataclass
class _Seen:
    """What is known about a part while it is read."""

    identity: IdentityTally
    rows: RowTally = field(default_factory=RowTally)
    contexts: RowTally = field(default_factory=lambda: RowTally(CONTEXT))
    """The contexts alone, where the rows are questions."""
    tokens: TokenTally = field(default_factory=TokenTally)
    own: KeptRows = field(default_factory=lambda: KeptRows(MOST))
    beside: KeptRows = field(default_factory=lambda: KeptRows(MOST))
    """The source texts in the rows themselves."""
    has_beside: bool = False
    looked: int = 0
    sentences: int = 0
    characters: int = 0


@dataclass
class Looker:
    """Reads parts, and returns its findings."""

    name: str
    labels: list[str]
    """The label names; the list may grow while a file is read that names them itself."""
    asks: bool
    source: str
    pieces: Callable[[Sequence[tuple[str, ...]]], list[tuple[int, int, int]]] | None = None
    """Return (tokens, pieces, unknown pieces) of rows of texts; None: no base was named."""
    model: str = ""
    align: Align = "none"
    every: int = 1
    split_up: frozenset[tuple[str, str]] = frozenset()
    """(language, part) of the rows whose sentences are counted, since they are translated."""
    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict[tuple[str, str], _Seen])
    _texts: dict[str, TextTally] = field(default_factory=dict[str, TextTally])
    _shares: list[Share] = field(default_factory=list[Share])

    def read(self, shares: Sequence[Share], total: int | None = None) -> None:
        """Read parts, and show a bar of `total` rows."""
        with bar("looking at the rows", total) as done:
            for share in shares:
                seen = _Seen(IdentityTally(share.language))
                with suppress(UserError) if share.only_compared else nullcontext():
                    for batch in _batches(share.rows()):
                        self._add(share, seen, batch)
                        done(0 if share.only_compared else len(batch))
                    self._seen[share.language, share.part] = seen
                    self._shares += [] if share.only_compared else [share]

    def _add(self, share: Share, seen: _Seen, batch: Sequence[Example]) -> None:
        start = seen.own.count
        for example in batch:
            seen.own.add(example.id, example.texts, example.origin)
            if example.source is not None:
                seen.has_beside = True
            seen.beside.add(example.id, example.source or (), example.origin)
        if share.only_compared:
            return
        for example in batch:
            seen.rows.count(example)
            if self.asks:
                seen.contexts.count(example)
        looked = batch[-start % self.every :: self.every]
        seen.looked += len(looked)
        tally = self._texts.setdefault(share.language, TextTally(share.language))
        for example in looked:
            tally.add(example.texts, example.origin)
            seen.identity.add(example.texts, example.origin)
        if self.pieces is not None and looked:
            for example, found in zip(looked, self.pieces([each.texts for each in looked]), strict=True):
                seen.tokens.add(*found, example.origin)
        if (share.language, share.part) in self.split_up:
            texts = [text for example in looked for text in example.texts]
            seen.characters += sum(map(len, texts))
            seen.sentences += sum(1 for text in texts for each, _ in sentences(text, share.language) if each)

    def found(self) -> Look:
        """Return the findings in all rows that were read."""
        return Look(
            self.name,
            self.model,
            self.labels,
            self.asks,
            self.every,
            [self._part(share) for share in self._shares],
            [self._language(tally) for tally in self._texts.values()],
            list(self._leaks()),
            list(self._pairs()),
        )

    def work(self, job: Translating) -> WorkLook:
        """Return how much text a job has, counted on the rows that were inspected."""
        seen = [self._seen[each] for each in job.parts if each in self._seen]
        rows = sum(len(each.rows) for each in seen)
        scale = [len(each.rows) / each.looked if each.looked else 1 for each in seen]
        lines = round(sum(each.sentences * more for each, more in zip(seen, scale, strict=True)))
        signs = round(sum(each.characters * more for each, more in zip(seen, scale, strict=True)))
        exact = self.every == 1 and not job.made
        return WorkLook(job.route, job.engine, job.source, job.target, rows, lines, signs, exact, job.made)

    def _part(self, share: Share) -> PartLook:
        seen = self._seen[share.language, share.part]
        rows, tokens = seen.rows, seen.tokens
        lengths = None
        if self.pieces is not None:
            longest, place = tokens.longest
            above = tokens.above(share.max_length) if share.max_length else 0
            quantiles = tokens.quantile(0.5), tokens.quantile(0.95)
            lengths = Lengths(*quantiles, max(longest, 0), place, share.max_length, above)
        unlike, unlike_at = rows.unlike()
        empty, empty_at = rows.empty()
        labels = rows.labelled()
        return PartLook(
            language=share.language,
            part=share.part,
            rows=len(rows),
            looked=seen.looked,
            labels={name: labels[number] for number, name in enumerate(self.labels)},
            unlabelled=labels[-1],
            empty=empty,
            empty_at=empty_at,
            again=rows.again(),
            unlike=unlike,
            unlike_at=unlike_at,
            tokens=lengths,
            judged=seen.identity.judged,
            foreign=seen.identity.unlike,
            foreign_at=seen.identity.first,
            foreign_as=next((tag for tag, _ in seen.identity.looks.most_common(1)), ""),
        )

    def _language(self, tally: TextTally) -> LanguageLook:
        language = tally.language
        known = find_language(language)
        tokens = [seen.tokens for (tag, _), seen in self._seen.items() if tag == language]
        pieces = None if self.pieces is None else sum(each.pieces for each in tokens)
        return LanguageLook(
            language=language,
            name=known.name,
            rows=tally.rows,
            characters=tally.characters,
            words=tally.words,
            spaced=known.script not in UNSPACED,
            script=tally.script[0],
            share=tally.script[1],
            kinds=dict(tally.found),
            first=tally.first,
            composed=tally.composed,
            pieces=pieces,
            unknown=sum(each.unknown for each in tokens),
            identified=knows(language),
        )

    def _leaks(self) -> Iterator[LeakLook]:
        """Yield for each part of a language the earlier parts that it shares texts with."""
        for share in self._shares:
            for known in PARTS[: PARTS.index(share.part)] if share.part in PARTS else ():
                earlier, here = self._seen.get((share.language, known)), self._seen[share.language, share.part]
                for what in ("rows", "contexts") if earlier is not None else ():
                    met, places = getattr(here, what).within(getattr(earlier, what))
                    if met:
                        kind = "text" if what == "rows" else "context"
                        yield LeakLook(share.language, known, share.part, kind, met, places)

    def _pairs(self) -> Iterator[PairLook]:
        for language in dict.fromkeys(share.language for share in self._shares):
            parts = [] if language == self.source else [list(self._paired(language, part)) for part in PARTS]
            share = min(1.0, MOST / max(1, sum(map(len, parts))))
            if pairs := [pair for part in parts for pair in part[: int(share * len(part))]]:
                yield PairLook(language=language, source=self.source, **asdict(fit_of(pairs)))

    def _paired(self, language: str, part: str) -> Iterator[tuple[KeptRow, KeptRow]]:
        """Yield the kept rows of a part in a language, each with the row that is its source."""
        here, there = self._seen.get((language, part)), self._seen.get((self.source, part))
        if here is None:
            return
        if here.has_beside:
            both = zip(here.own.rows, here.beside.rows, strict=True)
            yield from ((one, other) for one, other in both if other.text)
        elif there is not None and self.align != "none":

            def place(row: KeptRow) -> str:
                return row.id if self.align == "id" else str(row.number)

            known = {place(row): row for row in there.own.rows}
            yield from ((row, known[place(row)]) for row in here.own.rows if place(row) in known)


def _batches(rows: Iterable[Example]) -> Iterator[list[Example]]:
    reader = iter(rows)
    while batch := list(islice(reader, AT_ONCE)):
        yield batch
