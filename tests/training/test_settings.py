from dataclasses import fields

import pytest

from crossflare.errors import UserError
from crossflare.recipe.spec import Training
from crossflare.serving.card import ReadSettings
from crossflare.training.loop.settings import Settings


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"lr": 0.0}, "lr: expected a number above 0, got 0.0"),
        ({"lr": -1}, "lr: expected a number above 0, got -1"),
        ({"lr": float("nan")}, "lr: expected a number, got nan"),
        ({"lr": "1e-3"}, "lr: expected a number, got '1e-3'; give a number"),
        ({"lr": True}, "lr: expected a number, got True"),
        ({"epochs": -1}, "epochs: expected 0 or more, got -1"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        ({"batch_size": 2.0}, "batch_size: expected a whole number, got 2.0"),
        ({"accumulation": 0}, "accumulation: expected 1 or more"),
        ({"warmup": 1.0}, "warmup: expected a share of the steps, from 0 to below 1, got 1.0"),
        ({"weight_decay": -0.1}, "weight_decay: expected 0 or more"),
        ({"clip": 0}, "clip: expected a number above 0"),
        ({"max_length": 3}, "max_length: expected 4 tokens or more"),
        ({"seed": -1}, "seed: expected 0 to 4294967295"),
        ({"seed": None}, "seed: expected a whole number, got None"),
        ({"evaluations": 0}, "evaluations: expected 1 or more"),
        ({"patience": 0}, "patience: expected 1 or more, or none"),
        ({"patience": 10}, "patience 10 can never stop a run of 10 evaluations"),
        ({"save_steps": 0}, "save_steps: expected 1 or more, or none"),
        ({"save_seconds": -1.0}, "save_seconds: expected 0 or more"),
        ({"precision": "bf61"}, "unknown precision 'bf61': did you mean 'bf16'?"),
        ({"select": "bets"}, "unknown select 'bets': did you mean 'best'?"),
        ({"activation_checkpointing": "no"}, "activation_checkpointing: expected true or false, got 'no'"),
    ],
)
def test_nonsense_is_refused_when_built(setting: dict, says: str) -> None:
    with pytest.raises(UserError) as caught:
        Settings(**setting)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "batch", "accumulation", "epochs", "steps"),
    [(10, 4, 1, 1, 3), (10, 4, 2, 1, 2), (10, 4, 2, 3, 6), (10, 4, 1, 0.5, 2), (1, 32, 8, 2, 2), (10, 4, 1, 0, 0)],
)
def test_steps_counts_the_short_batch_and_the_short_group(rows, batch, accumulation, epochs, steps) -> None:
    assert Settings(batch_size=batch, accumulation=accumulation, epochs=epochs).steps(rows) == steps


def test_when_checkpoints_are_written_decides_nothing() -> None:
    assert Settings(save_steps=5, save_seconds=1.0).deciding() == Settings().deciding()
    assert Settings(lr=1.0).deciding() != Settings().deciding()


def test_a_default_is_the_recipes_default() -> None:
    """Where a recipe and a run of `fit`, or the reader of an adapter, have one option, there is one number."""
    recipe = Training()
    for other in (Settings(), ReadSettings()):
        shared = {field.name for field in fields(other)} & {field.name for field in fields(recipe)}
        assert len(shared) >= 4
        assert {name: getattr(other, name) for name in shared} == {name: getattr(recipe, name) for name in shared}
