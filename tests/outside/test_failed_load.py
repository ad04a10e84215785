"""Loads that fail at the last moment, when peft has put the adapter on the model: it is as it was before."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

import crossflare
from crossflare.errors import UserError
from fusion_models import build, flare, randomise
from model_state import same, state


def test_a_stage_1_that_overflows_the_base_is_taken_off_again(tmp_path: Path) -> None:
    base = build("bert", dtype=torch.float16)
    identity = crossflare.identify(base)
    config = LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=10**6, target_modules=["query"])
    first = get_peft_model(base, config, autocast_adapter_dtype=False)
    randomise(first.double(), 30.0)
    crossflare.save_adapter(first, tmp_path / "one", base=identity)
    second = flare(build("bert", dtype=torch.float16))
    crossflare.save_adapter(second, tmp_path / "two", base=identity, source_task=tmp_path / "one")
    base = build("bert", dtype=torch.float16)
    before = state(base)
    with pytest.raises(UserError, match=r"source_task: merging it makes .*query infinite or no number"):
        crossflare.load_adapter(base, tmp_path / "two")
    assert same(before, state(base))


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_whatever_ends_a_load_the_model_is_as_it_was(
    tmp_path: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build("bert")
    crossflare.save_adapter(flare(build("bert")), tmp_path / "alone", base=crossflare.identify(base))
    before = state(base)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("crossflare.fusion.saved.adapter_files.set_peft_model_state_dict", fail)
    with pytest.raises(error):
        crossflare.load_adapter(base, tmp_path / "alone")
    assert same(before, state(base))
