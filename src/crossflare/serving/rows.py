"""A caller's texts as rows: with the sources that the adapter reads, and checked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from crossflare.errors import UserError
from crossflare.libraries.threads import turn
from crossflare.recipe.kinds import Reads
from crossflare.serving.card import Saved
from crossflare.serving.languages import languages_of
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask
from crossflare.training.forms.protocol import Form
from crossflare.training.text.prompts import check_filled
from crossflare.translation.engines.protocol import Translator
from crossflare.translation.states import encode_rows
from crossflare.translation.translate import for_long_texts

Text = str | tuple[str, ...]
"""The content of one row: a text; or two, premise and hypothesis, or question and context."""


ALONE = "sources=[None, ...] reads the texts alone"
ADVICE: Mapping[Reads, str] = {
    "both": f"give them as sources, or a translator; {ALONE}",
    "latents": f"give its engine, `Transformers`, as translator; {ALONE}",
}


def given_rows(
    saved: Saved, texts: Iterable[Text], sources: Iterable[Text | None] | None, translator: Translator | None
) -> tuple[list[Example], Reads]:
    """Return a caller's N texts as rows with the sources that he gives, and what the adapter reads of each.

    Raises:
        UserError: See `TrainedAdapter.predict`.
    """
    examples, any_source = examples_from(texts, sources, saved.task.text_count)
    if not examples:
        return [], "target"
    return examples, reads_of(saved, given_of(sources is not None, any_source, translator), ADVICE)


def ready(
    saved: Saved,
    texts: Iterable[Text],
    sources: Iterable[Text | None] | None,
    translator: Translator | None,
    language: str | None,
) -> tuple[list[Example], Reads]:
    """Return a caller's N texts as rows with their sources, and what the adapter reads of each.

    Raises:
        UserError: See `TrainedAdapter.predict`.
    """
    examples, reads = given_rows(saved, texts, sources, translator)
    if translator is not None and reads == "both":
        examples = translated(saved, examples, translator, language)
    return examples, reads


def check_batch_size(batch_size: object) -> None:
    """Raise `UserError` for a batch without rows."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size: expected at least 1, got {batch_size!r:.100}")


def text_columns(task: Task) -> tuple[str, ...]:
    """Return the usual columns of a task's texts."""
    if isinstance(task, QuestionTask):
        return ("question", "context")
    return ("text",) if task.text_count == 1 else ("premise", "hypothesis")


def examples_from(
    texts: Iterable[Text], sources: Iterable[Text | None] | None, count: int
) -> tuple[list[Example], bool]:
    """Return N texts as examples, and whether any of them has a source.

    Args:
        texts: N texts, or pairs of texts.
        sources: N sources of the same shape, None for a row without one; None: the caller gives no sources.
        count: Texts of each row: 1 or 2.

    Raises:
        UserError: A value has the wrong type or shape, or there are more or fewer sources than texts.
    """
    rows = [row_texts(text, f"texts[{n}]", count) for n, text in enumerate(items_of(texts, "texts", "text"))]
    if sources is None:
        return [_example(n, row, None) for n, row in enumerate(rows)], False
    found = [
        None if each is None else row_texts(each, f"sources[{n}]", count)
        for n, each in enumerate(items_of(sources, "sources", "text"))
    ]
    if len(found) != len(rows):
        raise UserError(f"{len(rows)} texts but {len(found)} sources; give each text a source, or None")
    made = [_example(n, *each) for n, each in enumerate(zip(rows, found, strict=True))]
    return made, any(each is not None for each in found)


def text_of(texts: tuple[str, ...] | None) -> Text | None:
    """Return the texts of an example in the shape that callers use."""
    return texts[0] if texts is not None and len(texts) == 1 else texts


def _example(number: int, texts: tuple[str, ...], source: tuple[str, ...] | None) -> Example:
    return Example(str(number), texts, source=source, origin=f"texts[{number}]")


