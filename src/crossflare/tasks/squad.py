"""Files of questions: the nested JSON layout of SQuAD, and flat rows of JSONL, Parquet, CSV or TSV.

Contexts, questions and gold answers stay exactly as the file has them, including leading blanks. Each answer must stand
in its context where the file says, counted in code points.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossflare.errors import UserError, nearest
from crossflare.tasks.columns import identity_of, source_of
from crossflare.tasks.example import Answer, Example
from crossflare.tasks.files import Row, format_of
from crossflare.tasks.layout import FileLayout, rows_of
from crossflare.tasks.objects import first_object, load_json


@dataclass(frozen=True, slots=True)
class _Question:
    """One question as the file has it; its answers are not yet checked."""

    place: str
    """`file: question 'id'`, for messages."""
    example: Example


def read_questions(path: Path | str | Sequence[Path], layout: FileLayout | None = None) -> tuple[Example, ...]:
    """Read the questions of one language and part.

    Args:
        path: A `.json` file in SQuAD's layout, data[].paragraphs[].qas[], or flat rows as `rows_of` takes them (a
            `.json` file may also hold JSON lines or a list); or several files, whose questions follow each other.
        layout: How flat rows are written, and which column holds what.

    Returns:
        One example per question with `texts` (question, context), in the file's order. Questions without answers are
        unlabelled. An answer whose `answer_start` is null is not a span of its context.

    Raises:
        UserError: See `rows_of` and `load_json`; or a key is missing, a text is empty, an id occurs twice, an answer
            is not where its offset says, or the offsets of the file count bytes or UTF-16 units.
    """
    paths = [Path(path)] if isinstance(path, Path | str) else list(path)
    layout = layout or FileLayout()
    found: list[_Question] = []
    for each in paths:
        if not is_nested(each, layout):
            found += _flat(each, layout)
            continue
        for name in ("where", "header", "delimiter"):
            if name in layout.given():
                raise UserError(
                    f"{each}: is in SQuAD's layout, which has no columns: {name} means nothing; take it out"
                )
        found += _nested(each)
    return checked_questions(paths[0], [(question.place, question.example) for question in found])


def is_nested(path: Path, layout: FileLayout) -> bool:
    """Whether a file is in SQuAD's layout: a JSON file, unless it holds flat rows."""
    if (layout.format or format_of(path)) != "json":
        return False
    if not path.is_file():
        return True
    first = first_object(path)
    return first is None or not Row(first, str(path)).has(layout.named("context"))


def checked_questions(path: Path | str, questions: Sequence[tuple[str, Example]]) -> tuple[Example, ...]:
    """Return the examples of one file after checking ids, texts and offsets.

    Args:
        path: The file, for messages.
        questions: Each with its place for messages, `file: question 'id'`.

    Raises:
        UserError: See `read_questions`.
    """
    if not questions:
        raise UserError(f"{path}: expected at least one question, found none")
    places: dict[str, str] = {}
    for place, example in questions:
        if example.id in places:
            raise UserError(f"{place} ({example.origin}): the id is taken by {places[example.id]}; make ids unique")
        places[example.id] = example.origin
        for name, text in zip(("question", "context"), example.texts, strict=True):
            if not text.strip():
                raise UserError(f"{place}: the {name} is empty; fill it or drop the question")
        for answer in example.answers:
            if not answer.text.strip():
                raise UserError(f"{place}: an answer is empty; a question without an answer has an empty list of them")
    _check_offsets(path, questions)
    return tuple(example for _, example in questions)


def _at_code_point(context: str, answer: str, start: int) -> bool:
    return start >= 0 and context.startswith(answer, start)


def _at_byte(context: str, answer: str, start: int) -> bool:
    return start >= 0 and context.encode().startswith(answer.encode(), start)


def _at_utf16_unit(context: str, answer: str, start: int) -> bool:
    return start >= 0 and context.encode("utf-16-le").startswith(answer.encode("utf-16-le"), 2 * start)


_UNITS: dict[str, Callable[[str, str, int], bool]] = {
    "UTF-8 bytes": _at_byte,
    "UTF-16 units": _at_utf16_unit,
}


def _check_offsets(path: Path | str, questions: Sequence[tuple[str, Example]]) -> None:
    """Refuse answers that are not where the offsets say; name the unit when another one fits the file better."""
    spans = [
        (place, example.texts[1], answer.text, answer.start)
        for place, example in questions
        for answer in example.answers
        if answer.start is not None
    ]
    wrong = [span for span in spans if not _at_code_point(*span[1:])]
    if not wrong:
        return
    # After plain ASCII all units agree, so a unit is judged by the answers that distinguish units, right ones too:
    # one wrong offset that happens to fit in bytes does not decide for a file that is otherwise in code points.
    telling = [span for span in spans if not span[1].isascii()]
    fits = {unit: sum(at(*span[1:]) for span in telling) for unit, at in _UNITS.items()}
    points = sum(_at_code_point(*span[1:]) for span in telling)
    unit = max(fits, key=lambda name: fits[name])
    if fits[unit] > points:
        raise UserError(
            f"{path}: answer_start counts {unit}, not code points ({fits[unit]} of {len(telling)} answers fit so,"
            f" {points} in code points; the first that does not: {wrong[0][0].removeprefix(f'{path}: ')});"
            " convert the offsets to code points, as Python's str counts"
        )
    place, context, text, start = wrong[0]
    others = f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
    at = context.find(text)
    there = f"the context has it at {at}" if at >= 0 else _nowhere(context, text)
    raise UserError(
        f"{place}: the answer {text!r:.60} is not at answer_start {start}: {there}; correct the row{others}"
    )


