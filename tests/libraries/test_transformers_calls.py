"""The contract with transformers: what crossflare takes its undocumented names to mean."""

import inspect
from typing import Any

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, LlamaForCausalLM, StaticCache

from crossflare.libraries import transformers as names
from crossflare.libraries.guard import LibraryError
from writing_models import DECODERS, ENCODER_DECODERS, build


@pytest.mark.parametrize("family", [*DECODERS, *ENCODER_DECODERS])
def test_the_cache_of_a_call(family: str) -> None:
    """The argument that is found by its name is the one that the model fills, and it counts its tokens."""
    model = build(family)
    name = names.cache_argument(inspect.signature(model.forward).parameters)
    paired = model.config.is_encoder_decoder
    cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache()) if paired else DynamicCache()
    ids = torch.tensor([[4, 5, 6]])
    given = {"input_ids": ids, "decoder_input_ids": ids} if paired else {"input_ids": ids}
    assert names.cached_tokens(cache) == names.cached_tokens(None) == 0
    model(**given, **{name: cache, "use_cache": True})
    assert names.cached_tokens(cache) == 3
    assert names.cache_among([ids, None, cache]) is cache


def test_a_static_cache_counts_what_it_holds() -> None:
    model: LlamaForCausalLM = build("llama")
    cache = StaticCache(config=model.config, max_cache_len=8)
    name = names.cache_argument(type(model).forward.__annotations__)
    with torch.no_grad():
        model(torch.tensor([[4, 5, 6]]), **{name: cache})
    assert names.cached_tokens(cache) == 3


def test_names_that_are_gone_are_said_in_one_line() -> None:
    for call in (lambda: names.cache_argument(["input_ids"]), lambda: names.cached_tokens(object())):
        with pytest.raises(LibraryError, match=r"^transformers \S+ has no .* tested with transformers .*: install a "):
            call()


def test_checkpointing_modules_run_their_blocks_with_the_wrapped_function() -> None:
    model = build("llama").train()
    assert names.checkpointing(model.modules()) == []
    names.with_checkpointing(model, reentrant=False)
    seen: list[bool] = []
    for module in (found := names.checkpointing(model.modules())):
        names.wrap_checkpoint(
            module, lambda plain: lambda *args, **kwargs: (seen.append(True), plain(*args, **kwargs))[1]
        )
    assert found
    model(torch.tensor([[4, 5, 6]]))
    assert len(seen) == model.config.num_hidden_layers


def test_a_module_that_checkpoints_without_a_function() -> None:
    module = torch.nn.Linear(1, 1)
    module.gradient_checkpointing = True  # type: ignore[assignment]
    with pytest.raises(LibraryError, match=r"has no Linear\._gradient_checkpointing_func, which crossflare needs"):
        names.checkpointing([module])