def items_of(values: object, name: str, item: str) -> list[Any]:
    """Return the values of a caller's argument `name` as a list of `item`s.

    Raises:
        UserError: They are not a list, or they are an iterator that fails before its end.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise UserError(f"{name}: expected a list, got {_kind(values)}; one {item} goes into a list: [{item}]")
    found: list[Any] = []
    try:
        found.extend(cast(Iterable[Any], values))
    except Exception as error:  # any error of the caller's own code
        said = f"{type(error).__name__}: {error}"
        raise UserError(f"{name}: failed after {len(found)} items ({said:.200}); correct what makes them") from error
    return found


def row_texts(value: object, where: str, count: int) -> tuple[str, ...]:
    """Return the texts of one row.

    Raises:
        UserError: They have the wrong type or number, or hold half of a surrogate pair.
    """
    wanted = "a text" if count == 1 else "a pair of texts"
    parts = cast(Sequence[Any], value) if isinstance(value, tuple | list) else (value,)
    texts = tuple(str(part) for part in parts if isinstance(part, str))
    if len(parts) != count or isinstance(value, str) != (count == 1) or len(texts) < count:
        found = f"({', '.join(map(_kind, parts[:3]))})" if isinstance(value, tuple | list) else _kind(value)
        raise UserError(f"{where}: expected {wanted}, got {found}; this adapter's task has {count} text(s)")
    check_signs(texts, where)
    return texts


def check_signs(texts: Iterable[str], where: str) -> None:
    """Raise `UserError` for a text with half of a surrogate pair, which no library below can encode."""
    if any("\ud800" <= sign <= "\udfff" for text in texts if not text.isascii() for sign in text):
        raise UserError(f"{where}: holds half of a surrogate pair; give whole characters")


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


Given = Literal["nothing", "alone", "texts", "translator", "encoder"]
"""What the caller gives as sources: nothing; only None; texts; a translator; or a translator that has states, too."""


def given_of(sources: bool, any_source: bool, translator: object) -> Given:
    """Return what a caller gives as sources: whether sources are given, whether one is there, and what translates.

    Raises:
        UserError: There are sources and a translator, or the translator is not an engine.
    """
    if translator is None:
        return "nothing" if not sources else "texts" if any_source else "alone"
    if sources:
        raise UserError("expected sources or a translator, got both; leave one out")
    if not isinstance(translator, Translator):
        kind = type(translator).__name__
        raise UserError(f"translator: expected an engine with `identity` and `translate`, got {kind}; give an engine")
    return "encoder" if hasattr(translator, "encode") else "translator"


def reads_of(saved: Saved, given: Given, advice: Mapping[Reads, str]) -> Reads:
    """Return what an adapter reads of each row.

    Args:
        saved: The adapter.
        given: What the caller gives as sources.
        advice: What the adapter should read -> what the caller can do, in the words of the caller's interface.

    Raises:
        UserError: The adapter needs a source and there is none that it reads, or there is one and it reads none.
    """
    wanted = saved.kind.reads
    if wanted not in ("both", "latents"):
        if given not in ("nothing", "alone"):
            raise UserError(f"{saved.folder}: {saved.name} reads no source; leave it out")
        return wanted
    if given == "alone":
        return "target"
    if wanted == "latents" and given != "encoder":
        model = saved.train_source.get("model")
        raise UserError(
            f"{saved.folder}: {saved.name} reads the states of the translation model {model}; {advice[wanted]}"
        )
    if given == "nothing":
        source = saved.card.get("source")
        raise UserError(
            f"{saved.folder}: this adapter reads texts with their translations into '{source}'; {advice[wanted]}"
        )
    return wanted


def translated(
    saved: Saved, examples: Sequence[Example], engine: Translator, language: str | None = None
) -> list[Example]:
    """Return examples with the translations of their texts as their sources; texts may have any length."""
    return translated_together([(languages_of(saved, language), examples, engine)])[0]


def translated_together(
    parts: Sequence[tuple[tuple[str, str], Sequence[Example], Translator]],
) -> list[list[Example]]:
    """Return the examples of each part with the translations of their texts as their sources.

    An engine gets each text once for each pair of languages, and only one thread at a time.

    Args:
        parts: The languages that `languages_of` returns, examples, and the engine that translates them.
    """
    asked: dict[tuple[int, str, str], tuple[Translator, dict[str, None]]] = {}
    for pair, examples, engine in parts:
        _, texts = asked.setdefault((id(engine), *pair), (engine, {}))
        texts.update(dict.fromkeys(text for example in examples for text in example.texts))
    done: dict[tuple[int, str, str], dict[str, str]] = {}
    for (number, source, target), (engine, texts) in asked.items():
        with turn(engine):
            said = for_long_texts(engine).translate([*texts], source=source, target=target)
        done[number, source, target] = dict(zip(texts, said, strict=True))
    return [
        [example.with_source(tuple(done[id(engine), *pair][text] for text in example.texts)) for example in examples]
        for pair, examples, engine in parts
    ]


def states_of(saved: Saved, examples: Sequence[Example], engine: Any) -> list[Any]:
    """Return the states of the translation encoder that FLARE MT was trained with, for each row.

    Raises:
        UserError: The engine is another one.
    """
    made, wanted = dict(engine.identity), saved.train_source
    # The name of a translator that a recipe trained is its content id, which stands for the revision, too.
    named = ("model",) if wanted.get("engine") == "trained" else ("model", "revision")
    for name in named:
        if made.get(name) != wanted.get(name):
            raise UserError(
                f"the adapter was trained with the translation {name} {wanted.get(name)}, this engine has "
                f"{made.get(name)}; give the same model"
            )
    with turn(engine):
        return encode_rows(engine, [example.texts for example in examples], str(saved.card.get("language")))


def check_texts(saved: Saved, examples: Sequence[Example]) -> None:
    """Raise `UserError` for a row without a text if the model answers in words."""
    if saved.answering == "text":
        check_filled(examples)


def cut_rows(form: Form, examples: Sequence[Example]) -> list[bool]:
    """Return whether each of N rows, or its source, is longer than the window.

    A form counts such rows among many at once; most rows are not cut, so that only halves with some are looked at.
    """
    if not any(form.truncated(examples).values()):
        return [False] * len(examples)
    if len(examples) == 1:
        return [True]
    half = len(examples) // 2
    return cut_rows(form, examples[:half]) + cut_rows(form, examples[half:])


def without_blanks(examples: Sequence[Example]) -> list[Example]:
    """Return examples without those sources that hold only white space."""
    return [example.with_source(None) if is_bare(example) else example for example in examples]


def is_bare(example: Example) -> bool:
    """Return whether the source is missing or blank."""
    return example.source is None or not any(text.strip() for text in example.source)
