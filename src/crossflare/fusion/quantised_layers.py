"""What bitsandbytes' layers need so that gradients pass through them."""

from crossflare.libraries.bitsandbytes import is_quantised, keep_differentiable

__all__ = ["is_quantised", "keep_differentiable"]
