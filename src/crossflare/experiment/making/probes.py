"""How a probe is made: the base reads the rows once, and a regression is fitted on their sentence vectors."""

import time

import torch
from torch import Tensor

from crossflare import devices
from crossflare.disk.files import clear_unfinished
from crossflare.experiment.making.building import form_of, load_base_of
from crossflare.experiment.making.models import about_of, card_of, data_card, fitted_calibrations, measure_of
from crossflare.experiment.steps.models import Stage2
from crossflare.fusion.saved.tensor_files import PROBE, save_tensors
from crossflare.training.forms.protocol import Choices, choices
from crossflare.training.loop import distributed
from crossflare.training.loop.memory import resolve
from crossflare.training.probe import BIAS, WEIGHT, Probe, fit_probe, sentence_vectors
from crossflare.training.train import check_labelled, check_length


def make_probe(step: Stage2) -> None:
    """Fit a regression on the rows of one or more languages; under torchrun, only the first process does so."""
    if not distributed.is_main():
        return
    context, training = step.context, step.training
    labels = context.data.task.labels
    base, (rows, dev) = load_base_of(context, step.seed), step.splits
    for split in (rows, dev):
        check_labelled(split, len(labels))
    began = time.monotonic()
    probe = devices.to_device(Probe(base.model, len(labels)))
    form = form_of(context, training, probe, base.tokenizer, step.about, step.reads)
    check_length(probe, base.tokenizer, form.longest)
    precision = resolve(training.precision, next(probe.parameters()).device)
    vectors, others = (
        sentence_vectors(probe, form.encode(split.examples), form.collate, 2 * training.batch_size, precision)
        for split in (rows, dev)
    )
    measure, read = measure_of(context, step.languages), torch.from_numpy(others).float()

    def said(tensors: dict[str, Tensor]) -> Choices:
        logits = read @ tensors[WEIGHT].T + tensors[BIAS]
        return choices(logits, torch.full_like(logits, torch.nan))

    def score(tensors: dict[str, Tensor]) -> float:
        return measure(said(tensors), dev)

    fitted = fit_probe(vectors, [example.label or 0 for example in rows], labels, score)
    trained = {
        "dev_score": fitted.scores[fitted.strength],
        "strength": fitted.strength,
        "tried": [{"strength": each, "dev_score": found} for each, found in fitted.scores.items()],
        "steps": 0,
        "seconds": round(time.monotonic() - began, 2),
        "precision": precision,
        "trainable_parameters": sum(tensor.numel() for tensor in fitted.tensors.values()),
    }
    read_as = {"precision": training.precision}
    card = card_of(step, read_as, about_of(step), data_card(step, rows, dev), trained)
    card["calibration"] = fitted_calibrations(said(fitted.tensors), dev, step.languages)
    clear_unfinished(step.path)
    save_tensors(fitted.tensors, step.path, PROBE, base=base.identity, card=card)
