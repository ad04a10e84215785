"""Projection in several ways; each way gets the rows where the ones before it failed."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from crossflare.errors import UserError, choose
from crossflare.tasks.example import Answer, Example
from crossflare.translation.projection.search import THRESHOLD, Marker, mark, search, unmark
from crossflare.translation.projection.spans import (
    Aligner,
    Labelled,
    Projected,
    Span,
    Way,
    Yield,
    carry_span,
    count_yield,
    links,
)

Translate = Callable[[Sequence[str]], Sequence[str]]
"""A function from the source language to the target language, as `partial(translate_all, store, engine, ...)`."""
WAYS = (Way.MARKERS, Way.FUZZY, Way.ALIGNMENT)
"""The ways, ordered by their exact spans in docs/results/projection.md, with a lexicon for the alignment."""


def project(
    rows: Sequence[Labelled],
    translate: Translate,
    *,
    markers: Sequence[Marker] = (),
    aligner: Aligner | None = None,
    ways: Sequence[str] = WAYS,
    translations: Sequence[str] | None = None,
    threshold: float = THRESHOLD,
) -> list[Projected]:
    """Translate texts and find their spans again.

    Args:
        rows: Rows in the source language.
        translate: The engine; it gets many texts at once.
        markers: For the way `markers`; the next marker is for rows where one failed. Without any the way is left out,
            as it is for spans that overlap.
        aligner: For the way `alignment`; without it that way is left out.
        ways: The ways, in the order in which they are tried; markers always come first, for they change the
            translation.
        translations: The texts in the target language, if they exist already; then nothing is marked.
        threshold: The threshold of the fuzzy way.

    Returns:
        One per row, in order, even where nothing was found.

    Raises:
        UserError: A way is unknown, or the translations are not one per row.
    """
    chosen = [Way(choose("way of projection", way, [each.value for each in Way])) for way in ways]
    if translations is not None and len(translations) != len(rows):
        raise UserError(f"expected one translation per row, found {len(translations)} for {len(rows)} rows")
    done: list[Projected | None] = [None] * len(rows)
    for marker in markers if translations is None and Way.MARKERS in chosen else ():
        places = [place for place, row in enumerate(rows) if done[place] is None and marker.can_mark(row)]
        marked = translate([mark(rows[place], marker) for place in places])
        for place, text in zip(places, marked, strict=True):
            if (clean := unmark(text, rows[place], marker)) is not None:
                done[place] = Projected(*clean, (Way.MARKERS,) * len(clean[1]))
    left = [place for place, row in enumerate(done) if row is None]
    given = [translations[place] for place in left] if translations else translate([rows[place].text for place in left])
    wanted = [rows[place].texts() if Way.FUZZY in chosen else () for place in left]
    alone = iter(translate([text for texts in wanted for text in texts]))
    for place, text, texts in zip(left, given, wanted, strict=True):
        spans = [next(alone) for _ in texts]
        done[place] = _find(rows[place], text, spans, [way for way in chosen if way != Way.MARKERS], aligner, threshold)
    return [row for row in done if row is not None]


def project_answers(
    examples: Sequence[Example],
    translate: Translate,
    language: str,
    *,
    markers: Sequence[Marker] = (),
    aligner: Aligner | None = None,
) -> tuple[list[Example], Yield]:
    """Translate questions with their contexts and carry their answers over; rows where that fails are left out.

    Args:
        examples: `texts` is (question, context); answers are spans of the context, or none.
        translate: A translator from the language of `examples` to `language`.
        language: BCP-47 tag of the target language.
        markers: See `project`.
        aligner: See `project`.

    Returns:
        The examples in the target language, with the originals as their source; and the counts of what was lost.
    """
    rows = [Labelled(example.texts[1], _answer_spans(example)) for example in examples]
    projected = project(rows, translate, markers=markers, aligner=aligner)
    questions = translate([example.texts[0] for example in examples])
    made: list[Example] = []
    for example, question, row in zip(examples, questions, projected, strict=True):
        if not row.whole or any(answer.start is None for answer in example.answers):
            continue
        answers = tuple(Answer(row.text[span.start : span.end], span.start) for span in row.spans if span is not None)
        made.append(replace(example, texts=(question, row.text), source=example.texts, answers=answers))
    return made, replace(count_yield(language, projected), dropped=len(examples) - len(made))


def _answer_spans(example: Example) -> tuple[Span, ...]:
    placed = [(answer.start, answer.text) for answer in example.answers if answer.start is not None]
    return tuple(Span(start, start + len(text)) for start, text in dict.fromkeys(placed) if text)


def _find(
    row: Labelled, text: str, alone: Sequence[str], ways: Sequence[Way], aligner: Aligner | None, threshold: float
) -> Projected:
    """Find each span by the first way that finds it."""
    spans: list[Span | None] = [None] * len(row.spans)
    found: list[Way | None] = [None] * len(row.spans)
    for way in ways:
        open_ones = [number for number, span in enumerate(spans) if span is None]
        if way is Way.ALIGNMENT and aligner is not None and open_ones and row.text and text:
            pairs = links(aligner.scores(row.text, text))
            for number in open_ones:
                spans[number] = carry_span(row.text, row.spans[number], text, pairs)
        elif way is Way.FUZZY:
            for number in open_ones:
                old = row.spans[number]
                near = (old.start + old.end) / 2 / len(row.text)
                spans[number] = search(alone[number], text, near, threshold, old.label)
        for number in open_ones:
            found[number] = way if spans[number] is not None else None
    return Projected(text, tuple(spans), tuple(found))
