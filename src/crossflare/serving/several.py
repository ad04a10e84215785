"""Several trained adapters behind one call: each text goes to the adapter of its language.

Adapters of labels on one base with one stage 1 share a model. A batch then mixes their rows, and all sources are read
in one pass. Any other adapter has a model of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossflare import devices
from crossflare.errors import UserError, choose
from crossflare.fusion.saved.adapter_check import check_folder
from crossflare.fusion.saved.several import load_adapters, mixes_rows, stands_on
from crossflare.languages import tag_of
from crossflare.languages.identify import chooser
from crossflare.recipe.engines import model_place
from crossflare.serving.adapter import Prepared, TrainedAdapter, load_trained
from crossflare.serving.card import Saved, open_saved, other_base
from crossflare.serving.prediction import Prediction, predictions_of, threshold_of
from crossflare.serving.rows import Text, check_batch_size, items_of, ready, states_of
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base
from crossflare.training.forms.protocol import choices
from crossflare.training.loop.batching import batches, in_order
from crossflare.training.loop.memory import resolve
from crossflare.training.text.collators import PairCollator
from crossflare.translation.engines.protocol import Translator


@dataclass(frozen=True)
class _Asked:
    """The rows of one adapter among those of a call."""

    places: list[int]
    """Their indices among all rows."""
    rows: Prepared
    threshold: float


@dataclass(frozen=True, eq=False)
class TrainedAdapters:
    """Trained adapters by the language of their texts, or by any name that the caller gave; see `open_adapters`."""

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

        Args:
            texts: N texts, or pairs of texts where the adapter's task has two.
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
        names = self._named(given, languages)
        beside = None if sources is None else items_of(sources, "sources", "text")
        if beside is not None and len(beside) != len(given):
            raise UserError(f"{len(given)} texts but {len(beside)} sources; give each text a source, or None")
        engines = {self._name(name): engine for name, engine in (translators or {}).items()}
        asked = {name: self._asked(name, given, beside, names, engines, coverage) for name in dict.fromkeys(names)}
        found: list[Prediction | None] = [None] * len(given)
        for name in asked.keys() - frozenset(name for shared in self._shared for name in shared):
            said = self._members[name].answer(asked[name].rows, coverage=coverage, batch_size=batch_size)
            _put(found, asked[name], said)
        for shared in self._shared:
            if here := {name: part for name, part in asked.items() if name in shared}:
                self._mixed(here, shared, found, batch_size)
        return [each for each in found if each is not None]

    def token_counts(self, name: str, texts: Sequence[Text]) -> list[int]:
        """Return how many tokens each text has for the adapter `name`, as far as it reads; 0 for no texts."""
        member = self._members[name]
        pairs = [(text,) if isinstance(text, str) else text for text in texts]
        sides = [[*side] for side in zip(*pairs, strict=True)]
        most = member.reading.max_length if member.long == "cut" and member.task.labels else 1 << 20
        return [min(len(ids), most) for ids in member.tokenizer(*sides, verbose=False)["input_ids"]] if sides else []

    def _name(self, name: object) -> str:
        """Return the name of an adapter that a caller names."""
        if isinstance(name, str) and name in self.saved:
            return name
        tag = tag_of(name) if isinstance(name, str) else str(name)
        return tag if tag in self.saved else str(choose("language", str(name), self.saved))

    def _named(self, texts: Sequence[Any], languages: str | Iterable[str] | None) -> list[str]:
        """Return the name of each text's adapter."""
        if isinstance(languages, str):
            return [self._name(languages)] * len(texts)
        if languages is not None:
            named = items_of(languages, "languages", "language")
            if len(named) != len(texts):
                raise UserError(
                    f"{len(texts)} texts but {len(named)} languages; give one for each text, or one for all"
                )
            return [self._name(name) for name in named]
        if len(self.saved) == 1:
            return [*self.saved] * len(texts)
        look = chooser(self.saved)
        return [look(text if isinstance(text, str) else "\n".join(map(str, text))) for text in texts]

    def _asked(
        self,
        name: str,
        texts: Sequence[Any],
        sources: Sequence[Any] | None,
        names: Sequence[str],
        engines: Mapping[str, Translator],
        coverage: float | None,
    ) -> _Asked:
        """Return the rows of an adapter, with their sources."""
        saved, places = self.saved[name], [place for place, other in enumerate(names) if other == name]
        own = None if sources is None else [sources[place] for place in places]
        if own is not None and saved.kind.reads not in ("both", "latents") and not any(own):
            own = None  # this one reads no source, and the others' sources are not its own
        engine = engines.get(name)
        rows, reads = ready(saved, [texts[place] for place in places], own, engine, None)
        states = states_of(saved, rows, engine) if reads == "latents" else None
        prepared = self._members[name].prepare(rows, reads, states=states)
        return _Asked(places, prepared, threshold_of(saved, coverage))

    def _mixed(
        self,
        asked: Mapping[str, _Asked],
        in_peft: Mapping[str, str],
        found: list[Prediction | None],
        batch_size: int,
    ) -> None:
        """Put the predictions of the adapters on one model into `found`."""
        names = [in_peft[name] for name, part in asked.items() for _ in part.places]
        first = self._members[next(iter(asked))]
        encoded = _Together([row for part in asked.values() for row in part.rows.tokens])
        longest = max(member.reading.max_length for member in map(self._members.__getitem__, asked))
        collate = PairCollator(first.tokenizer, longest, with_source=True)
        number = resolve(first.reading.precision, next(first.model.parameters()).device)
        parts: list[tuple[list[int], Tensor]] = []
        for places, batch in batches(first.model, encoded, collate, batch_size, number, "predicting"):
            output = first.model(**batch, adapter_names=[names[place] for place in places])
            parts.append((places, output.logits.float().cpu()))
        widest = max(part.shape[1] for _, part in parts)
        logits = in_order([(places, _widened(part, widest)) for places, part in parts])
        begin = 0
        for name, part in asked.items():
            saved, rows = self.saved[name], part.rows
            own = logits[begin : begin + len(part.places), : len(saved.task.labels)]
            begin += len(part.places)
            said = choices(own, torch.full_like(own, torch.nan))
            _put(
                found, part, predictions_of(saved.task, said, rows.sources, rows.cut, saved.calibration, part.threshold)
            )


