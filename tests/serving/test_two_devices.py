"""Two adapters on two devices, side by side: each reads where it is, and says what it says alone."""

from pathlib import Path

import numpy as np
import pytest

import crossflare
from crossflare.serving.prediction import Prediction
from second_device import SECOND, second_device
from tiny_adapters import SOURCES, TEXTS, make_adapters


def shares(said: list[Prediction]) -> np.ndarray:
    return np.array([list(each.probabilities.values()) for each in said])


def test_two_adapters_on_two_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.evaluation.scoring.resolve", lambda precision, device: "fp32")
    folder = make_adapters(tmp_path)
    here = crossflare.open_adapter(folder / "flare", device="cpu")
    rows = [{"text": text, "source": source, "label": "bad"} for text, source in zip(TEXTS, SOURCES, strict=True)]
    expected, scores = shares(here.predict(TEXTS, SOURCES)), crossflare.evaluate(here, rows)
    with second_device(monkeypatch):
        there = crossflare.open_adapter(folder / "flare")
        assert {parameter.device for parameter in there.model.parameters()} == {SECOND}
        found = shares(there.predict(TEXTS, SOURCES))
        assert crossflare.evaluate(there, rows) == scores
    assert {parameter.device.type for parameter in here.model.parameters()} == {"cpu"}
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(shares(here.predict(TEXTS, SOURCES)), expected, atol=1e-6)
