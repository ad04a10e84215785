"""generate as users call it: on every kind of wrapper, with caches of their own, with embeddings, by position."""

from typing import Any

import pytest
import torch
from peft import get_peft_model, inject_adapter_in_model
from transformers import DynamicCache

from crossflare import FlareConfig
from crossflare.errors import UserError
from crossflare.libraries.transformers import cache_argument
from fusion_models import PAD
from writing_models import adapted, build, prompts, write

OPTIONS: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": PAD, "eos_token_id": None}
INPUTS = prompts("llama", [5, 3], [4, 6])


@pytest.mark.parametrize("way", ["get_peft_model", "inject_adapter_in_model", "get_base_model"])
def test_every_kind_of_wrapper_writes_with_the_source(way: str) -> None:
    model, config = adapted("llama", alignment="attention"), FlareConfig(r=4, lora_alpha=8, alignment="attention")
    if way == "get_base_model":
        other: Any = model.get_base_model()
    else:
        wrap = get_peft_model if way == "get_peft_model" else lambda base, config: inject_adapter_in_model(config, base)
        other = wrap(build("llama"), config)
        inner = other.get_base_model() if way == "get_peft_model" else other
        inner.load_state_dict(model.get_base_model().state_dict())
    expected = write(model, INPUTS)
    assert torch.equal(other.eval().generate(**INPUTS, **OPTIONS)[:, 5:], expected)
    plain = {name: tensor for name, tensor in INPUTS.items() if "source" not in name}
    assert not torch.equal(other.generate(**plain, **OPTIONS)[:, 5:], expected)


def test_embeddings_and_positional_prompts() -> None:
    model = adapted("llama")
    words, expected = model.get_input_embeddings(), write(model, INPUTS)
    given = dict(INPUTS)
    given["inputs_embeds"] = words(given.pop("input_ids"))
    given["source_inputs_embeds"] = words(given.pop("source_input_ids"))
    assert torch.equal(model.generate(**given, **OPTIONS), expected)
    rest = {name: tensor for name, tensor in INPUTS.items() if name != "input_ids"}
    assert torch.equal(model.generate(INPUTS["input_ids"], **rest, **OPTIONS)[:, 5:], expected)


def test_a_cache_of_the_users_own() -> None:
    """Under whichever name forward takes it: an empty one is used, one that holds tokens is refused."""
    model = adapted("llama")
    name, cache = cache_argument(model.get_base_model().forward.__signature__.parameters), DynamicCache()
    assert torch.equal(write(model, INPUTS, **{name: cache}), write(model, INPUTS))
    for call in (lambda: write(model, INPUTS, **{name: cache}), lambda: model(**INPUTS, **{name: cache})):
        with pytest.raises(UserError, match="the key-value cache given holds 10 tokens already"):
            call()


@pytest.mark.parametrize("family", ["llama", "mt5"])
@pytest.mark.parametrize("fusion", ["add_relu", "cross_attention"])
def test_the_shortest_prompts_and_sources(family: str, fusion: str) -> None:
    model = adapted(family, fusion=fusion)
    for target, source in ((1, 1), (1, 3), (3, 1)):
        inputs = prompts(family, [target], [source])
        assert torch.equal(write(model, inputs), write(model, inputs, use_cache=False))
