"""Several processes train as one does: real ones, over gloo. `pair.py` runs them; here is what must hold."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crossflare.errors import UserError
from crossflare.training.loop import batching, distributed
from crossflare.training.loop.settings import Settings

TO = 1e-5


def pair(folder: Path, *names: str) -> dict[str, Any]:
    program = Path(__file__).with_name("pair.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, program.with_name("conftest.py"), folder, *names],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return pair(tmp_path_factory.mktemp("alike"), "lora", "add_relu", "attention", "regrouped", "wrapped")


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return pair(tmp_path_factory.mktemp("disturbed"), "seams", "killed", "lost", "failed", "signalled", "unlike")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["lora", "add_relu", "attention"])
def test_two_processes_train_as_one(alike: dict[str, Any], kind: str) -> None:
    """21 steps, accumulation, a last batch of one row, sources in few rows: the same weights, curve and choice."""
    result = alike[kind]
    (one,), (first, second) = (result["ends"][size]["said"] for size in ("1", "2"))
    assert result["moved"] > 100 * TO
    assert result["between"] < TO
    assert result["processes"] == 0
    assert first == second
    assert first["steps"] == 21
    for ours, its in zip(first.pop("curve"), one.pop("curve"), strict=True):
        assert ours == pytest.approx(its, abs=TO)
    assert first == one


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_chance_one_process_goes_on_where_two_were_shot(alike: dict[str, Any]) -> None:
    result = alike["regrouped"]
    assert result["shot"]["codes"] == [-9, -9]
    assert result["on"]["said"][0]["resumed"] > 0
    assert result["difference"] < TO


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_flare_under_torchs_own_wrapper_has_the_gradients_of_the_whole_batch(alike: dict[str, Any]) -> None:
    """For those who train a FLARE model with their own loop: hooks and source arguments pass through."""
    assert alike["wrapped"]["codes"] == [0, 0]
    for said in alike["wrapped"]["said"]:
        assert max(said.values()) < 1e-8


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_shot_and_resumed_with_dropout_gives_the_very_weights(disturbed: dict[str, Any]) -> None:
    result = disturbed["killed"]
    assert [shot["codes"] for shot in result["shots"]] == [[-9, -9]] * 2
    assert result["again"]["said"][0]["resumed"] > 4
    assert result["difference"] == 0
    assert result["again"]["said"][0]["curve"] == result["whole"]["said"][0]["curve"]
    assert "processes was 2, is 1" in result["alone"]["said"][0]["text"]  # other processes draw other numbers


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_who_loses_another_ends_at_once_with_a_line(disturbed: dict[str, Any]) -> None:
    for survivor, result in enumerate(disturbed["lost"]):
        assert sorted(result["codes"]) == [-9, 1]
        said = result["said"][survivor]
        assert said["error"] == "LostError"
        assert said["text"].startswith(f"process {survivor} of 2 stopped, since another one is gone (")
        assert said["text"].endswith("); what is finished is kept: start them all again")
        assert result["seconds"] < 60


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("what", "where", "here", "there"),
    [
        ("memory", 1, r"UserError: the device has too little memory", "ToldError: process 1 of 2: the device has too"),
        ("nan", 1, "UserError: training stopped before step 5: the loss is nan", "ToldError: process 1 of 2: training"),
        ("full", 0, "UserError: the disk is full", "ToldError: process 0 of 2: the disk is full"),
        ("bug", 1, "KeyError: 'key'", "ToldError: process 1 of 2: KeyError: 'key'"),
    ],
)
def test_what_fails_on_one_fails_on_all(
    disturbed: dict[str, Any], what: str, where: int, here: str, there: str
) -> None:
    said = [f"{each['error']}: {each['text']}" for each in disturbed["failed"][what]["said"]]
    assert said[where].startswith(here)
    assert said[1 - where].startswith(there)
    assert disturbed["failed"][what]["codes"] == [1, 1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_signal_to_one_stops_all_after_the_same_step_with_a_checkpoint(disturbed: dict[str, Any]) -> None:
    assert disturbed["signalled"]["codes"] == [143, 143]
    assert disturbed["signalled"]["saved"][-1] == "step-00000005"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_processes_with_unlike_models_are_refused(disturbed: dict[str, Any]) -> None:
    for said in disturbed["unlike"]["said"]:
        assert said["text"].startswith("processes 0 and 1 of the run differ in base, start; start them alike")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_passes_between_processes(disturbed: dict[str, Any]) -> None:
    first, second = disturbed["seams"]["said"]
    assert second.pop("followed") == ["first", None]
    assert first == second == {
        "outside": 1, "inside": 2, "told": [0, 1], "order": "01", "variables": [],
    }  # fmt: skip


def test_alone_nothing_is_exchanged() -> None:
    distributed.start()
    with distributed.together():
        assert (distributed.rank(), distributed.size(), distributed.is_main()) == (0, 1, True)
        assert distributed.meet({"a": 1}) == [{"a": 1}]
        assert distributed.from_main(lambda: (1, 2)) == (1, 2)
        assert distributed.main_first(lambda: 3) == 3
    distributed.lead("nobody")


def test_shares_are_whole_items_in_order() -> None:
    rows = range(18)
    for size in range(1, 7):
        shares = [batching.rows_of_process(rows, rank, size, 3) for rank in range(size)]
        assert [row for share in shares for row in share] == list(rows)
        assert {len(share) % 3 for share in shares} == {0}
        assert max(map(len, shares)) - min(map(len, shares)) in (0, 3)
    assert [len(batching.rows_of_process(range(1), rank, 2)) for rank in (0, 1)] == [0, 1]


def test_batches_without_a_row_for_each_process_are_refused() -> None:
    batching.check_groups(40, 8, 4, 2)
    with pytest.raises(UserError, match=r"batch_size: expected 12 or more.* each of 3 processes, got 8; raise it or"):
        batching.check_groups(40, 8, 4, 3)


def test_processes_that_have_not_joined_are_refused(lab: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would train a model of its own, all in one folder."""
    settings = Settings(epochs=1, max_length=16, evaluations=1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one of 2 that do not know of each other; start them by"):
        lab.run(folder, settings)
    assert not folder.exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert lab.run(folder, settings)[1].steps == 2
