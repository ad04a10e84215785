"""The temperature of a prediction: from its adapter's card, or fitted on the target's dev rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from crossflare.disk.files import CARD, read_json
from crossflare.errors import UserError
from crossflare.evaluation.calibration import fit_calibration
from crossflare.evaluation.metrics import FloatArray
from crossflare.evaluation.scoring import held_out
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.recipe.engines import translated_parts
from crossflare.recipe.needs import routes
from crossflare.recipe.translation import is_translated
from crossflare.tasks.example import Split
from crossflare.training.forms.protocol import Choices, Outputs, average

Read = Callable[[PredictionStep, Split], Outputs]
"""(the prediction of the dev rows by a method that reads them itself, these rows) -> its model's outputs for them."""


def calibration_of(step: PredictionStep, read: Read) -> dict[str, Any]:
    """Return the temperature that calibrates a prediction's probabilities, and the language and number of dev rows.

    An adapter is calibrated in its own languages when it is trained. A combination, a stage 1 model, and an adapter of
    another language are calibrated on the dev rows of the language that they read here. Without such rows the
    probabilities stay as they are, and the result is empty. The exception is translate-test, which reads texts in the
    source language: it uses stage 1's temperature for that language.
    """
    if not step.context.data.task.labels:
        return {}
    alone = not step.parts and not step.about.outside
    known: dict[str, dict[str, Any]] = read_json(step.model.path / CARD).get("calibration") or {} if alone else {}
    if step.language in known:
        return _told(known[step.language], step.language)
    rows = dev_rows(step) if step.split == "test" else None
    if rows is not None:
        gold = [example.label or 0 for example in rows]  # every row has a label
        fitted = fit_calibration(_said(step, rows, gold, read), gold)
        return {"temperature": fitted.temperature, "language": step.language, "rows": fitted.rows}
    if step.about.reads == "source" and len(known) == 1:
        ((language, found),) = known.items()
        return _told(found, language)
    return {}


def _told(found: dict[str, Any], language: str) -> dict[str, Any]:
    return {"temperature": found["temperature"], "language": language, "rows": found["rows"]}


def dev_rows(step: PredictionStep) -> Split | None:
    """Return the dev rows in the language of a prediction, read like its test rows; None if there are none.

    Rows that need no new translation are returned; for a combination, so are rows that a translator of the recipe can
    translate. Translate-test by itself makes no translations for its temperature.
    """
    context, language = step.context, step.language
    spec, data = context.spec, context.data
    if spec.translation.translates and data.native(language, "dev") is None:
        if ("to_target", language) not in routes(spec):
            return None
    elif "dev" not in data.set.parts(language):
        return None
    engine = spec.translation.to_source
    if step.test_source != "none" and is_translated(data.dev_source(step.test_source)) and engine is not None:
        made = step.parts and engine.engine != "precomputed"
        if not made and "dev" not in translated_parts(spec, language):
            return None
    try:
        rows = data.dev(language, step.test_source)
    except UserError:  # nothing else in the recipe reads these rows: they may be damaged, or not on this machine
        return None
    return rows if len(rows) and all(example.label is not None for example in rows) else None


def _said(step: PredictionStep, rows: Split, gold: Sequence[int], read: Read) -> FloatArray:
    """Return a method's log-probabilities [D,K] for the D dev rows."""
    outputs = [read(replace(part, split="dev"), rows) for part in step.parts or [step]]
    choices = [each for each in outputs if isinstance(each, Choices)]
    said = [each.log_probabilities for each in choices]
    if step.about.fitted:
        return held_out(said, gold)
    if step.about.combines == "own source" and choices[0].source is not None:
        said.append(choices[0].source)
    return average(*said) if step.parts else said[0]
