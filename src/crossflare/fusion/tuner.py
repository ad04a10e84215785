"""`FlareModel`: puts the fusing layers into a model, and runs the source pass before each forward pass."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftConfig
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.utils.generic import ModelOutput

from crossflare.errors import UserError
from crossflare.fusion import released
from crossflare.fusion.blocks import (
    Site,
    find_projections,
    find_sites,
    input_norm,
    is_encoder_decoder,
    projects_positions,
)
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.frame import Slot
from crossflare.fusion.functions import FUSIONS
from crossflare.fusion.generation import begin
from crossflare.fusion.identity import head_modules
from crossflare.fusion.inputs import Inputs
from crossflare.fusion.peft_seams import LoraLayer, LoraModel, add_adapter_weights, is_targeted, lora_a
from crossflare.fusion.quantised_layers import keep_differentiable
from crossflare.fusion.source_pass import SourcePass
from crossflare.fusion.variant import FlareVariant

HEADED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
"""Tasks whose head is new, hence trained and saved with the adapter."""


class FlareModel(LoraModel):
    """A `LoraModel` whose query and value layers fuse the target's low-rank states with the source's."""

    def _pre_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:
        self.slot = Slot()
        self.flare_hooks: list[RemovableHandle] = []

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Inject an adapter and set up its layers; what can be refused is refused before the model is touched.

        Raises:
            UserError: The projections are not found, or `target_modules` leaves some of them out.
        """
        config: FlareConfig = self.peft_config[adapter_name]  # type: ignore[assignment]
        keep_differentiable(model)
        if config.fusion_modules is None:
            config.fusion_modules = sorted(find_projections(model))
        if config.target_modules is None:
            config.target_modules = sorted(config.fusion_modules)
        if config.task_type in HEADED:  # peft itself finds heads by two names only
            config.modules_to_save = sorted({*(config.modules_to_save or []), *head_modules(model)})
        if config.released and is_encoder_decoder(model):
            raise UserError("released: the authors' code has no encoder-decoder models; leave released out")
        expected = find_sites(model, tuple(config.fusion_modules), cross=config.fuse_cross_attention)
        if config.target_modules != "all-linear":
            self._check_count(config, [site for site in expected if is_targeted(config, site.name)], expected)
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        self.source_pass = SourcePass(model, expected, self.slot)
        if not self.flare_hooks:
            # On the model itself, not on this wrapper: peft's classes call either, and generate calls the model.
            self.flare_hooks += [
                model.register_forward_pre_hook(self._before, with_kwargs=True),
                model.register_forward_hook(self._after, with_kwargs=True, always_call=True),
            ]
        self._set_up(adapter_name, config, expected)

    def _set_up(self, adapter: str, config: FlareConfig, expected: list[Site]) -> None:
        """Give every LoRA layer of the adapter its variant, and count those that fuse."""
        sites = {site.name: site for site in expected}
        layers = {n: m for n, m in self.model.named_modules() if isinstance(m, LoraLayer) and adapter in m.lora_A}
        fusing = [name for name in layers if name in sites]
        self._check_count(config, [sites[name] for name in fusing], expected)
        latents = self._latents(layers[fusing[0]], adapter, config)
        for name, layer in layers.items():
            variant = FlareVariant(self.slot)
            if name in sites:
                self._fuse(variant, layer, adapter, config, sites[name])
                variant.latents = latents
            layer.lora_variant[adapter] = variant
            layer.set_adapter(layer.active_adapters, inference_mode=config.inference_mode)

    def _fuse(self, variant: FlareVariant, layer: LoraLayer, adapter: str, config: FlareConfig, site: Site) -> None:
        """Turn a plain layer's variant into a fusing one."""
        phi = FUSIONS[config.fusion].build(layer.r[adapter])
        if isinstance(phi, nn.Module):
            phi = phi.to(lora_a(layer, adapter).weight)
            add_adapter_weights(layer, "lora_fusion", adapter, phi)
        if config.released:
            phi = released.PlainAlone(phi)
        # The decoder's cross-attention value projects what the encoder wrote, so it pairs as the encoder's blocks do.
        stack = self.source_pass.first if site.role == "cross_value" else site.stack
        variant.phi, variant.stack, variant.block, variant.role = phi, stack, site.block, site.role
        variant.alignment, variant.lead = str(config.alignment), config.lead
        variant.norm = input_norm(self.model, site) if config.source_norm else None
        attention = self.model.get_submodule(site.name.rpartition(".")[0])
        if projects_positions(attention):
            self.flare_hooks += [
                attention.register_forward_pre_hook(variant.note_states, with_kwargs=True),
                self.model.get_submodule(site.name).register_forward_pre_hook(variant.note_input, with_kwargs=True),
            ]

    def _latents(self, first: LoraLayer, adapter: str, config: FlareConfig) -> nn.Module | None:
        """Make the one trained Linear(d_mt -> d) of FLARE MT; it lives in the first fusing layer, all share it."""
        if config.mt_dim is None:
            return None
        weight = lora_a(first, adapter).weight
        projection = nn.Linear(config.mt_dim, weight.shape[1]).to(weight)
        add_adapter_weights(first, "lora_latents", adapter, projection)
        return projection

    def _check_count(self, config: FlareConfig, fusing: list[Site], expected: list[Site]) -> None:
        limited = config.layers_to_transform is not None or config.exclude_modules is not None
        if not fusing or (len(fusing) != len(expected) and not limited):
            raise UserError(
                f"{len(fusing)} of {len(expected)} projections named {', '.join(config.fusion_modules or [])} would "
                f"fuse; target_modules {config.target_modules} must include fusion_modules"
            )

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Call the base model's `generate`, with a source or without (see `generation`).

        Raises:
            UserError: An option under which the source would be read wrongly, or a prompt that is padded on the right.
        """
        session, rest = begin(self, args, kwargs)
        self.slot.session = session
        try:
            return self.model.generate(**rest)  # type: ignore[operator]
        finally:
            self.slot.session = None
            self.slot.clear()

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Take the source's arguments off a call of the model, read the source, and fill the slot."""
        if self.slot.reading:
            return args, kwargs
        self.slot.clear()
        inputs = Inputs.take(model, args, kwargs)
        if self.slot.session is not None:
            self.slot.frame = self.slot.session.frame(inputs)
        elif inputs.has_source and self._fuses:
            _refuse_cache(inputs.target.get("past_key_values"))
            self.slot.frame = self.source_pass.frame(inputs, self.active_config)
        return args, inputs.rest

    def _after(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Add `source_logits` to the output; let go of the states unless a backward pass may still need them."""
        if self.slot.reading:
            return output
        frame = self.slot.frame
        if frame is not None and frame.logits is not None and isinstance(output, ModelOutput):
            output["source_logits"] = frame.logits
        if output is None or not torch.is_grad_enabled():
            self.slot.clear()
        return output

    @property
    def adapters_off(self) -> bool:
        """Whether all adapters are disabled (`with model.disable_adapter()`)."""
        return next(m for m in self.model.modules() if isinstance(m, LoraLayer)).disable_adapters

    @property
    def _fuses(self) -> bool:
        """Whether a source changes anything in this call."""
        return not self.adapters_off and not (self.active_config.released and released.is_off(self.model))

    @property
    def active_config(self) -> FlareConfig:
        """The configuration of the first active adapter."""
        return self.peft_config[self.active_adapters[0]]  # type: ignore[return-value]

    def unload(self) -> nn.Module:
        """Return the base model without adapters or hooks."""
        for hook in self.flare_hooks:
            hook.remove()
        return super().unload()

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Generator[None]:
        if kwargs.get("adapter_names") is not None:
            raise UserError(
                "FLARE does not mix adapters in one batch (adapter_names); call set_adapter and one batch each"
            )
        with super()._enable_peft_forward_hooks(*args, **kwargs):
            yield

    def add_weighted_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a sum of adapters is not the adapter of a sum once phi is not linear."""
        raise UserError(
            "FLARE adapters cannot be combined by weights: phi is not linear in them; train a joint adapter"
        )


def _refuse_cache(past: Any) -> None:
    if past is not None and past.get_seq_length() > 0:
        raise UserError(
            "a source is read with the prompt, but past_key_values already hold one; call "
            "generate(source_input_ids=...)"
        )
