"""The prediction for a text, and the source that the text is read with: the caller's, a translation, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossflare.errors import UserError
from crossflare.evaluation.calibration import Calibration, tempered
from crossflare.serving.card import Saved
from crossflare.serving.rows import Text
from crossflare.tasks.dataset import Task
from crossflare.training.forms.protocol import Answers, Outputs


@dataclass(frozen=True, slots=True)
class Prediction:
    """An adapter's prediction for one row."""

    label: str
    """The most probable label, empty if the adapter abstains; for a question, the text of the answer."""
    score: float
    """The most probable label's probability; for an answer, how sure the model is (comparable between answers of one
    adapter only)."""
    probabilities: Mapping[str, float] = field(default_factory=dict[str, float])
    """Each label's probability, in the task's order; empty for a question."""
    source: Text | None = None
    """The text in the source language that was read with the row; None: the row was read alone."""
    truncated: bool = False
    """Whether the row, or its source, was longer than the model's window."""
    windows: int = 1
    """The number of windows in which the row was read; 1 unless the adapter reads long texts in windows, uncut."""
    calibrated: bool = False
    """Whether the probabilities are calibrated by the temperature that was fitted on dev rows."""
    abstained: bool = False
    """Whether the score is below the threshold of the coverage that the caller chose."""


def predictions_of(
    task: Task,
    outputs: Outputs,
    sources: Sequence[Text | None],
    truncated: Sequence[bool],
    calibration: Calibration | None = None,
    threshold: float = 0.0,
) -> list[Prediction]:
    """Return the predictions for N rows, one by one.

    Args:
        task: The task, which names the labels.
        outputs: The model's outputs.
        sources: N texts that were read with the rows.
        truncated: N flags that say whether a row was cut.
        calibration: The temperature of the probabilities; None: they are the model's own.
        threshold: The score below which a row gets no label.
    """
    beside = zip(sources, truncated, strict=True)
    if isinstance(outputs, Answers):
        said = zip(outputs.texts, outputs.scores, beside, strict=True)
        return [Prediction(text, score, source=source, truncated=cut) for text, score, (source, cut) in said]
    logs = outputs.log_probabilities
    logs = logs if calibration is None else tempered(logs, calibration.temperature)
    windows = np.ones(len(logs), dtype=np.int64) if outputs.windows is None else outputs.windows
    rows = zip(outputs.predicted.tolist(), np.exp(logs).tolist(), beside, windows.tolist(), strict=True)
    return [
        Prediction(
            "" if row[best] < threshold else task.labels[best],
            row[best],
            dict(zip(task.labels, row, strict=True)),
            source,
            cut,
            number,
            calibrated=calibration is not None,
            abstained=row[best] < threshold,
        )
        for best, row, (source, cut), number in rows
    ]


def threshold_of(saved: Saved, coverage: float | None, language: str | None = None) -> float:
    """Return the score below which an adapter abstains, to answer a share of the rows; 0 if `coverage` is None.

    Raises:
        UserError: The share is not above 0 and at most 1, or the adapter was not calibrated.
    """
    if coverage is None:
        return 0.0
    if (known := saved.calibration_in(language)) is None:
        in_it = f"in '{language}'" if language else "of one language"
        why = "answers questions" if not saved.task.labels else f"has no calibration {in_it} on its card"
        raise UserError(
            f"{saved.folder}: it {why}, so no threshold is known; name another language, or leave coverage out"
        )
    return known.threshold(coverage)


def positions_of(model: Any) -> int:
    """Return how many tokens a model has positions for; a very large number if positions are not learnt."""
    found = [each for name, each in model.named_modules() if name.endswith("position_embeddings")]
    sizes = [
        each.num_embeddings - (0 if each.padding_idx is None else each.padding_idx + 1)  # XLM-R counts from there
        for each in found
        if hasattr(each, "num_embeddings")
    ]
    return min(sizes, default=1 << 20)
