"""The one way to load a trained adapter: `crossflare run`, `predict` and `analyse` use it, and so does Python."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossflare import devices
from crossflare.evaluation.scoring import predict, read_tokens, tokens_of
from crossflare.fusion.saved.adapter_files import load_adapter
from crossflare.fusion.saved.tensor_files import MODEL, PROBE, check_tensor_folder, load_tensors
from crossflare.recipe.engines import model_place
from crossflare.recipe.kinds import Reads
from crossflare.recipe.spec import ModelSpec
from crossflare.serving.card import ReadSettings, Saved, open_saved, other_base
from crossflare.serving.languages import language_of
from crossflare.serving.prediction import Prediction, positions_of, predictions_of, threshold_of
from crossflare.serving.push import parcel_of
from crossflare.serving.rows import (
    Text,
    check_batch_size,
    check_texts,
    cut_rows,
    ready,
    states_of,
    text_of,
    without_blanks,
)
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask
from crossflare.training.bases.load import Base, load_base
from crossflare.training.forms.make import make_form, prepare
from crossflare.training.forms.protocol import Form, Outputs
from crossflare.training.loop.checkpoints import put_trained, trained
from crossflare.training.loop.state import Rows
from crossflare.training.probe import Probe
from crossflare.training.text.encoded import Latents
from crossflare.translation.engines.protocol import Translator

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class Prepared:
    """N rows as tokens, ready for the model."""

    form: Form
    examples: Sequence[Example]
    tokens: Rows
    sources: Sequence[Text | None]
    cut: Sequence[bool]
    """Whether a row, or its source, is longer than the window."""


@dataclass(frozen=True, eq=False)
class TrainedAdapter(Saved):
    """A trained adapter on its base model, ready to read.

    Besides `model` and `tokenizer` it has what its folder says: `folder`, `card`, `task`, `kind`.
    """

    model: Any = field(repr=False)
    """The base with stage 1 merged and the adapter on it, a probe of the base, or the base trained on; in eval mode, on
    its device."""
    tokenizer: Any = field(repr=False)
    reading: ReadSettings

    def predict(
        self,
        texts: Iterable[Text],
        sources: Iterable[Text | None] | None = None,
        *,
        translator: Translator | None = None,
        coverage: float | None = None,
        language: str | None = None,
        batch_size: int = 64,
    ) -> list[Prediction]:
        """Predict the label of each text, or the answer to each question.

        >>> adapter = crossflare.open_adapter("runs/reviews/adapters/flare-sw-seed0")
        >>> said = adapter.predict(["filamu mbaya", "hadithi nzuri"], ["bad film", None])
        >>> said[0].label in adapter.task.labels, 0 <= said[0].score <= 1, said[1].source
        (True, True, None)

        Args:
            texts: N texts; for a task of two texts N pairs: (premise, hypothesis), or (question, context).
            sources: The same N texts in the adapter's source language, for an adapter that reads them. A row whose
                source is None or blank is read alone.
            translator: The engine that makes the sources instead; for FLARE MT, the engine whose states the adapter was
                trained on.
            coverage: The share of rows to answer, above 0 and at most 1, if the rows are like the dev rows. The others,
                on which the adapter is least sure, get no label. None: every row is answered.
            language: The language of the texts, for an adapter of several languages: it selects the temperature, and
                the language to translate from. None: the adapter's language, if it has only one.
            batch_size: Rows in one forward pass; it changes only the last digits.

        Returns:
            N predictions, in the order of the texts; none for no texts. Their probabilities are calibrated if the
            adapter's card has a temperature, and each prediction says so.

        Raises:
            UserError: Texts or sources have the wrong type, shape or number; the adapter reads sources and there are
                none, or it reads none and there are some; or a text is empty and the model answers in words.
        """
        check_batch_size(batch_size)
        language = language_of(self, language)
        examples, reads = ready(self, texts, sources, translator, language)
        if not examples:
            return []
        states = states_of(self, examples, translator) if reads == "latents" else None
        rows = self.prepare(examples, reads, states=states)
        return self.answer(rows, coverage=coverage, language=language, batch_size=batch_size)

    def push_to_hub(self, name: str, *, licence: str | None = None, **options: Any) -> str:
        """Push its folder to the model hub, whole and in one commit, and return the commit's address.

        Args:
            name: `owner/name`.
            licence: See `parcel_of`.
            options: `private`, `branch`, `token`, `message` and `create_pr`: see `upload`.

        Raises:
            UserError: See `parcel_of` and `upload`.
        """
        return parcel_of(self.folder, name, licence).push(name, **options)

    def prepare(self, examples: Sequence[Example], reads: Reads, *, states: Latents | None = None) -> "Prepared":
        """Return N rows as tokens, with their sources if `reads` says so; no model is run.

        Args:
            examples: The rows.
            reads: See `reads_of`.
            states: For FLARE MT, what `states_of` returns.
        """
        check_texts(self, examples)
        rows, form = without_blanks(examples), self.form(with_source=reads == "both")
        sources = [text_of(row.source) if reads == "both" else None for row in rows]
        return Prepared(form, rows, tokens_of(form, rows, states), sources, cut_rows(form, rows))

    def answer(
        self, rows: "Prepared", *, coverage: float | None = None, language: str | None = None, batch_size: int = 64
    ) -> list[Prediction]:
        """Return the predictions for N rows; `language` is the tag that `language_of` returns. See `predict`."""
        threshold = threshold_of(self, coverage, language)
        outputs = self.outputs(rows, batch_size)
        return predictions_of(self.task, outputs, rows.sources, rows.cut, self.calibration_in(language), threshold)

    def outputs(self, rows: "Prepared", batch_size: int = 64) -> Outputs:
        """Run the model on N prepared rows and return its outputs."""
        return read_tokens(self.model, rows.form, rows.examples, rows.tokens, batch_size, self.reading.precision)

    def read(
        self, examples: Sequence[Example], reads: Reads, *, latents: Latents | None = None, batch_size: int = 64
    ) -> Outputs:
        """Run the model on N rows and return its outputs, as they are scored and kept; see `predict` in `scoring`."""
        return predict(
            self.model,
            self.form(with_source=reads == "both"),
            examples,
            read=reads,
            latents=latents,
            batch_size=batch_size,
            precision=self.reading.precision,
        )

    def form(self, *, with_source: bool) -> Form:
        """Return the form in which the model reads the task, with a source for each row or without."""
        longest = positions_of(self.model) // (2 if self.kind.joins else 1)
        return make_form(
            self.task,
            self.answering,
            self.model,
            self.tokenizer,
            min(self.reading.max_length, longest),
            with_source=with_source,
            joined=self.kind.joins,
            mixes=self.kind.mixes,
            padded=self.kind.padded,
            long=self.long,
            stride=self.reading.stride,
            answer_tokens=self.reading.answer_tokens,
            words=self.card["task"].get("words"),
        )


def open_adapter(
    folder_or_hub_id: str | Path,
    *,
    base: str | None = None,
    revision: str | None = None,
    device: "str | torch.device | None" = None,
) -> TrainedAdapter:
    """Open an adapter that `crossflare run` trained, with all that it needs to predict.

    >>> adapter = crossflare.open_adapter("runs/reviews/adapters/flare-sw-seed0")
    >>> adapter.task.labels
    ('bad', 'good')

    Args:
        folder_or_hub_id: A folder; or, if there is no such folder, a name on the model hub, `owner/name` or
            `owner/name@revision`. Of it the files that its manifest names are fetched, if they are not in the cache.
        base: The folder or hub name of the base model, which may be fetched. None: the one that the adapter names,
            which must be on this machine, since an adapter's files start no look-up.
        revision: The commit, tag or branch of the adapter on the hub.
        device: The device as torch names it, such as `cpu` or `cuda:1`; None: the best one (see `CROSSFLARE_DEVICE`).

    Raises:
        UserError: The folder is incomplete or was not trained by `crossflare run`, the hub does not provide it, or the
            base is not on this machine or is another one.
    """
    saved = open_saved(folder_or_hub_id, revision)
    return load_trained(saved, base=other_base(saved, base), device=device)


def load_trained(
    saved: Saved,
    *,
    base: ModelSpec | None = None,
    reading: ReadSettings | None = None,
    device: "str | torch.device | None" = None,
) -> TrainedAdapter:
    """Load an adapter's base model and put the adapter on it.

    Args:
        saved: The adapter.
        base: The base that the caller names, which may be fetched. None: the one that the card names, which may not.
        reading: How rows are read; None: as in training.
        device: See `open_adapter`.

    Raises:
        UserError: See `open_adapter`.
    """
    card, named, where = saved.card, base or saved.base, devices.chosen(device)
    first = saved.stage1 if named.quantise != "none" else None
    found = load_base(
        model_place(named.name),
        saved.task,
        saved.answering,
        revision=named.revision,
        seed=card.get("seed") or 0,
        called=named.name,
        quantise=named.quantise,
        merge=first,
        download=base is not None,
        device=where,
    )
    if saved.kind.learns == "adapter":
        model = _with_adapter(saved, found, merged=first is not None)
    else:
        model = (_probe if saved.kind.learns == "probe" else _model)(saved, found)
    return TrainedAdapter(
        **vars(saved),
        model=devices.to_device(model, where),
        tokenizer=found.tokenizer,
        reading=reading or saved.reading_in_training(),
    )


def _with_adapter(saved: Saved, found: Base, *, merged: bool) -> "nn.Module":
    """Put an adapter on its base, which may have stage 1 `merged` into it."""
    asks = isinstance(saved.task, QuestionTask)
    prepared = prepare(found.model, saved.kind.mixes, saved.card.get("mixing") or {}, asks=asks)
    with warnings.catch_warnings():
        # peft uses a name that transformers will drop; a caller of crossflare cannot change that.
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.*", FutureWarning)
        return load_adapter(prepared, saved.folder, base=found.identity, merged=merged)


def _probe(saved: Saved, found: Base) -> "nn.Module":
    """Put the regression of a probe over its base."""
    probe = Probe(found.model, len(saved.task.labels)).eval()
    probe.put(load_tensors(check_tensor_folder(saved.folder, PROBE), probe.shapes(), found.identity))
    return probe


def _model(saved: Saved, found: Base) -> "nn.Module":
    """Replace all weights of the base by the trained ones."""
    model: Any = found.model.requires_grad_(True)
    shapes = {name: tuple(weight.shape) for name, weight in trained(model).items()}
    put_trained(model, load_tensors(check_tensor_folder(saved.folder, MODEL), shapes, found.identity))
    return model.requires_grad_(False).eval()
