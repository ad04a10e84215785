"""What crossflare uses of transformers beyond its documented API, and where its documented API differs by version."""

from typing import Any

from crossflare.libraries import guard


def checkpoint_activations(model: Any) -> None:
    """Let a model compute activations twice rather than keep them.

    transformers 5.23 gave `gradient_checkpointing_enable` another name, and deprecates the old one.
    """
    kwargs = {"use_reentrant": False}  # re-entrant, it finds no input that needs a gradient: embeddings are frozen
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=kwargs)
    elif hasattr(model, "gradient_checkpointing_enable"):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kwargs)
    else:
        raise guard.fail("transformers", "PreTrainedModel.activation_checkpointing_enable")
