"""The models of an experiment that stand on stage 1, or on the base itself: stage 2, in a target language."""

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
"""Options of a method that say where another way of mixing is."""


_NOT_OF_THE_ADAPTER = {"name", "of", "languages", "trained_in", "test_source", "lr", "epochs", "r", "alpha"}
"""Options of a method that say nothing of its adapter, or that its training says."""


@dataclass(frozen=True)
class Stage2(Model):
    """One adapter: a method in one language with one seed and one learning rate."""

    context: Context = field(compare=False, repr=False)
    method: MethodSpec
    languages: tuple[str, ...]
    """BCP-47 tags: one, or all of a joint adapter."""
    seed: int
    lr: float | None = None
    """None: the one that did best on the dev rows."""
    listed: bool = True
    """Whether the recipe lists the method; else it is what another method goes through."""

    kind = "stage 2"

    @classmethod
    def of(cls, context: Context, method: MethodSpec, language: str, seed: int) -> "Stage2":
        """Return the adapter that a method reads in a language: that language's, another one's, or the joint one.

        Of a probe there is one for all seeds: nothing in it is drawn.
        """
        trained = context.spec.trained(method)
        seed = context.spec.seeds[0] if trained.about.learns == "probe" else seed
        own = method.trained_in or trained.trained_in or language
        return cls(context, trained, context.spec.languages(trained) if trained.joint else (own,), seed)

    @property
    def language(self) -> str:
        """The languages as names of files, records and labels have them: joined by `+`."""
        return joined_tag(self.languages)

    @property
    def label(self) -> str:
        """What a person reads."""
        rate = f", lr {self.lr:g}" if self.lr is not None else ""
        return f"{self.method.name}, {self.language}, seed {self.seed}{rate}"

    @property
    def method_kind(self) -> str:
        """The kind of its method."""
        return self.method.kind

    @property
    def about(self) -> Kind:
        """What the method's kind is made of."""
        return self.method.about

    @property
    def training(self) -> Training:
        """How it trains; all of the rates to try."""
        return self.context.spec.training(self.method)

    @property
    def reads(self) -> str:
        """Which source it trains with: `original` or `machine` text, `latents` of a translation encoder, or `none`."""
        return self.method.training_source

    @property
    def stage1(self) -> Stage1:
        """The model it starts from."""
        return Stage1(self.context, self.seed)

    @property
    def start(self) -> "Stage1 | Stage2":
        """The model that it stands on: stage 1, or the one with LoRA of the language that the method goes through."""
        method, through = self.method, self.method.through
        if through is None:
            return self.stage1
        own = {name: getattr(method, name) for name in ("lr", "epochs", "r", "alpha")}
        lora = MethodSpec(f"{method.name}:{through}", "lora", **own)
        return Stage2(self.context, lora, (through,), self.seed, listed=False)

    @property
    def splits(self) -> tuple[Split, Split]:
        """Train and dev rows in the target language, with their sources; or their sources in their place.

        A method with a loss on both languages is also told which answers its training sources have.
        """
        train, dev = self.context.training_rows(self.languages, self.reads, self.seed)
        if self.about.mixes == "published" and self.stage1.training.trains:
            train = with_labelled_sources(train, self.stage1.splits[0])
        return (train, dev) if self.about.reads != "source" else (read_alone(train), read_alone(dev))

    @property
    def made_by(self) -> dict[str, Any] | None:
        """Who made the training sources; of several languages, who did in each. None: they are the set's own."""
        return by_language(self.languages, lambda each: self.context.data.identity(each, self.reads))

    @property
    def translated_by(self) -> dict[str, Any] | None:
        """Who translated the training rows, as `made_by` says it."""
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
        """The learning rate; of several the one with the best dev score (the smallest of equals).

        Raises:
            NotReadyError: Not all have been tried.
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
        """How many optimizer steps it makes at most; of a probe, how many rows it reads."""
        rows = sum(self.context.data.size(each, "train") for each in self.languages)
        return rows if self.about.learns == "probe" else self.optimizer_steps(rows)

    @property
    def same_work(self) -> str:
        """What agrees where cells share it."""
        spec = self.context.spec
        own = {name: value for name, value in asdict(self.method).items() if name not in _NOT_OF_THE_ADAPTER}
        training, translation = asdict(self.training), asdict(spec.translation)
        return content_id([base_work(self), own, self.reads, self.language, training, translation, self.lr])

    @property
    def repeats_a_trial(self) -> bool:
        """Whether it is the adapter of the chosen rate and the first seed, which its trials made already."""
        return self.lr is None and bool(self.trials) and self.seed == self.context.spec.seeds[0]

    @property
    def link(self) -> str:
        """The name under which a person finds the adapter; a trial has none."""
        return f"{self.method.name}-{self.language}-seed{self.seed}" if self.lr is None and self.listed else ""

    def contents(self) -> dict[str, Any]:
        """Return what the id is the hash of."""
        about = self.about
        if about.learns == "probe":
            return self._contents_of_probe()
        shaping = SHAPING if about.fuses else tuple(set(MIXING_OPTIONS) & about.options)
        differing = changed(self.method, MethodSpec(self.method.name, self.method.kind))
        own = {name: value for name, value in differing.items() if name in shaping}
        own |= self.method.adapter.options
        if about.reads == "both" and self.reads == "none":  # rows as with `original`, read without their sources
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
        """Return what a probe is named by: the base, its rows, and how they are read."""
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
        """Return what it stands on, and the trials that choose the learning rate; a probe needs nothing."""
        if self.about.learns == "probe":
            return []
        return [self.start, *(self.trials if self.lr is None else [])]


__all__ = ["MIXING_OPTIONS", "Model", "NotReadyError", "Stage1", "Stage2"]
