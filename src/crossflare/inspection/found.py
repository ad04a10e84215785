"""The findings of a look at rows, as plain values that JSON holds, and the rows that cannot be trained on."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from crossflare.errors import UserError
from crossflare.inspection.counting import Places

FORMAT = 1


@dataclass(frozen=True)
class Lengths:
    """Tokens of the rows of a part, including special ones."""

    median: int
    p95: int
    longest: int
    longest_at: str
    limit: int
    """`max_length` of the stage that reads the rows; 0: none is set."""
    above: int
    """Rows that are longer: they are cut or, for questions, read in several windows."""


@dataclass(frozen=True)
class PartLook:
    """One part in one language."""

    language: str
    part: str
    rows: int
    looked: int
    """Rows whose characters and tokens were inspected."""
    labels: dict[str, int]
    unlabelled: int
    empty: int
    empty_at: str
    again: int
    """Rows with the text of an earlier row."""
    unlike: int
    """Rows with the text of an earlier row and another label than that row's."""
    unlike_at: Places
    tokens: Lengths | None
    judged: int = 0
    """Rows whose language the language identifier can judge; 0 also where none is installed."""
    foreign: int = 0
    """Rows among these that do not look like the language."""
    foreign_at: str = ""
    """The first of these rows."""
    foreign_as: str = ""
    """The language that most of these rows look like."""


@dataclass(frozen=True)
class LanguageLook:
    """The texts of one language, all parts together."""

    language: str
    name: str
    rows: int
    characters: int
    words: int
    spaced: bool
    """Whether words are written apart."""
    script: str
    """The script of most letters."""
    share: float
    """The share of all letters that are in this script."""
    kinds: dict[str, int]
    """See `KINDS`."""
    first: dict[str, str]
    composed: int
    pieces: int | None
    """The pieces that the base's tokenizer makes of the texts, without special tokens; None: no base was named."""
    unknown: int
    identified: bool | None = None
    """Whether the language identifier knows the language; None: none is installed."""

    @property
    def unknown_share(self) -> float:
        """The share of pieces that the base does not know."""
        return self.unknown / self.pieces if self.pieces else 0.0


@dataclass(frozen=True)
class LeakLook:
    """Rows of a part that are also in an earlier part."""

    language: str
    known: str
    """The earlier part."""
    part: str
    what: str
    """`text`, or `context` of a question."""
    rows: int
    places: Places


@dataclass(frozen=True)
class Fit:
    """How well texts fit the sources that they are paired with."""

    rows: int
    """Pairs that were compared."""
    fit: float
    """Share of other rows' sources that a text's own source beats, the mean over texts: 0.5 by chance."""
    copied: int
    """Texts that equal their source, sign by sign."""
    parallel: bool | None
    """False: they look like texts of different content. None: there are too few, or there is no evidence."""
    shift: int | None = None
    """Each shifted text fits the source this many ids or rows further on."""
    by: str = "rows"
    """`ids` where the distance is measured in ids."""
    shifted: int = 0
    """Texts that are clearly shifted; if the whole part is shifted, all of them."""
    places: Places = field(default_factory=list[tuple[str, str]])
    """(the text, the source that fits it) of the first of them."""


@dataclass(frozen=True, kw_only=True)
class PairLook(Fit):
    """The texts of one language compared with those of the source language."""

    language: str
    source: str


@dataclass(frozen=True)
class WorkLook:
    """What is translated into one language: see `Translating`."""

    route: str
    engine: str
    source: str
    target: str
    rows: int
    sentences: int
    characters: int
    exact: bool
    """False: counted on some of the rows, or on the rows whose translations will be the texts."""
    made: bool
    """The texts are themselves translations."""


@dataclass(frozen=True)
class Look:
    """All findings."""

    name: str
    model: str
    labels: list[str]
    asks: bool
    """Whether the rows are questions."""
    every: int
    """The characters and tokens of one row in this many were inspected; all rows were counted and compared."""
    parts: list[PartLook]
    languages: list[LanguageLook]
    leaks: list[LeakLook] = field(default_factory=list[LeakLook])
    pairs: list[PairLook] = field(default_factory=list[PairLook])
    work: list[WorkLook] = field(default_factory=list[WorkLook])

    def values(self) -> dict[str, Any]:
        """Return the findings as plain values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of(cls, values: Any, place: str) -> "Look":
        """Return the look whose `values` these are.

        Raises:
            UserError: The values are something else; the message names the place.
        """
        try:
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']}")
            made: dict[str, Any] = {name: [kind(**each) for each in values[name]] for name, kind in _KINDS.items()}
            made["parts"] = [_with_lengths(part) for part in made["parts"]]
            rest: dict[str, Any] = {each.name: values[each.name] for each in fields(cls) if each.name not in made}
            return cls(**made, **rest)
        except (TypeError, KeyError, ValueError) as error:
            said = f"{place}: expected what a look at the data found, of format {FORMAT}, got something else ({error})"
            raise UserError(f"{said}; delete it and run the recipe again", "artefact") from error


_KINDS: dict[str, Any] = {
    "parts": PartLook,
    "languages": LanguageLook,
    "leaks": LeakLook,
    "pairs": PairLook,
    "work": WorkLook,
}
"""Field of `Look` -> the class of the items in its list."""


def _with_lengths(part: PartLook) -> PartLook:
    """Return a part whose lengths are values from JSON as one with `Lengths`."""
    given: Any = part.tokens
    return part if given is None else replace(part, tokens=Lengths(**given))


LONGEST = 30_000
"""With this many tokens a row is not a text but a file in one cell."""


def refused(look: Look) -> list[str]:
    """Return a line for each part with a row that cannot be meant as one text."""
    return [
        f"{part.tokens.longest_at}: one row of {part.tokens.longest:,} tokens, expected a text of fewer than "
        f"{LONGEST:,}; look for a quote that is not closed, or split the row"
        for part in look.parts
        if part.tokens is not None and part.tokens.longest >= LONGEST
    ]