def _nowhere(context: str, text: str) -> str:
    """Return why an answer is not found: it may look the same and have other code points."""
    for form in ("NFC", "NFD"):
        if unicodedata.normalize(form, text) in unicodedata.normalize(form, context):
            forms = [
                next((each for each in ("NFC", "NFD") if unicodedata.is_normalized(each, side)), "neither NFC nor NFD")
                for side in (text, context)
            ]
            return (
                "it stands in the context in another Unicode form, which looks the same "
                f"(the answer is in {forms[0]}, the context in {forms[1]}); write the whole file in one form, with "
                "offsets of that form"
            )
    return "it is nowhere in the context"


def _nested(path: Path) -> Iterator[_Question]:
    whole = load_json(path)
    number = 0
    bare, labelled = "", False
    for article in _list(whole, "data", f"{path}"):
        for paragraph in _list(article, "paragraphs", f"{path}: an article of 'data'"):
            before = f"{path}: the paragraph after question number {number}"
            context = _text(paragraph, "context", before)
            for item in _list(paragraph, "qas", before):
                number += 1
                key = _id(item, "id", f"{path}: question number {number}")
                place = f"{path}: question '{key}'"
                texts = (_text(item, "question", place), context)
                answers: tuple[Answer, ...] = ()
                if "answers" in item:
                    answers = tuple(
                        Answer(_text(answer, "text", place), _start(_value(answer, "answer_start", place), place))
                        for answer in _list(item, "answers", place)
                    )
                else:
                    bare = bare or place
                labelled = labelled or bool(answers)
                if bare and labelled:
                    raise UserError(f"{bare}: expected 'answers' as other questions of the file have; use [] for none")
                yield _Question(place, Example(key, texts, origin=f"{path}:{number}", answers=answers))


def _flat(path: Path, layout: FileLayout) -> Iterator[_Question]:
    for _, row in rows_of([path], layout):
        key = identity_of(row, layout.named("id"))
        place = f"{path}: question '{key}'"
        texts = tuple(row.text(layout.named(name)) for name in ("question", "context"))
        source = source_of(row, layout.source_texts) if layout.source_texts else None
        yield _Question(place, Example(key, texts, None, source, row.origin, _answers(row, layout, place)))


def _answers(row: Row, layout: FileLayout, place: str) -> tuple[Answer, ...]:
    pair, one, start = (layout.named(name) for name in ("answers", "answer", "answer_start"))
    if layout.answers is not None or row.has(pair):
        value = row.cell(pair)
        if value is not None:
            return paired_answers(value, place)
    if layout.answer is None and not row.has(one):
        return ()
    text = row.cell(one)
    if text in (None, ""):
        return ()
    return (Answer(row.text(one), _start(row.cell(start), place)),)


def paired_answers(value: Any, place: str) -> tuple[Answer, ...]:
    """Return the answers of a cell {text: [...], answer_start: [...]}; `UserError` when it is anything else."""
    texts, starts = _list(value, "text", place), _list(value, "answer_start", place)
    if len(texts) != len(starts):
        raise UserError(f"{place}: {len(texts)} answer texts, but {len(starts)} in answer_start; give one for each")
    return tuple(
        Answer(_text({"text": text}, "text", place), _start(start, place))
        for text, start in zip(texts, starts, strict=True)
    )


def _value(item: Any, key: str, place: str) -> Any:
    if not isinstance(item, Mapping):
        raise UserError(f"{place}: expected an object with '{key}', found {type(item).__name__} ({item!s:.40})")
    if key not in item:
        raise UserError(f"{place}: expected a key '{key}': {nearest(key, map(str, item)).replace('known', 'found')}")
    return item[key]


def _list(item: Any, key: str, place: str) -> list[Any]:
    value = _value(item, key, place)
    if not isinstance(value, list):
        raise UserError(f"{place}: '{key}' should hold a list, found {type(value).__name__} ({value!s:.40})")
    return value


def _text(item: Any, key: str, place: str) -> str:
    value = _value(item, key, place)
    if not isinstance(value, str):
        raise UserError(f"{place}: '{key}' should hold text, found {type(value).__name__} ({value!s:.40})")
    if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise UserError(f"{place}: '{key}' holds half of a surrogate pair; write whole characters")
    return value


def _id(item: Any, key: str, place: str) -> str:
    value = _value(item, key, place)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    identity = _text(item, key, place)
    if not identity:
        raise UserError(f"{place}: the id is empty; give each question one")
    return identity


def _start(value: Any, place: str) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise UserError(f"{place}: answer_start should be a whole number, found {value!r:.40}")
    return value