class _Together(list[Any]):
    """The tokenised rows of several adapters."""

    @property
    def names(self) -> list[str]:
        """A name for each row."""
        return [str(place) for place in range(len(self))]

    @property
    def lengths(self) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """The number of tokens of each row, target and source together."""
        sides = ((row.target, row.source) for row in self)
        return np.array([sum(len(side.ids) for side in both if side is not None) for both in sides], dtype=np.int64)


def _put(found: list[Prediction | None], part: _Asked, said: Sequence[Prediction]) -> None:
    for place, each in zip(part.places, said, strict=True):
        found[place] = each


def _widened(logits: Tensor, width: int) -> Tensor:
    """Return logits [B,K] as [B,width]."""
    return torch.nn.functional.pad(logits, (0, width - logits.shape[1]), value=float("-inf"))


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
    if not places:
        raise UserError("open_adapters: expected at least one adapter, got none; give {language: folder}")
    saved = {name: open_saved(place) for name, place in places.items()}
    members: dict[str, TrainedAdapter] = {}
    shared: list[Mapping[str, str]] = []
    for names in _alike(saved):
        in_peft = {name: f"adapter-{number}" for number, name in enumerate(names)}
        if len(names) > 1 and (loaded := _load_together(saved, in_peft, base, device)):
            members |= loaded
            shared.append(in_peft)
        else:
            members |= {
                name: load_trained(saved[name], base=other_base(saved[name], base), device=device) for name in names
            }
    return TrainedAdapters(saved, members, shared)


def _alike(saved: Mapping[str, Saved]) -> list[list[str]]:
    """Return the names in groups: those in one group may share a model."""
    groups: dict[object, list[str]] = {}
    for name, each in saved.items():
        groups.setdefault(_model_of(each) or name, []).append(name)
    return list(groups.values())


def _model_of(saved: Saved) -> tuple[object, ...] | None:
    """Return all that adapters on one model have in common; None for one that needs a model of its own."""
    kind = saved.kind
    by_head = isinstance(saved.task, TextTask) and saved.answering == "head" and saved.long == "cut"
    alone = kind.joins or kind.padded or kind.mixes != "none" or kind.reads not in ("target", "both")
    if kind.learns != "adapter" or alone or not by_head or saved.base.quantise != "none":
        return None
    return (*stands_on(check_folder(saved.folder)), saved.base, saved.reading_in_training().precision)


def _load_together(
    saved: Mapping[str, Saved], in_peft: Mapping[str, str], base: str | None, device: str | torch.device | None
) -> dict[str, TrainedAdapter]:
    """Load adapters on one model; none if their rows cannot be mixed there."""
    here = [saved[name] for name in in_peft]
    first = next((each for each in here if each.kind.fuses), here[0])
    other, where = other_base(first, base), devices.chosen(device)
    named = other or first.base
    found = load_base(
        model_place(named.name),
        first.task,
        first.answering,
        revision=named.revision,
        seed=first.card.get("seed") or 0,
        called=named.name,
        download=other is not None,
        device=where,
    )
    folders = {own: saved[name].folder for name, own in in_peft.items()}
    model = load_adapters(found.model, folders, base=found.identity)
    if not mixes_rows(model):
        return {}
    model = devices.to_device(model, where)
    return {
        name: TrainedAdapter(
            **vars(saved[name]), model=model, tokenizer=found.tokenizer, reading=saved[name].reading_in_training()
        )
        for name in in_peft
    }
