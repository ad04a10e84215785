"""The kinds of task: one of K labels for a text or a pair, or an answer taken from a context."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from crossflare.errors import UserError, choose, nearest

Metric = Literal["accuracy", "macro_f1", "weighted_f1"]


@dataclass(frozen=True, slots=True)
class TextTask:
    """One or two texts in, one of `labels` out.

    Raises:
        UserError: Fewer than two labels, a label given twice, an alias of an unknown label, or a main metric that is
            not among the metrics.
    """

    name: str
    version: int
    """Raised when the same file would give other examples or another score: part of every number's signature."""
    labels: tuple[str, ...]
    """In the order of the model's outputs."""
    aliases: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Other spellings in files -> the label that each stands for."""
    text_count: Literal[1, 2] = 1
    metrics: tuple[Metric, ...] = ("accuracy", "macro_f1")
    """What is measured. A metric that few publications use, such as weighted F1, is only here if it chooses models."""
    main_metric: Metric = "accuracy"

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise UserError(f"task {self.name}: expected at least two labels, got {list(self.labels)}; name them all")
        if len(set(self.labels)) < len(self.labels):
            raise UserError(f"task {self.name}: a label is named twice in {list(self.labels)}; name each once")
        for alias, label in self.aliases.items():
            if label not in self.labels:
                raise UserError(f"task {self.name}: alias '{alias}' stands for '{label}', no label; {self._known}")
            if alias in self.labels:
                raise UserError(f"task {self.name}: '{alias}' is both a label and an alias; drop the alias")
        if self.main_metric not in self.metrics:
            raise UserError(f"task {self.name}: main metric {self.main_metric} is not among {list(self.metrics)}")

    def chosen_by(self, metric: str) -> "TextTask":
        """Return the task with another main metric, which is measured, too; `UserError` if it is none of labels."""
        main: Metric = choose("metric of labels", metric, get_args(Metric))  # type: ignore[assignment]
        return replace(self, main_metric=main, metrics=tuple(dict.fromkeys((*self.metrics, main))))

    def label_index(self, value: object, origin: str) -> int:
        """Return the index in `labels` of what a file gives as a label.

        Numbers and truth values are read as their text: 1 is the label `1`, true is `true`, in upper or lower case.

        Args:
            value: A label or an alias.
            origin: `file:line`, for the message.

        Raises:
            UserError: Anything else.
        """
        text = str(value) if isinstance(value, str | int) else None
        name = None if text is None else self._name(text)
        if name is None:
            raise UserError(f"{origin}: {self._complaint(value)}")
        return self.labels.index(name)

    def _name(self, text: str) -> str | None:
        """Return the label that a text names: itself, through an alias, or as a truth value in another case."""
        known = {**{label: label for label in self.labels}, **self.aliases}
        if text in known:
            return known[text]
        alike = {label for form, label in known.items() if form.lower() == text.lower() in ("true", "false")}
        return alike.pop() if len(alike) == 1 else None

    def _complaint(self, value: object) -> str:
        if value is None or value == "":
            return f"expected a label, found none; {self._known}; label the row or take it out"
        if isinstance(value, str):
            return f"unknown label {value!r:.80}: {nearest(value, self.labels)}; correct it or declare an alias"
        if isinstance(value, bool | int | float):
            kind = "a truth value" if isinstance(value, bool) else "a number"
            text = str(value).lower()
            advice = f"say what it means, as in aliases: {{'{text}': {self.labels[0]}}}"
            return f"label {text} is {kind}; {self._known}; {advice}"
        return f"unknown label {value!r:.80}; {self._known}"

    @property
    def _known(self) -> str:
        return f"known: {', '.join(self.labels)}"


QuestionMetric = Literal["exact_match", "f1"]
CONTEXT = 1
"""Place of the context in `Example.texts` of a question."""


@dataclass(frozen=True, slots=True)
class QuestionTask:
    """A question and its context in, a text out: for extractive models, a span of the context.

    Raises:
        UserError: The main metric is not among the metrics.
    """

    name: str
    version: int
    """Raised when the same file would give other examples or another score: part of every number's signature."""
    normalisation: Literal["squad", "mlqa"] = "mlqa"
    """The published rules by which answers are compared: see `evaluation.answers.normaliser`. The set fixes them, never
    its user: scores under different rules are different numbers."""
    metrics: tuple[QuestionMetric, ...] = ("exact_match", "f1")
    main_metric: QuestionMetric = "f1"
    text_count: Literal[2] = 2
    labels: tuple[str, ...] = ()
    """Always empty; it is here so that code can ask every task for its labels."""

    def __post_init__(self) -> None:
        if self.main_metric not in self.metrics:
            raise UserError(f"task {self.name}: main metric {self.main_metric} is not among {list(self.metrics)}")

    def chosen_by(self, metric: str) -> "QuestionTask":
        """Return the task with another main metric; `UserError` if answers have no such metric."""
        return replace(self, main_metric=choose("metric of answers", metric, self.metrics))  # type: ignore[arg-type]
