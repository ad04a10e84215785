"""Several trained adapters behind one call: each text goes to the adapter of its language.

Adapters of labels on one base with one stage 1 share a model. A batch then mixes their rows, and all sources are read
in one pass. Any other adapter has a model of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from crossflare.errors import UserError
from crossflare.recipe.kinds import Reads
from crossflare.serving.adapter import TrainedAdapter, load_trained
from crossflare.serving.card import Saved, open_saved, other_base
from crossflare.serving.languages import languages_of
from crossflare.serving.prediction import Prediction, predictions_of, threshold_of
from crossflare.serving.routing import by_name, check_names, names_of
from crossflare.serving.rows import (
    Text,
    check_batch_size,
    given_rows,
    items_of,
    row_texts,
    states_of,
    translated_together,
)
from crossflare.serving.sharing import alike, load_together
from crossflare.serving.together import choices_together
from crossflare.tasks.example import Example
from crossflare.training.text.encoded import Latents, encode_side
from crossflare.translation.engines.protocol import Translator


@dataclass(slots=True)
class _Part:
    """The rows of one adapter among those of a call."""

    places: list[int]
    """Their indices among all rows."""
    examples: list[Example]
    reads: Reads
    engine: Translator | None
    threshold: float


@dataclass(frozen=True, eq=False)
class TrainedAdapters:
    """Trained adapters by the language of their texts, or by any name that the caller gave; see `open_adapters`.

    Threads may call it at the same time; `await asyncio.to_thread(adapters.predict, texts)` does so from a coroutine.
    """

    saved: Mapping[str, Saved]
    """Name -> the adapter's folder and card."""
    _members: Mapping[str, TrainedAdapter] = field(repr=False)
    """Name -> the adapter on its model, which others may share."""
    _shared: Sequence[Mapping[str, str]] = field(repr=False)
    """For each model that several adapters share: name -> the adapter's name in peft."""

    def predict(
        self,
        texts: Iterable[Text],
        sources: Iterable[Text | None] | None = None,
        *,
        languages: str | Iterable[str] | None = None,
        translators: Mapping[str, Translator] | None = None,
        coverage: float | None = None,
        batch_size: int = 64,
    ) -> list[Prediction]:
        """Predict the label of each text, or the answer to each question, with the adapter of its language.

        >>> adapters = crossflare.open_adapters({"sw": "runs/reviews/adapters/flare-sw-seed0"})
        >>> said = adapters.predict(["filamu mbaya", "hadithi nzuri"], ["bad film", None], languages="sw")
        >>> said[0].label in adapters.saved["sw"].task.labels
        True

        All texts and predictions are in memory at once; `crossflare predict` reads and writes files of any size.

        Args:
            texts: N texts, or pairs of texts where the adapter's task has two: a list, a generator, a column of a
                data set.
            sources: The same N texts in the adapters' source languages; None in a row that is read alone, or whose
                adapter reads none.
            languages: The name of each text's adapter, or one name for all. None: a language identifier chooses among
                the names, which must be languages (extra `language-id`); with one adapter, it is that one.
            translators: Name -> the engine that makes the sources of its texts instead; see `TrainedAdapter.predict`.
            coverage: See `TrainedAdapter.predict`.
            batch_size: Rows in one forward pass; it changes only the last digits.

        Returns:
            N predictions, in the order of the texts.

        Raises:
            UserError: A name is not that of an adapter, or an adapter refuses its texts (see `TrainedAdapter.predict`).
        """
        check_batch_size(batch_size)
        given = items_of(texts, "texts", "text")
        names = names_of(self.saved, given, languages)
        beside = None if sources is None else items_of(sources, "sources", "text")
        if beside is not None and len(beside) != len(given):
            raise UserError(f"{len(given)} texts but {len(beside)} sources; give each text a source, or None")
        engines = by_name(self.saved, translators, "translators")
        parts = {
            name: self._part(name, given, beside, names, engines.get(name), coverage) for name in dict.fromkeys(names)
        }
        self._translate(parts)
        found: list[Prediction | None] = [None] * len(given)
        for name, said in self._predictions(parts, coverage, batch_size).items():
            for place, each in zip(parts[name].places, said, strict=True):
                found[place] = each
        return [each for each in found if each is not None]

    def token_counts(self, name: str, texts: Iterable[Text]) -> list[int]:
        """Return how many tokens of each text the adapter with this name reads, special ones included."""
        member = self._members[name]
        longest = None if member.long == "windows" else member.reading.max_length
        rows = [row_texts(text, "texts", member.task.text_count) for text in texts]
        return encode_side(member.tokenizer, rows, longest, "counting tokens").lengths.tolist()

    def _part(
        self,
        name: str,
        texts: Sequence[Any],
        sources: Sequence[Any] | None,
        names: Sequence[str],
        engine: Translator | None,
        coverage: float | None,
    ) -> _Part:
        """Return the rows of an adapter, checked, with the sources that the caller gives."""
        saved, places = self.saved[name], [place for place, other in enumerate(names) if other == name]
        own = None if sources is None else [sources[place] for place in places]
        if own is not None and saved.kind.reads not in ("both", "latents") and not any(own):
            own = None  # this one reads no source, and the others' sources are not its own
        examples, reads = given_rows(saved, [texts[place] for place in places], own, engine)
        return _Part(places, examples, reads, engine, threshold_of(saved, coverage))

    def _translate(self, parts: Mapping[str, _Part]) -> None:
        """Give the rows their translations: a text in one language goes to an engine once, for all its adapters."""
        wanted = [
            (name, part, part.engine)
            for name, part in parts.items()
            if part.reads == "both" and part.engine is not None
        ]
        made = translated_together(
            [(languages_of(self.saved[name]), part.examples, engine) for name, part, engine in wanted]
        )
        for (_, part, _), examples in zip(wanted, made, strict=True):
            part.examples = examples

    def _predictions(
        self, parts: Mapping[str, _Part], coverage: float | None, batch_size: int
    ) -> dict[str, list[Prediction]]:
        """Return the predictions for each adapter's rows."""
        rows = {name: self._members[name].prepare(part.examples, part.reads, states=self._states(name, part))
                for name, part in parts.items()}  # fmt: skip
        mixed = {name for shared in self._shared for name in shared}
        found = {
            name: self._members[name].answer(own, coverage=coverage, batch_size=batch_size)
            for name, own in rows.items()
            if name not in mixed
        }
        for shared in self._shared:
            if here := {name: own for name, own in rows.items() if name in shared}:
                for name, said in choices_together(self._members, here, shared, batch_size).items():
                    saved, own = self.saved[name], rows[name]
                    found[name] = predictions_of(
                        saved.task, said, own.sources, own.cut, saved.calibration, parts[name].threshold
                    )
        return found

    def _states(self, name: str, part: _Part) -> Latents | None:
        return states_of(self.saved[name], part.examples, part.engine) if part.reads == "latents" else None


