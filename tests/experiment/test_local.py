"""Each worker has a GPU of its own where there are several; without one the cores are shared."""

import pytest
import torch

from crossflare.experiment.running import pools


@pytest.fixture(autouse=True)
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROSSFLARE_DEVICE", raising=False)


@pytest.mark.parametrize(
    ("count", "given", "found"),
    [
        (0, None, ()),
        (1, None, ("0",)),
        (4, None, ("0", "1", "2", "3")),
        (2, "3,5", ("3", "5")),
        (2, " GPU-a , GPU-b ", ("GPU-a", "GPU-b")),
        (0, "7", ()),  # named, but not there
    ],
)
def test_the_gpus_are_those_that_may_be_used(
    count: int, given: str | None, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.delenv(pools.VISIBLE, raising=False)
    if given is not None:
        monkeypatch.setenv(pools.VISIBLE, given)
    assert pools.gpus() == found
    monkeypatch.setattr(pools.os, "cpu_count", lambda: 64)
    assert pools.default_workers() == (len(found) or 4)


def test_gpus_are_left_alone_where_the_processor_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CROSSFLARE_DEVICE", "cpu")
    assert pools.gpus() == ()


def test_workers_do_not_share_one_gpu_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pools.default_workers() == 1


def test_workers_take_the_gpus_in_turn() -> None:
    names = [pools.device_of(worker, ("2", "5", "7")) for worker in range(5)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in names] == ["2", "5", "7", "2", "5"]


@pytest.mark.parametrize("devices", [(), ("0",)])
def test_where_there_is_no_choice_nothing_is_set(devices: tuple[str, ...]) -> None:
    assert pools.device_of(1, devices) == {}
