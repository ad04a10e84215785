"""Packed predictions: what comes back is what was packed, and nothing that is damaged is taken."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from crossflare.errors import UserError
from crossflare.evaluation.predictions import PACKED, Predictions, load_predictions, pack, packed_text, rows_file

SHAPES = st.tuples(st.integers(1, 6), st.integers(0, 4))


def written(folder: Path, found: Predictions, licence: str = "CC0") -> Path:
    rows, said = pack(found, licence)
    (folder / rows_file(said)).write_text(packed_text(rows), encoding="utf-8")
    path = folder / f"run{PACKED}"
    path.write_text(packed_text(said), encoding="utf-8")
    return path


def small() -> Predictions:
    return Predictions(("a", "b"), np.array([0, 1]), np.array([1, -1]), np.log(np.array([[0.25, 0.75], [0.5, 0.5]])))


@given(shape=SHAPES, data=st.data())
def test_labels_come_back_as_they_were_and_probabilities_to_three_digits(
    shape: tuple[int, int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    count, labels = shape
    ids = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=count, max_size=count))
    gold, predicted = (data.draw(arrays.arrays(np.int64, count, elements=st.integers(-1, 32767))) for _ in "ab")
    logs = data.draw(arrays.arrays(np.float64, (count, labels), elements=st.floats(-30, 0)))
    found = load_predictions(written(tmp_path_factory.mktemp("packed"), Predictions(tuple(ids), gold, predicted, logs)))
    assert found.ids == tuple(ids)
    assert np.array_equal(found.gold, gold)
    assert np.array_equal(found.predicted, predicted)
    assert found.log_probabilities.shape == (count, labels)
    np.testing.assert_allclose(found.log_probabilities, logs, rtol=1e-3, atol=1e-6)


def test_runs_over_the_same_rows_share_their_file(tmp_path: Path) -> None:
    one, other = small(), Predictions(("a", "b"), np.array([0, 1]), np.array([0, 0]), np.zeros((2, 0)))
    assert rows_file(pack(one, "CC0")[1]) == rows_file(pack(other, "CC0")[1])
    assert rows_file(pack(one, "CC0")[1]) != rows_file(pack(one, "other")[1])
    assert "texts" not in packed_text(pack(one, "CC0")[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: said.update(prediction="AA=="), "damaged"),
        (lambda said: said.update(prediction="not base64"), "damaged"),
        (lambda said: said.pop("labels"), "damaged"),
        (lambda said: said.update(labels=3), "damaged"),
        (lambda said: said.update(format=2), "expected packed predictions of format 1"),
        (lambda said: said.update(rows="0" * 12), "rows-0"),
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = written(tmp_path, small())
    said = json.loads(path.read_text())
    change(said)
    path.write_text(packed_text(said))
    with pytest.raises(UserError, match=message):
        load_predictions(path)


def test_rows_of_another_run_and_a_changed_file_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, small())
    rows = next(tmp_path.glob("rows-*"))
    rows.write_text(rows.read_text().replace('"a"', '"c"'))
    with pytest.raises(UserError, match="and their rows"):
        load_predictions(path)
    with pytest.raises(UserError, match=r"sha256 differs"):
        load_predictions(written(tmp_path, small()), "0" * 64)
