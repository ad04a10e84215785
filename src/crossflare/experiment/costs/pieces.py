"""The pieces of work of one recipe: each translation and each step, with its operations, memory and disk."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil

from crossflare.disk.files import content_id
from crossflare.experiment.costs.operations import LOADING, NF4, Operations, forward, training, weight_bytes, writing
from crossflare.experiment.costs.rows import RowCounts
from crossflare.experiment.costs.shapes import Accelerator, ModelShape, shape_of
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.experiment.steps.step import Step
from crossflare.recipe.engines import Translating, jobs
from crossflare.recipe.kinds import Kind
from crossflare.recipe.spec import Training
from crossflare.recipe.translation import is_translated

PROMPT = 12
"""Tokens of a prompt around the texts, and of an answer in training, where a model answers in words. Assumed."""
SENTENCE = 40
"""Tokens of a sentence, where long texts are translated sentence by sentence. Assumed."""
BATCH_TOKENS = 4096
"""Source tokens of a translator's batch where the recipe says nothing: the engine's own default."""
LETTER_BYTES = 6
"""Bytes of text for a token, in the files of translations and predictions. Assumed."""
COUNTED = ("transformers", "ct2")
"""Engines whose model is counted; any other takes no time of a graphics card."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of work; pieces of several cells with one key are made once."""

    key: str
    seconds: float
    needs: tuple[str, ...] = ()
    memory: float = 0.0
    """Peak bytes on the card."""
    disk: float = 0.0
    """Bytes that it leaves behind."""
    scratch: float = 0.0
    """Bytes of its checkpoints, while it trains."""


