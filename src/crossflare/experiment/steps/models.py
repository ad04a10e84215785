"""The models of an experiment on top of stage 1, or of the base itself: stage 2, in a target language."""

from dataclasses import asdict, dataclass, field
from typing import Any

from crossflare.disk.files import CARD, content_id, read_json
from crossflare.experiment.data.controls import joined_tag, read_alone, with_labelled_sources
from crossflare.experiment.steps.context import Context, by_language
from crossflare.experiment.steps.stage1 import Model, Stage1, base_work
from crossflare.experiment.steps.step import NotReadyError, Step
from crossflare.recipe.kinds import Kind
from crossflare.recipe.methods import SHAPING, MethodSpec
from crossflare.recipe.spec import Training, changed
from crossflare.tasks.example import Split

MIXING_OPTIONS = ("mix_block", "mix_blocks")
"""The options of a method that say in which blocks FILTER or X-Mixup mixes."""


_NOT_OF_THE_ADAPTER = {"name", "of", "languages", "trained_in", "test_source", "lr", "epochs", "r", "alpha"}
"""The options of a method that do not describe its adapter, or that its training contains."""


@dataclass(frozen=True)
class Stage2(Model):
    """One model: a method in one language (or a joint one) with one seed and one learning rate."""

    context: Context = field(compare=False, repr=False)
    method: MethodSpec
    languages: tuple[str, ...]
    """The BCP-47 tags: one, or all languages of a joint adapter."""
    seed: int
    lr: float | None = None
    """The learning rate; None: the one with the best dev score."""
    listed: bool = True
    """Whether the recipe lists the method; otherwise it is the adapter that another method goes through."""

    kind = "stage 2"

    @classmethod
    def of(cls, context: Context, method: MethodSpec, language: str, seed: int) -> "Stage2":
        """Return the adapter that a method uses in a language: that language's, another language's, or the joint one.

        There is one probe for all seeds: it has nothing random.
        """
        trained = context.spec.trained(method)
        seed = context.spec.seeds[0] if trained.about.learns == "probe" else seed
        own = method.trained_in or trained.trained_in or language
        return cls(context, trained, context.spec.languages(trained) if trained.joint else (own,), seed)

    @property
    def language(self) -> str:
        """The languages as in names of files, records and labels: joined by `+`."""
        return joined_tag(self.languages)

    @property
    def label(self) -> str:
        """The label for people."""
        rate = f", lr {self.lr:g}" if self.lr is not None else ""
        return f"{self.method.name}, {self.language}, seed {self.seed}{rate}"

    @property
    def method_kind(self) -> str:
        """The kind of its method."""
        return self.method.kind

    @property
    def about(self) -> Kind:
        """The properties of the method's kind."""
        return self.method.about

    @property
    def training(self) -> Training:
        """The training settings, with all learning rates to try."""
        return self.context.spec.training(self.method)

    @property
    def reads(self) -> str:
        """The source that it trains with, such as `original`, `machine`, `latents` (encoder states) or `none`."""
        return self.method.training_source

    @property
    def stage1(self) -> Stage1:
        """The stage 1 of its seed."""
        return Stage1(self.context, self.seed)

    @property
    def start(self) -> "Stage1 | Stage2":
        """The model that it starts from: stage 1, or the LoRA model of the language that the method goes through."""
        method, through = self.method, self.method.through
        if through is None:
            return self.stage1
        own = {name: getattr(method, name) for name in ("lr", "epochs", "r", "alpha")}
        lora = MethodSpec(f"{method.name}:{through}", "lora", **own)
        return Stage2(self.context, lora, (through,), self.seed, listed=False)

    @property
    def splits(self) -> tuple[Split, Split]:
        """The train and dev rows in the target language with their sources, or the sources alone in their place.

        For a method with a loss on both languages, the training sources also have their answers.
        """
        train, dev = self.context.training_rows(self.languages, self.reads, self.seed)
        if self.about.mixes == "published" and self.stage1.training.trains:
            train = with_labelled_sources(train, self.stage1.splits[0])
        return (train, dev) if self.about.reads != "source" else (read_alone(train), read_alone(dev))

    @property
    def made_by(self) -> dict[str, Any] | None:
        """The engine that made the training sources, by language if there are several; None: the set's own text."""
        return by_language(self.languages, lambda each: self.context.data.identity(each, self.reads))

    @property
    def translated_by(self) -> dict[str, Any] | None:
        """The engine that translated the training rows, in the form of `made_by`."""
        return by_language(self.languages, self.context.data.translations.identity_to_target)

    def translation_counts(self) -> dict[str, Any]:
        """Return how many questions kept their answer, and how many translations look wrong, by part and route.

        A joint adapter has no such counts.
        """
        language, *others = self.languages
        if others:
            return {}
        source = self.context.training_source(self.reads)
        train, dev = (self.context.data.translated(language, part, source) for part in ("train", "dev"))
        flagged = {part: rows.flagged for part, rows in (("train", train), ("dev", dev)) if rows.flagged}
        lost = {} if train.lost is None else {"projection": asdict(train.lost)}
        return lost | ({"translation": flagged} if flagged else {})

    @property
    def trials(self) -> "list[Stage2]":
        """One adapter for each learning rate, with the first seed; empty when there is nothing to choose."""
        rates = self.training.lrs
        if len(rates) == 1 or self.about.learns == "probe":
            return []
        first = self.context.spec.seeds[0]
        return [Stage2(self.context, self.method, self.languages, first, rate) for rate in rates]

    @property
    def rate(self) -> float:
        """The learning rate; of several, the one with the best dev score (the smallest of equals).

        Raises:
            NotReadyError: Not all learning rates have been tried.
        """
        if self.lr is not None:
            return self.lr
        if not self.trials:
            return self.training.lrs[0]
        return max(self.trial_scores(), key=lambda trial: (trial["dev_score"], -trial["lr"]))["lr"]

    def trial_scores(self) -> list[dict[str, float]]:
        """Return the dev score of each learning rate that was tried."""
        scores: list[dict[str, float]] = []
        for trial in self.trials:
            if not trial.done():
                raise NotReadyError
            assert trial.lr is not None
            scores.append({"lr": trial.lr, "dev_score": float(read_json(trial.path / CARD)["training"]["dev_score"])})
        return scores

    @property
    def size(self) -> int:
        """The most optimizer steps that it makes; for a probe, the number of rows that it reads."""
        rows = sum(self.context.data.size(each, "train") for each in self.languages)
        return rows if self.about.learns == "probe" else self.optimizer_steps(rows)

    @property
    def same_work(self) -> str:
        """A key that is equal where cells share the step."""
        spec = self.context.spec
        own = {name: value for name, value in asdict(self.method).items() if name not in _NOT_OF_THE_ADAPTER}
        training, translation = asdict(self.training), asdict(spec.translation)
        return content_id([base_work(self), own, self.reads, self.language, training, translation, self.lr])

    @property
    def repeats_a_trial(self) -> bool:
        """Whether it is the adapter of the chosen rate and the first seed, which one of its trials has already made."""
        return self.lr is None and bool(self.trials) and self.seed == self.context.spec.seeds[0]

    @property
    def link(self) -> str:
        """The adapter's name for people; empty for a trial."""
        return f"{self.method.name}-{self.language}-seed{self.seed}" if self.lr is None and self.listed else ""

    def contents(self) -> dict[str, Any]:
        """Return the content that the id is the hash of."""
        about = self.about
        if about.learns == "probe":
            return self._contents_of_probe()
        shaping = SHAPING if about.fuses else tuple(set(MIXING_OPTIONS) & about.options)
        differing = changed(self.method, MethodSpec(self.method.name, self.method.kind))
        own = {name: value for name, value in differing.items() if name in shaping}
        own |= self.method.adapter.options
        if about.reads == "both" and self.reads == "none":  # the rows of `original`, read without their sources
            own["train_source"] = "none"
        return {
            "stage": 2,
            "stage1": self.start.id,
            "kind": self.method.kind,
            "adapter": own,
            "rows": self.context.training_key(self.languages, self.reads),
            "training": {**self.training.deciding(), "lr": self.rate},
            "seed": self.seed,
        }

    def _contents_of_probe(self) -> dict[str, Any]:
        """Return the content of a probe's id: the base, its rows, and how they are read."""
        context, read = self.context, self.training.deciding()
        names = {"max_length", "precision"} | ({"stride"} if context.spec.task.long == "windows" else set[str]())
        return {
            "probe": 1,
            "base": context.base_key,
            "labels": context.data.task.labels,
            "rows": context.training_key(self.languages, self.reads),
            "training": {name: value for name, value in read.items() if name in names},
            **context.spec.task.choosing(),
        }

    def needs(self) -> list[Step]:
        """Return the model that it starts from, and the trials that choose the learning rate; a probe needs nothing."""
        if self.about.learns == "probe":
            return []
        return [self.start, *(self.trials if self.lr is None else [])]


__all__ = ["MIXING_OPTIONS", "Model", "NotReadyError", "Stage1", "Stage2"]
