"""A run that teaches a model to write: broken off and taken up again, and FLARE with and without sources."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model

from crossflare import FlareConfig
from crossflare.tasks.example import Split
from crossflare.training.forms.make import make_form
from crossflare.training.loop.settings import Settings
from crossflare.training.train import train
from training.writing_tools import TASK, accuracy, labelled, tokenizer_of
from writing_models import build

SETTINGS = Settings(
    lr=1e-2, epochs=2, batch_size=4, max_length=32, precision="fp32", evaluations=2, select="last", save_steps=1
)


def new_model(**options: Any) -> Any:
    base = build("llama", dtype=torch.float32)
    torch.manual_seed(0)
    return get_peft_model(base, FlareConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.1, **options))


def run(folder: Path, rows: Split, *, with_source: bool = True, stop: int = 0, **options: Any) -> tuple[Any, Any]:
    """Train a FLARE model in words; break off in the loss of batch `stop`."""
    model = new_model(**options)
    tokenizer = tokenizer_of("llama")
    form: Any = make_form(TASK, "text", model, tokenizer, 32, with_source=with_source)
    if stop:
        loss, calls = form.loss, []

        def stopping(model: Any, batch: Any, step: int) -> Any:
            calls.append(None)
            if len(calls) == stop:
                raise RuntimeError("stopped")
            return loss(model, batch, step)

        form.loss = stopping
    dev = labelled(6, "dev", seed=50)
    dev = dev if with_source else bare(dev)
    outcome = train(model, rows, dev, tokenizer, form, SETTINGS, folder, measure=accuracy, identity={})
    return model, outcome


def bare(split: Split) -> Split:
    """Return the rows without their sources."""
    return Split(split.part, split.language, tuple(example.with_source(None) for example in split))


def test_broken_off_and_taken_up_again_a_run_ends_with_the_same_weights(lab: Any, tmp_path: Path) -> None:
    rows = labelled(12)
    whole, outcome = run(tmp_path / "whole", rows)
    with pytest.raises(RuntimeError, match="stopped"):
        run(tmp_path / "broken", rows, stop=5)
    again, resumed = run(tmp_path / "broken", rows)
    assert resumed.resumed_from == 4
    assert lab.weights_of(again) == lab.weights_of(whole)
    assert resumed.curve == outcome.curve


def test_without_any_source_it_makes_no_odds_whether_one_was_asked_for(lab: Any, tmp_path: Path) -> None:
    """The control without sources is the very run of rows that have none; with sources it is another."""
    rows = labelled(12)
    asked_for, outcome = run(tmp_path / "asked", bare(rows))
    never, other = run(tmp_path / "never", bare(rows), with_source=False)
    sources, fused = run(tmp_path / "sources", rows)
    assert [point.loss for point in outcome.curve] == [point.loss for point in other.curve]
    assert lab.weights_of(asked_for) == lab.weights_of(never) != lab.weights_of(sources)
    assert [point.loss for point in fused.curve] != [point.loss for point in outcome.curve]
    # add_relu without a source is LoRA with a rectified bottleneck: the source's way into it never matters.
    at_rest, _ = run(tmp_path / "rest", bare(rows), source_dropout=0.5)
    assert lab.weights_of(at_rest) == lab.weights_of(never)
