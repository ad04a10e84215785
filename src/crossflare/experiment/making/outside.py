"""Answers that no model of the recipe gives: those of a file, and those of a language model that is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossflare.disk.files import content_id, digest_file
from crossflare.experiment.data.answered import answers_file, answers_of
from crossflare.experiment.steps.outside import prompt_key, prompted_model
from crossflare.experiment.steps.prediction import PredictionStep
from crossflare.tasks.example import Split
from crossflare.tasks.kinds import QuestionTask
from crossflare.training.forms.protocol import Answers, Choices, Outputs

Cut = dict[str, Any]
"""`truncated`: the number of rows longer than the window, by side. `windows`: the number of `rows` read in several
windows, of windows `read` for them, and the `most` windows of one row. `unparsed`: the number of answers of an endpoint
that name no label."""
LEAST = 1e-9
"""The least probability: a file may say 0, which has no logarithm."""


@dataclass(frozen=True)
class Origin:
    """What a record says about who answered."""

    model: Mapping[str, Any]
    """The record's `model`."""
    signed: Mapping[str, str]
    """The fields of the signature that say who answered."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The method's options, as a record has them."""
    training: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The rows that it was trained on."""
    translation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """How many translations of these rows look wrong."""
    timings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Outside:
    """Answers to test rows."""

    outputs: Outputs
    origin: Origin
    counts: Cut = field(default_factory=dict[str, Any])
    read_dev: Callable[[PredictionStep, Split], Outputs] | None = None
    """Answers dev rows, for a temperature; None: there are no probabilities, or nobody to ask."""


def answered_outside(step: PredictionStep, split: Split) -> Outside:
    """Return the answers to the test rows of a step whose answers come from outside.

    Raises:
        UserError: The file cannot be used, or the model does not answer.
    """
    return _from_file(step) if step.about.outside == "file" else _from_prompt(step, split)


def answers_back(step: PredictionStep, outputs: Outputs, split: Split) -> Outputs:
    """Return answers that were found in texts in the source language, translated back into the rows' language."""
    if step.about.reads != "source" or step.test_source == "none" or not isinstance(outputs, Answers):
        return outputs
    # A row without a translation was read as it is: its answer is in the target language already.
    foreign = [text for text, example in zip(outputs.texts, split, strict=True) if example.source]
    back = iter(step.context.data.translations.answers_back(foreign, step.language))
    pairs = zip(outputs.texts, split, strict=True)
    return replace(outputs, texts=tuple(next(back) if example.source else text for text, example in pairs))


def _from_prompt(step: PredictionStep, split: Split) -> Outside:
    from crossflare.experiment.making.prompted import Prompted

    asked, context, method = Prompted(step), step.context, step.method
    outputs = answers_back(step, asked.read(split.examples), split)
    who = prompted_model(context, method)
    name = method.model or context.spec.model.name
    said = {"endpoint": method.endpoint, "said": list(asked.said)} if method.endpoint is not None else {}
    key = prompt_key(context, method, step.seed)
    options = {"model": name, "template": key["template"], "words": key["words"], "shots": method.shots}
    options |= {} if method.endpoint is None else {"endpoint": method.endpoint}
    digest = content_id(who)
    origin = Origin(
        model={"name": name, "digest": digest, **said},
        signed={"model": name, "model_digest": digest, "answers": "prompt"},
        options=options,
        data={"shown": [row[0] for row in key["examples"]]} if method.shots else {},
    )
    cut: Cut = {"truncated": {"target": asked.cut} if method.endpoint is None else {}}
    if method.endpoint is not None or context.spec.task.asks:
        cut["unparsed"] = asked.unparsed
    sure = isinstance(outputs, Choices) and outputs.log_probabilities.shape[1] > 0
    return Outside(outputs, origin, cut, (lambda _, rows: asked.read(rows.examples)) if sure else None)


def _from_file(step: PredictionStep) -> Outside:
    context, part = step.context, answers_file(step.method, step.language, step.seed)
    given = answers_of(context.data, step.method, step.language, step.seed)
    path = Path(str(part.path))
    digest = digest_file(path)
    origin = Origin(
        model={"file": path.name, "sha256": digest},
        signed={"model": _pattern(step), "model_digest": digest[:12], "answers": "file"},
    )
    if isinstance(context.data.task, QuestionTask):
        return Outside(Answers(tuple(each.text for each in given), (float("nan"),) * len(given)), origin)
    shares = np.array([each.probabilities for each in given], dtype=np.float64)
    logs = np.log(np.maximum(shares, LEAST))
    if shares.shape[1]:
        logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
    labels = np.array([each.label for each in given], dtype=np.int64)
    return Outside(Choices(logs, None, labels=labels), origin)


def _pattern(step: PredictionStep) -> str:
    """Return the name of the files of all languages and seeds, without their folder."""
    file = step.method.file
    return Path(file if isinstance(file, str) else str(getattr(file, "path", ""))).name
