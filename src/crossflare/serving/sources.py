"""What a trained adapter reads beside a text: a given source, a translator's, the states of its encoder, or nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from crossflare.errors import UserError
from crossflare.languages import tag_of
from crossflare.recipe.kinds import Reads
from crossflare.serving.card import Saved
from crossflare.tasks.example import Example
from crossflare.translation.engines.protocol import Translator
from crossflare.translation.states import encode_rows
from crossflare.translation.translate import for_long_texts

Given = Literal["nothing", "alone", "texts", "translator", "encoder"]
"""What the caller says of the sources: nothing; that there are none; texts; what translates, and maybe has states."""


def reads_of(saved: Saved, given: Given, advice: Mapping[Reads, str]) -> Reads:
    """Return what an adapter is given to read.

    Args:
        saved: The adapter.
        given: What there is.
        advice: What the adapter should read -> what the caller can do, in the words of its own interface.

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


def languages_of(saved: Saved) -> tuple[str, str]:
    """Return the language of an adapter's texts, and that of their sources.

    Raises:
        UserError: The adapter was trained on several languages at once.
    """
    language = str(saved.card.get("language"))
    if "+" in language:
        raise UserError(
            f"{saved.folder}: it reads several languages ({language}), so which one to translate is not known; "
            "translate the texts first and give the translations"
        )
    return tag_of(language), tag_of(str(saved.card.get("source")))


def translated(saved: Saved, examples: Sequence[Example], engine: Translator) -> list[Example]:
    """Return examples with the translations of their texts, of any length, as their sources."""
    source, target = languages_of(saved)
    texts = [text for example in examples for text in example.texts]
    done = iter(for_long_texts(engine).translate(texts, source=source, target=target))
    return [example.with_source(tuple(next(done) for _ in example.texts)) for example in examples]


def states_of(saved: Saved, examples: Sequence[Example], engine: Any) -> list[Any]:
    """Return the states of the translation encoder that FLARE MT was trained with, for each row.

    Raises:
        UserError: The engine is another one than that.
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
    return encode_rows(engine, [example.texts for example in examples], str(saved.card.get("language")))


def without_blanks(examples: Sequence[Example]) -> list[Example]:
    """Return examples of which a source that holds nothing but white space is none."""
    return [example.with_source(None) if is_bare(example) else example for example in examples]


def is_bare(example: Example) -> bool:
    """Whether nothing of the source is there: no translation, or a blank one."""
    return example.source is None or not any(text.strip() for text in example.source)
