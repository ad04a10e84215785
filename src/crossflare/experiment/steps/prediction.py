"""The predictions of an experiment: one method in one language with one seed over the test rows."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from crossflare.disk.files import content_id
from crossflare.evaluation.folder import RunFiles
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.experiment.steps.outside import file_key, prompt_key
from crossflare.experiment.steps.step import Result, Step
from crossflare.recipe.kinds import KINDS, Kind
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import Training
from crossflare.tasks.kinds import QuestionTask


@dataclass(frozen=True)
class PredictionStep(Step):
    """The predictions of one method with one seed for the test rows of one language, and their record."""

    context: Context = field(compare=False, repr=False)
    method: MethodSpec
    language: str
    seed: int
    split: Literal["test", "dev"] = "test"
    """The rows that are read; `dev` for the rows that a stack is fitted on."""
    listed: bool = True
    """Whether the recipe lists the method; otherwise it is only a part of another method."""

    kind = "predict"
    trains = False

    @property
    def label(self) -> str:
        """The label for people."""
        return f"{self.method.name}, {self.language}, seed {self.seed}" + (" (dev rows)" if self.split == "dev" else "")

    @property
    def method_kind(self) -> str:
        """The kind of its method."""
        return self.method.kind

    @property
    def training(self) -> Training:
        """The settings for reading and cutting texts: the recipe's stage 2, for all methods."""
        return self.context.spec.stage2

    @property
    def model(self) -> Stage1 | Stage2:
        """The model that reads the rows, or the adapter of the method that it combines; not of answers from outside."""
        if not self.about.adapted:
            return Stage1(self.context, self.seed)
        return Stage2.of(self.context, self.method, self.language, self.seed)

    @property
    def trained_in(self) -> str | None:
        """The language whose adapter is used, if the method, or the method it is `of`, names one."""
        return self.method.trained_in or self.model_method.trained_in

    @property
    def parts(self) -> "list[PredictionStep]":
        """The predictions that it combines; empty for a method that reads the rows itself."""
        if not self.about.combines:
            return []
        kinds = (self.model_method.kind, self.about.combines)  # "own source" is not a kind: it needs no other step
        return [self._sibling(kind) for kind in kinds if kind in KINDS]

    @property
    def fitted_on(self) -> "list[PredictionStep]":
        """The predictions of a stack's parts for the dev rows; empty for other methods."""
        return [replace(part, split="dev") for part in self.parts] if self.about.fitted else []

    @property
    def model_method(self) -> MethodSpec:
        """The method whose adapter is used."""
        return self.context.spec.trained(self.method)

    @property
    def about(self) -> Kind:
        """The properties of the method's kind."""
        return self.method.about

    def _sibling(self, kind: str) -> "PredictionStep":
        """Return the prediction of `kind` with the same adapter and test source, from the recipe or an unlisted one."""
        spec, wanted, adapted = self.context.spec, self.method.test_source, KINDS[kind].adapted
        for method in spec.methods:
            same = not adapted or (
                spec.trained(method) == self.model_method and method.trained_in == self.method.trained_in
            )
            runs = not method.languages or self.language in method.languages
            alike = method.test_source == wanted or not method.about.reads_source
            if runs and method.kind == kind and same and alike:
                return PredictionStep(self.context, method, self.language, self.seed)
        of = self.model_method.name if adapted else None
        beside = MethodSpec(
            f"{self.method.name}:{kind}", kind, of=of, test_source=wanted, trained_in=self.method.trained_in
        )
        return PredictionStep(self.context, beside, self.language, self.seed, listed=False)

    @property
    def size(self) -> int:
        """The number of rows that it reads."""
        data = self.context.data
        return len(data.test(self.language, "none")) if self.split == "test" else data.size(self.language, "dev")

    @property
    def same_work(self) -> str:
        """A key that is equal where cells share the step: they never share a prediction."""
        return content_id([self.context.cell, self.method.name, self.language, self.seed, self.split])

    def contents(self) -> dict[str, Any]:
        """Return the content that the id is the hash of."""
        key = self.context.test_key if self.split == "test" else self.context.dev_key
        if self.about.outside:
            return {
                "predict": self.method.kind,
                "name": self.method.name,
                "test": key(self.language, self.test_source),
                "seed": self.seed,
                **self._outside,
            }
        return {
            "predict": self.method.kind,
            "name": self.method.name,
            "model": self.model.id,
            "parts": [part.id for part in (*self.parts, *self.fitted_on)],
            "test": key(self.language, self.test_source),
            "training": self._reading,
            **({} if self.model.seed == self.seed else {"seed": self.seed}),  # one probe serves all seeds
        }

    @property
    def _outside(self) -> dict[str, Any]:
        """What the answers of a file or of a prompted model depend on."""
        if self.about.outside == "file":
            return file_key(self.method, self.language, self.seed)
        back = self._answers_back if isinstance(self.context.data.task, QuestionTask) else {}
        return {"prompt": prompt_key(self.context, self.method, self.seed), **back}

    @property
    def _answers_back(self) -> dict[str, Any]:
        """What translates answers back, where they are found in texts in the source language."""
        if self.about.reads != "source" or self.test_source == "none":
            return {}
        return {"answers": self.context.data.translations.identity_of_answers(self.language)}

    @property
    def _reading(self) -> dict[str, Any]:
        """The recipe's settings for reading rows; if stage 1 reads, the model's id does not contain them."""
        names, own = ["max_length", "precision"], dict[str, Any]()
        if self.context.spec.task.long == "windows":
            names.append("stride")
        if isinstance(self.context.data.task, QuestionTask):
            names += ["stride", "answer_tokens"]
            own |= self._answers_back
        return own | {name: value for name, value in self.training.deciding().items() if name in names}

    @property
    def test_source(self) -> str:
        """The kind of source of the test rows; `none` for methods that read no source."""
        if self.about.reads == "latents":
            return "latents"
        return str(self.method.test_source) if self.about.reads_source else "none"

    @property
    def hidden(self) -> bool:
        """Whether the recipe does not list it, and it is only a part of another."""
        return not self.listed or self.split != "test"

    @property
    def record(self) -> Path:
        """The record's file."""
        return RunFiles(self.context.folder).record(self.id, hidden=self.hidden)

    @property
    def predictions(self) -> Path:
        """The predictions' file."""
        return RunFiles(self.context.folder).predictions(self.id)

    @property
    def files(self) -> tuple[Path, ...]:
        """The record and the predictions."""
        return self.record, self.predictions

    @property
    def result(self) -> Result | None:
        """Its result in the report; None for a part of another."""
        return None if self.hidden else Result(self.method.name, self.language, self.seed)

    def needs(self) -> list[Step]:
        """Return the model, or the predictions that it combines; answers from outside need nothing."""
        if self.about.outside:
            return []
        return [*self.parts, *self.fitted_on] if self.parts else [self.model]
