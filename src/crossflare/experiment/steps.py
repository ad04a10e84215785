"""The steps of an experiment and what each needs: models of stage 1, adapters of stage 2, predictions.

A step's id is the content hash of all it depends on, so a file under that id is the step done; nothing else is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.experiment.context import Context
from crossflare.experiment.data import digest
from crossflare.experiment.spec import MethodSpec, Training
from crossflare.files import content_id, read_json
from crossflare.fusion.adapter_files import CARD
from crossflare.tasks.example import Split

ORIGINAL = "original"


class NotReady(Exception):
    """What a step is depends on another that is not done: the learning rate is still being chosen."""


@dataclass(frozen=True)
class Stage1:
    """LoRA on labelled source-language data, for one seed."""

    context: Context = field(compare=False, repr=False)
    seed: int

    kind = "stage 1"

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
                "training": _plain(self.training),
                "seed": self.seed,
            }
        )

    @property
    def path(self) -> Path:
        """The folder of the adapter."""
        return self.context.folder / "models" / self.id

    def needs(self) -> "list[Step]":
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
    seed: int
    lr: float | None = None
    """None: the one that did best on the dev rows."""

    kind = "stage 2"

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
    def stage1(self) -> Stage1:
        """The model it starts from."""
        return Stage1(self.context, self.seed)

    @property
    def splits(self) -> tuple[Split, Split]:
        """Train and dev rows in the target language, with their sources."""
        return self.context.training_rows(self.method, self.language)

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
            NotReady: Not all have been tried.
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
                raise NotReady
            assert trial.lr is not None
            scores.append({"lr": trial.lr, "dev_score": float(read_json(trial.path / CARD)["training"]["dev_score"])})
        return scores

    @property
    def id(self) -> str:
        """Content id."""
        return self.context.remember(self, self._id)

    def _id(self) -> str:
        own = {name: getattr(self.method, name) for name in ADAPTER_OPTIONS}
        return content_id(
            {
                "stage": 2,
                "stage1": self.stage1.id,
                "kind": self.method.kind,
                "adapter": own if self.method.kind != "lora" else {},
                "rows": self.context.training_key(self.method, self.language),
                "training": {**_plain(self.training), "lr": self.rate},
                "seed": self.seed,
            }
        )

    @property
    def path(self) -> Path:
        """The folder of the adapter."""
        return self.context.folder / "models" / self.id

    def needs(self) -> "list[Step]":
        """Stage 1, and the trials that choose the learning rate."""
        return [self.stage1, *(self.trials if self.lr is None else [])]

    def done(self) -> bool:
        """Whether the adapter is there."""
        try:
            return (self.path / CARD).is_file()
        except NotReady:
            return False


@dataclass(frozen=True)
class Prediction:
    """The test rows of one language as one method with one seed reads them: the predictions and their record."""

    context: Context = field(compare=False, repr=False)
    method: MethodSpec
    language: str
    seed: int

    kind = "predict"

    @property
    def label(self) -> str:
        """What a person reads."""
        return f"{self.method.name}, {self.language}, seed {self.seed}"

    @property
    def model(self) -> Stage1 | Stage2:
        """The model that reads, or the adapter of the method it is made of."""
        if not self.method.about.trains and not self.method.of:
            return Stage1(self.context, self.seed)
        return Stage2(self.context, self.context.spec.trained(self.method), self.language, self.seed)

    @property
    def parts(self) -> "list[Prediction]":
        """The predictions it is the average of; empty for a method that reads for itself."""
        if self.method.kind == "ensemble":
            return [self._sibling(self.model_method.kind), self._sibling("translate-test")]
        return [self._sibling("flare")] if self.method.kind == "flare+source" else []

    @property
    def model_method(self) -> MethodSpec:
        """The method whose adapter is read."""
        return self.context.spec.trained(self.method)

    def _sibling(self, kind: str) -> "Prediction":
        """Return the prediction of `kind` on the same adapter and test source, in the recipe or beside it."""
        spec, wanted = self.context.spec, self.method.test_source
        for method in spec.methods:
            same = kind == "translate-test" or spec.trained(method) == self.model_method
            if method.kind == kind and same and (method.test_source == wanted or kind == "lora"):
                return Prediction(self.context, method, self.language, self.seed)
        of = None if kind == "translate-test" else self.model_method.name
        hidden = MethodSpec(f"{self.method.name}:{kind}", kind, of=of, test_source=wanted)
        return Prediction(self.context, hidden, self.language, self.seed)

    @property
    def id(self) -> str:
        """Content id."""
        return self.context.remember(self, self._id)

    def _id(self) -> str:
        return content_id(
            {
                "predict": self.method.kind,
                "name": self.method.name,
                "model": self.model.id,
                "parts": [part.id for part in self.parts],
                "test": self.context.test_key(self.language, self.test_source),
                "training": {"max_length": self.context.spec.stage2.max_length},
            }
        )

    @property
    def test_source(self) -> str:
        """Where the source of the test rows comes from; `none` for methods that read no source."""
        return self.method.test_source if self.method.about.reads_source else "none"

    @property
    def hidden(self) -> bool:
        """Whether the recipe does not list it: it is only a part of another."""
        return ":" in self.method.name

    @property
    def record(self) -> Path:
        """The record's file."""
        return self.context.folder / ("parts" if self.hidden else "records") / f"{self.id}.json"

    @property
    def predictions(self) -> Path:
        """The predictions' file."""
        return self.context.folder / "predictions" / f"{self.id}.jsonl"

    def needs(self) -> "list[Step]":
        """The model, or the predictions it averages."""
        return list(self.parts) or [self.model]

    def done(self) -> bool:
        """Whether predictions and record are there."""
        try:
            return self.record.is_file() and self.predictions.is_file()
        except NotReady:
            return False


Step = Stage1 | Stage2 | Prediction

ADAPTER_OPTIONS = ("fusion", "alignment", "lead", "source_dropout")


def all_steps(context: Context) -> list[Step]:
    """Return every step of the recipe once, each after those it needs; languages are finished one after the other."""
    spec = context.spec
    steps: dict[Step, None] = {}

    def visit(step: Step) -> None:
        for needed in step.needs():
            visit(needed)
        steps.setdefault(step)

    for language in spec.targets:
        for seed in spec.seeds:
            for method in spec.methods:
                visit(Prediction(context, method, language, seed))
    return list(steps)


def pending(context: Context) -> Iterator[Step]:
    """Yield the steps that are not done and whose needs are."""
    for step in all_steps(context):
        if not step.done() and all(needed.done() for needed in step.needs()):
            yield step


def _plain(training: Training) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(training)


def check_ready(step: Step) -> None:
    """Raise `UserError` when a step is asked for before those it needs."""
    missing = [needed.label for needed in step.needs() if not needed.done()]
    if missing:
        raise UserError(f"{step.label}: needs {', '.join(missing)} first")
