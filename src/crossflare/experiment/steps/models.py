"""The models of an experiment: stage 1 in the source language, stage 2 adapters in a target language."""

from dataclasses import dataclass, field
from pathlib import Path

from crossflare.experiment.data.controls import digest, read_alone, with_labelled_sources
from crossflare.experiment.steps.context import Context
from crossflare.files import content_id, read_json
from crossflare.fusion.adapter_files import CARD
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import Training
from crossflare.tasks.example import Split

ADAPTER_OPTIONS = ("fusion", "alignment", "lead", "source_dropout", "source_norm")
"""Options of a method that shape a FLARE adapter."""
MIXING_OPTIONS = ("mix_block", "mix_blocks")
"""Options of a method that say where another way of mixing is."""


class NotReadyError(Exception):
    """What a step is depends on another that is not done: the learning rate is still being chosen."""


@dataclass(frozen=True)
class Stage1:
    """LoRA on labelled source-language data, for one seed."""

    context: Context = field(compare=False, repr=False)
    seed: int

    kind = "stage 1"
    reads = "none"
    """Which source it trains with."""

    @property
    def label(self) -> str:
        """What a person reads."""
        return f"{self.context.spec.source}, seed {self.seed}"

    @property
    def training(self) -> Training:
        """How it trains."""
        return self.context.spec.stage1

    @property
    def splits(self) -> tuple[Split, Split]:
        """Train and dev rows."""
        return self.context.data.source_task("train"), self.context.data.source_task("dev")

    @property
    def id(self) -> str:
        """Content id."""
        return self.context.remember(self, self._id)

    def _id(self) -> str:
        return content_id(
            {
                "stage": 1,
                "base": self.context.base_key,
                "labels": self.context.data.task.labels,
                "rows": digest(*self.splits),
                "training": self.training.deciding(),
                "seed": self.seed,
            }
        )

    @property
    def path(self) -> Path:
        """The folder of the adapter."""
        return self.context.shared / "models" / self.id

    def needs(self) -> "list[Stage1]":
        """Nothing."""
        return []

    def done(self) -> bool:
        """Whether the adapter is there."""
        return (self.path / CARD).is_file()


@dataclass(frozen=True)
class Stage2:
    """One adapter: a method in one language with one seed and one learning rate."""

    context: Context = field(compare=False, repr=False)
    method: MethodSpec
    language: str
    """BCP-47 tag; several joined by `+` for a joint adapter."""
    seed: int
    lr: float | None = None
    """None: the one that did best on the dev rows."""

    kind = "stage 2"

    @classmethod
    def of(cls, context: Context, method: MethodSpec, language: str, seed: int) -> "Stage2":
        """Return the adapter that a method reads in a language: that language's, another one's, or the joint one."""
        trained = context.spec.trained(method)
        own = method.trained_in or trained.trained_in or language
        return cls(context, trained, "+".join(context.spec.languages(trained)) if trained.joint else own, seed)

    @property
    def label(self) -> str:
        """What a person reads."""
        rate = f", lr {self.lr:g}" if self.lr is not None else ""
        return f"{self.method.name}, {self.language}, seed {self.seed}{rate}"

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
    def splits(self) -> tuple[Split, Split]:
        """Train and dev rows in the target language, with their sources; or their sources in their place.

        A method with a loss on both languages is also told which answers its training sources have.
        """
        train, dev = self.context.training_rows(self.language, self.reads, self.seed)
        if self.method.about.mixes == "published":
            train = with_labelled_sources(train, self.stage1.splits[0])
        return (train, dev) if self.method.about.reads != "source" else (read_alone(train), read_alone(dev))

    @property
    def trials(self) -> "list[Stage2]":
        """One adapter for each learning rate, with the first seed; empty when there is nothing to choose."""
        rates = self.training.lrs
        if len(rates) == 1:
            return []
        first = self.context.spec.seeds[0]
        return [Stage2(self.context, self.method, self.language, first, rate) for rate in rates]

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
    def id(self) -> str:
        """Content id."""
        return self.context.remember(self, self._id)

    def _id(self) -> str:
        about = self.method.about
        shaping = ADAPTER_OPTIONS if about.fuses else tuple(set(MIXING_OPTIONS) & about.options)
        own = {name: getattr(self.method, name) for name in shaping}
        if about.reads == "both" and self.reads == "none":  # rows as with `original`, read without their sources
            own["train_source"] = "none"
        return content_id(
            {
                "stage": 2,
                "stage1": self.stage1.id,
                "kind": self.method.kind,
                "adapter": own,
                "rows": self.context.training_key(self.language, self.reads),
                "training": {**self.training.deciding(), "lr": self.rate},
                "seed": self.seed,
            }
        )

    @property
    def path(self) -> Path:
        """The folder of the adapter."""
        return self.context.shared / "models" / self.id

    def needs(self) -> "list[Stage1 | Stage2]":
        """Stage 1, and the trials that choose the learning rate."""
        return [self.stage1, *(self.trials if self.lr is None else [])]

    def done(self) -> bool:
        """Whether the adapter is there."""
        try:
            return (self.path / CARD).is_file()
        except NotReadyError:
            return False