def open_adapters(
    places: Mapping[str, str | Path], *, base: str | None = None, device: str | torch.device | None = None
) -> TrainedAdapters:
    """Open several adapters that `crossflare run` trained, to predict texts of many languages in one call.

    >>> adapters = crossflare.open_adapters({"sw": "runs/reviews/adapters/flare-sw-seed0"})
    >>> list(adapters.saved)
    ['sw']

    Args:
        places: The language of the texts, as a tag, or any other name -> a folder, or a name on the hub.
        base: The folder or hub name of the base model, for all of them; see `open_adapter`.
        device: See `open_adapter`.

    Raises:
        UserError: There is no adapter, two names are one language, or one cannot be opened (see `open_adapter`).
    """
    if not isinstance(cast(object, places), Mapping) or not places:
        given = "none" if isinstance(cast(object, places), Mapping) else type(places).__name__
        raise UserError(f"open_adapters: expected at least one adapter, got {given}; give {{language: folder}}")
    check_names(places)
    saved = {name: open_saved(place) for name, place in places.items()}
    members: dict[str, TrainedAdapter] = {}
    shared: list[Mapping[str, str]] = []
    for names in alike(saved):
        in_peft = {name: f"adapter-{number}" for number, name in enumerate(names)}
        if len(names) > 1 and (loaded := load_together(saved, in_peft, base, device)):
            members |= loaded
            shared.append(in_peft)
        else:
            members |= {
                name: load_trained(saved[name], base=other_base(saved[name], base), device=device) for name in names
            }
    return TrainedAdapters(saved, members, shared)
