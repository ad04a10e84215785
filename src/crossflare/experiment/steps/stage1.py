"""The model that adapters start from: stage 1, in the source language."""

from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from crossflare.disk.files import CARD, content_id
from crossflare.experiment.data.controls import digest
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.step import Step
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.spec import Training
from crossflare.tasks.example import Split


class Model(Step):
    """A step that trains an adapter and saves it."""

    trains = True

    @property
    def path(self) -> Path:
        """The folder of the adapter."""
        return self.context.shared / "models" / self.id

    @property
    def files(self) -> tuple[Path, ...]:
        """The adapter's card."""
        return (self.path / CARD,)

    def translation_counts(self) -> dict[str, Any]:
        """Return the counts of its training translations, as a card has them; empty if there are none."""
        return {}

    def trial_scores(self) -> list[dict[str, float]]:
        """Return the dev score of each learning rate that was tried; empty if there is only one."""
        return []

    def optimizer_steps(self, rows: int) -> int:
        """Return the most optimizer steps for `rows` rows; fewer if translations are left out."""
        return self.training.epochs * ceil(rows / self.training.batch_size)


@dataclass(frozen=True)
class Stage1(Model):
    """LoRA on labelled source-language data, for one seed."""

    context: Context = field(compare=False, repr=False)
    seed: int

    kind = "stage 1"
    method = None
    about = KINDS["zero-shot"]
    """The kind of method that reads with it alone."""
    reads = "none"
    """The source that it trains with."""

    @property
    def languages(self) -> tuple[str, ...]:
        """The one language that it trains in."""
        return (self.context.spec.source,)

    @property
    def label(self) -> str:
        """The label for people."""
        what = self.context.spec.source if self.training.trains else "left out: the base as it is"
        return f"{what}, seed {self.seed}"

    @property
    def method_kind(self) -> str:
        """Its name in cards and records."""
        return "stage1"

    @property
    def what(self) -> str:
        """Its kind."""
        return self.kind

    @property
    def training(self) -> Training:
        """The training settings."""
        return self.context.spec.stage1

    @property
    def splits(self) -> tuple[Split, Split]:
        """The train and dev rows."""
        return self.context.data.source_task("train"), self.context.data.source_task("dev")

    @property
    def size(self) -> int:
        """The number of optimizer steps that it makes."""
        return self.optimizer_steps(len(self.splits[0])) if self.training.trains else 0

    @property
    def same_work(self) -> str:
        """A key that is equal where cells share the step."""
        return content_id(base_work(self))

    def contents(self) -> dict[str, Any]:
        """Return the content that the id is the hash of."""
        return {
            "stage": 1,
            "base": self.context.base_key,
            "labels": self.context.data.task.labels,
            **({"rows": digest(*self.splits)} if self.training.trains else {}),
            "training": self.training.deciding(),
            "seed": self.seed,
            **self.context.spec.task.choosing(),
        }

    def needs(self) -> list[Step]:
        """Return nothing."""
        return []


def base_work(step: Model) -> list[Any]:
    """Return the parts of the recipe that determine stage 1."""
    spec = step.context.spec
    return [asdict(spec.model), asdict(spec.task), spec.source, asdict(spec.stage1), step.seed]