class RecipePieces:
    """The pieces of one recipe on one kind of card.

    Raises:
        UserError: The sizes of a model are not known, or rows that have to be counted are not at hand.
    """

    def __init__(self, context: Context, card: Accelerator) -> None:
        self._context, self._spec, self._card = context, context.spec, card
        self._base, self._counts = shape_of(self._spec.model.name), RowCounts(context)
        self._quantised = self._spec.model.quantise != "none"
        self._moved = weight_bytes(self._quantised)
        self._writes = self._spec.task.form == "text"
        self._keys: dict[Step, str] = {}

    @property
    def models(self) -> dict[str, float]:
        """Model -> the bytes of its files, with 4 bytes a weight: some are published in 2."""
        names = {self._spec.model.name: self._base}
        names |= {name: shape_of(name) for name in map(self._model, ("to_target", "to_source", "latents")) if name}
        return {name: 4.0 * shape.weights for name, shape in names.items()}

    def all(self) -> Iterator[Piece]:
        """Yield every piece after those it needs."""
        translations = [job for job in jobs(self._spec) if job.route != "latents"]
        keys = [self._key_of(job) for job in translations]
        yield from map(self._translation, translations, keys)
        for step in all_steps(self._context):
            before = [keys[place] for place, job in enumerate(translations) if _waits(step, job)]
            yield self._piece(step, (*before, *map(self._key, step.needs())))

    def _key(self, step: Step) -> str:
        if step not in self._keys:
            self._keys[step] = f"{step.kind} {step.same_work}"
        return self._keys[step]

    def _model(self, route: str) -> str | None:
        options = getattr(self._spec.translation, route)
        return str(options.options.get("model")) if options is not None and options.engine in COUNTED else None

    # translations

    def _key_of(self, job: Translating) -> str:
        task = {name: value for name, value in asdict(self._spec.task).items() if name not in ("form", "words", "long")}
        return content_id([task, asdict(job), asdict(getattr(self._spec.translation, job.route))])

    def _translation(self, job: Translating, key: str) -> Piece:
        options, name = getattr(self._spec.translation, job.route), self._model(job.route)
        rows = sum(self._counts.rows(*part) for part in job.parts)
        read, written = (self._counts.tokens(each) for each in (job.source, job.target))
        disk = rows * written * LETTER_BYTES
        if name is None:
            return Piece(key, 0.0, disk=disk)
        shape = shape_of(name)
        pieces = max(self._counts.texts, ceil(read / SENTENCE))
        together = max(1, int(options.options.get("tokens_per_batch", BATCH_TOKENS) * pieces / read))
        beams = int(options.options.get("beams", 4))
        done = forward(shape, rows * pieces, read / pieces, together, 2)
        done += writing(shape, rows * pieces, written / pieces, together, 2, beams)
        seconds = done.seconds(self._card) + 4 * shape.weights / LOADING
        memory = 2 * shape.weights + 12 * together * beams * shape.vocabulary
        return Piece(key, seconds, memory=memory, disk=disk)

    # steps

    def _piece(self, step: Step, needs: tuple[str, ...]) -> Piece:
        if step.repeats_a_trial:
            return Piece(self._key(step), 0.0, needs)
        if isinstance(step, Stage1 | Stage2):
            return self._model_piece(step, needs)
        assert isinstance(step, PredictionStep)
        rows = self._counts.rows(step.language, step.split)
        disk = rows * 200.0  # a row of predictions as JSON, and the text of an answer
        if step.about.outside or step.about.combines not in ("", "own source"):
            return Piece(self._key(step), 0.0, needs, disk=disk)
        own = step.model_method.about if step.about.combines else step.about
        sourced = step.test_source not in ("none", "latents")
        done = self._read(own, rows, step.language, step.training, sourced)
        seconds = done.seconds(self._card, self._quantised) + self._loaded
        return Piece(self._key(step), seconds, needs, self._weights + self._activations(own, step.training, 0.1), disk)

    def _model_piece(self, step: Stage1 | Stage2, needs: tuple[str, ...]) -> Piece:
        about, plan = step.about, step.training
        sourced = isinstance(step, Stage2) and step.reads not in ("none", "latents")
        train, dev = (sum(self._size(each, part) for each in step.languages) for part in ("train", "dev"))
        language, whole = step.languages[0], about.learns == "model"
        if about.learns == "probe":
            done = self._read(about, train, language, plan, sourced)
        elif plan.trains:
            done = self._learn(about, train, language, plan, sourced, whole=whole) * plan.epochs
            done += self._read(about, dev, language, plan, sourced) * plan.evaluations
        else:
            done = Operations()
        done += self._encoded(about, train + dev, language)
        learnt = self._base.weights if whole else self._base.adapter(plan.r, plan.modules == "all")
        learnt = (learnt + (0 if self._writes else self._base.hidden**2)) if plan.trains else 0
        seconds = done.seconds(self._card, self._quantised) + self._loaded
        memory = self._weights + 16 * learnt + self._activations(about, plan, 1.0)
        return Piece(self._key(step), seconds, needs, memory, 4 * learnt, 2 * 16 * learnt)

    def _size(self, language: str, part: str) -> int:
        translated = self._spec.translation.translates
        return self._counts.rows(self._spec.source if translated else language, part)

    @property
    def _loaded(self) -> float:
        return 4 * self._base.weights / LOADING

    @property
    def _weights(self) -> float:
        base = self._base
        return (NF4 if self._quantised else 4) * base.linear + 4 * base.embeddings

    def _activations(self, about: Kind, plan: Training, share: float) -> float:
        """Return the bytes that a batch of the longest rows keeps for the backward pass; a `share` where none comes."""
        base, streams = self._base, 2 if about.joins or about.mixes != "none" else 1
        kept = 2 * (10 * base.hidden + (4 if base.gated else 3) * base.ffn)
        kept = 2 * base.hidden if plan.activation_checkpointing else kept
        states = 2 * base.hidden if about.fuses else 0
        return share * plan.batch_size * plan.max_length * streams * base.blocks * (kept + states)

    def _length(self, language: str, plan: Training) -> float:
        """Return the tokens that the model reads of a row: cut, or in windows that overlap for questions."""
        tokens, most = self._counts.tokens(language), plan.max_length
        if tokens > most:
            tokens = tokens * most / (most - min(plan.stride, most // 2)) if self._spec.task.asks else most
        return tokens + (PROMPT if self._writes else 0)

    def _learn(
        self, about: Kind, rows: int, language: str, plan: Training, sourced: bool, *, whole: bool
    ) -> Operations:
        own, other = self._length(language, plan), self._length(self._spec.source, plan)
        batch, moved = plan.batch_size, self._moved
        if about.joins:
            own = own + other
        elif about.reads == "source":
            own = other
        done = training(self._base, rows, own, batch, moved, whole=whole)
        if plan.activation_checkpointing:
            done += forward(self._base, rows, own, batch, moved)
        if about.mixes != "none":
            done += training(self._base, rows, other, batch, moved, whole=whole)
        elif about.fuses and sourced:
            done += forward(self._base, rows, other, batch, moved)
        return done

    def _read(self, about: Kind, rows: int, language: str, plan: Training, sourced: bool) -> Operations:
        own, other = self._length(language, plan), self._length(self._spec.source, plan)
        batch, moved = plan.batch_size, self._moved
        tokens = own + other if about.joins else other if about.reads == "source" else own
        done = forward(self._base, rows, tokens, batch, moved)
        second = (about.fuses and sourced) or about.mixes != "none"
        done += forward(self._base, rows, other, batch, moved) if second else Operations()
        if self._writes and self._spec.task.asks:
            decoders = 2 if second and self._base.encoder else 1
            done += writing(self._base, rows, plan.answer_tokens, batch, moved) * decoders
        return done + self._encoded(about, rows, language)

    def _encoded(self, about: Kind, rows: int, language: str) -> Operations:
        """Return the translation encoder's reading of the target texts, once for a step."""
        name = self._model("latents") if about.reads == "latents" else None
        if name is None:
            return Operations()
        tokens, shape = self._counts.tokens(language), shape_of(name)
        encoder = ModelShape(shape.encoder, 0, shape.hidden, shape.ffn, shape.heads, shape.head_size, shape.vocabulary)
        return forward(encoder, rows, tokens, max(1, int(BATCH_TOKENS / tokens)), 2)


def _waits(step: Step, job: Translating) -> bool:
    """Return whether a step reads what a job translates."""
    language = job.target if job.route == "to_target" else job.source
    if isinstance(step, Stage2):
        back = job.made and is_translated(step.reads)
        return language in step.languages and (job.route == "to_target" or back)
    return isinstance(step, PredictionStep) and step.language == language and job.route == "to_source" and not job.made
