"""`FlareModel`: puts the fusing layers into a model, and the attachment that reads the source for them."""

import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager, nullcontext
from typing import Any

from peft import PeftConfig
from torch import Tensor, nn

from crossflare.errors import UserError
from crossflare.fusion import released
from crossflare.fusion.attachment import Attachment, check_alike
from crossflare.fusion.blocks import (
    Site,
    find_projections,
    find_sites,
    input_norm,
    is_encoder_decoder,
    one_matrix,
    projects_positions,
)
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.functions import make_phi
from crossflare.fusion.heads import saved_whole
from crossflare.fusion.latents import Latents, add_projection, current_name, remove_projections
from crossflare.fusion.saved.peft_route import check_model
from crossflare.fusion.variant import FlareVariant
from crossflare.libraries.peft import LoraLayer, LoraModel, add_adapter_weights, all_linear, is_on, is_targeted, lora_a
from crossflare.libraries.torch import keep_differentiable
from crossflare.libraries.transformers import own_fault


class BaseWarning(UserWarning):
    """The installed release of transformers computes the base model itself wrongly."""


HEADED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
"""Tasks with a new head, which is trained and saved with the adapter."""


class FlareModel(LoraModel):  # type: ignore[misc]  # read by its place in peft
    """A `LoraModel` whose query and value layers fuse the target's low-rank states with the source's.

    `peft.get_peft_model` makes it. Besides a text's own inputs [B,T], the model takes `source_input_ids` and
    `source_attention_mask` [B,S]. Its output has `logits` [B,K] and the base model's own `source_logits` [B,K].

    >>> import peft
    >>> from transformers import AutoModelForSequenceClassification, AutoTokenizer
    >>> base = AutoModelForSequenceClassification.from_pretrained("base", num_labels=2)
    >>> model = peft.get_peft_model(base, crossflare.FlareConfig(task_type="SEQ_CLS"))
    >>> isinstance(model.base_model, crossflare.FlareModel)
    True
    >>> collate = crossflare.SourceCollator(AutoTokenizer.from_pretrained("base"))
    >>> output = model(**collate([{"text": "filamu mbaya", "source": "bad film"}]))
    >>> output.logits.shape, output.source_logits.shape
    (torch.Size([1, 2]), torch.Size([1, 2]))

    Raises:
        UserError: The model has no attention that FLARE knows, or an option does not fit it; the model is unchanged.
    """

    tuner_layer_cls = (LoraLayer, Latents)
    """What peft switches, trains, freezes and deletes with an adapter."""

    def _pre_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:
        self.attachment = Attachment.of(model) or Attachment(model)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Inject an adapter and set up its layers; an error leaves the model unchanged.

        Raises:
            UserError: An option has a value that FLARE refuses, the projections are not found, or `target_modules`
                leaves some of them out.
        """
        config = self.peft_config[adapter_name]
        if not isinstance(config, FlareConfig):  # plain LoRA beside FLARE (see `several`)
            super().inject_adapter(model, adapter_name, *args, **kwargs)
            return
        check_model(model, config)
        if (fault := own_fault(getattr(model, "config", None))) is not None:
            warnings.warn(fault, BaseWarning, stacklevel=2)
        before = _State(model)
        try:
            sites = self._expected(model, config)
            keep_differentiable(model)
            try:
                super().inject_adapter(model, adapter_name, *args, **kwargs)
            except ValueError as error:
                raise UserError(f"{type(model).__name__}: peft refuses it: {' '.join(str(error).split())}") from error
            self._set_up(model, adapter_name, config, sites)
            self.attachment.add(adapter_name, config, sites)
        except BaseException:
            before.restore(self, adapter_name)
            raise

    def _expected(self, model: nn.Module, config: FlareConfig) -> list[Site]:
        """Fill in the options that the model decides, and return the projections that must fuse."""
        config.check()
        if config.released and is_encoder_decoder(model):
            raise UserError("released: the authors' code has no encoder-decoder models; leave released out")
        if config.fusion_modules is None:
            config.fusion_modules = sorted(find_projections(model))
        sites = find_sites(model, tuple(config.fusion_modules), cross=config.fuse_cross_attention)
        if one_matrix(model, sites[0]) is None:
            config.flare_format = 1  # as earlier versions read it
        if config.target_modules is None:
            config.target_modules = sorted(config.fusion_modules)
        if config.target_modules == "all-linear":
            config.target_modules = all_linear(config, model)
        if config.task_type in HEADED:  # peft itself finds heads by two names only
            config.modules_to_save = sorted({*(config.modules_to_save or []), *saved_whole(model)})
        _check_count(config, [site for site in sites if is_targeted(config, site.name)], sites)
        return sites

    def _set_up(self, model: nn.Module, adapter: str, config: FlareConfig, expected: Iterable[Site]) -> None:
        """Give every LoRA layer of the adapter its variant; those of the expected projections fuse."""
        sites = {site.name: site for site in expected}
        layers: dict[str, Any] = {name: each for name, each in model.named_modules() if is_on(each, adapter)}
        fusing = [name for name in layers if name in sites]
        _check_count(config, [sites[name] for name in fusing], list(sites.values()))
        latents = None
        if config.mt_dim is not None:
            latents = add_projection(model, adapter, config.mt_dim, layers[fusing[0]])
        for name, layer in layers.items():
            variant = FlareVariant(self.attachment.calls, name)
            if name in sites:
                self._fuse(model, variant, layer, adapter, config, sites[name])
                variant.latents = latents
            layer.lora_variant[adapter] = variant

    def _fuse(
        self, model: nn.Module, variant: FlareVariant, layer: Any, adapter: str, config: FlareConfig, site: Site
    ) -> None:
        """Turn a plain layer's variant into a fusing one."""
        phi = make_phi(config.fusion, layer.r[adapter])
        if isinstance(phi, nn.Module):
            phi = phi.to(lora_a(layer, adapter).weight)
            add_adapter_weights(layer, "lora_fusion", adapter, phi)
        if config.released:
            phi = released.PlainAlone(phi)
        # The decoder's cross-attention value projects what the encoder wrote, so it pairs as the encoder's blocks do.
        first = next(each.stack for each in find_sites(model, (site.projection,)))
        stack = first if site.role == "cross_value" else site.stack
        variant.phi, variant.stack, variant.block, variant.role = phi, stack, site.block, site.role
        variant.alignment, variant.lead = str(config.alignment), config.lead
        variant.norm = input_norm(model, site) if config.source_norm else None
        variant.one_matrix = one_matrix(model, site) if config.flare_format > 1 else None
        attention = model.get_submodule(site.name.rpartition(".")[0])
        if projects_positions(attention):
            self.attachment.hooks += [
                attention.register_forward_pre_hook(variant.note_states, with_kwargs=True),
                layer.register_forward_pre_hook(variant.note_input, with_kwargs=True),
            ]

    def set_adapter(self, adapter_name: str | list[str], *args: Any, **kwargs: Any) -> None:
        """Make adapters active.

        Raises:
            UserError: They read the source in different ways.
        """
        names = [adapter_name] if isinstance(adapter_name, str) else adapter_name
        known = self.attachment.configs
        check_alike({name: known[name] for name in names if name in known})
        super().set_adapter(adapter_name, *args, **kwargs)

    @classmethod
    def _remap_adapter_state_dict_for_load(cls, *, state_dict: dict[str, Tensor], **rest: Any) -> dict[str, Tensor]:
        """Accept the tensor names of older adapters."""
        renamed = {current_name(name): tensor for name, tensor in state_dict.items()}
        return super()._remap_adapter_state_dict_for_load(state_dict=renamed, **rest)

    def unload(self) -> nn.Module:
        """Return the base model without adapters or hooks."""
        self.attachment.detach()
        remove_projections(self.model)
        return super().unload()

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Generator[None]:
        names = kwargs.pop("adapter_names", None)
        mixing = nullcontext() if names is None else self.attachment.mixing.of(names)
        with super()._enable_peft_forward_hooks(*args, **kwargs), mixing:
            yield

    def add_weighted_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a sum of adapters is not the adapter of a sum once phi is not linear."""
        raise UserError(
            "FLARE adapters cannot be combined by weights: phi is not linear in them; train a joint adapter"
        )


def _check_count(config: FlareConfig, fusing: list[Site], expected: list[Site]) -> None:
    limited = config.layers_to_transform is not None or config.exclude_modules is not None
    if not fusing or (len(fusing) != len(expected) and not limited):
        raise UserError(
            f"{len(fusing)} of {len(expected)} projections named {', '.join(config.fusion_modules or [])} would "
            f"fuse; target_modules {config.target_modules} must include fusion_modules"
        )


class _State:
    """A model before an injection: whether it had adapters, and which weights were trained."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.adapted = any(isinstance(module, LoraLayer) for module in model.modules())
        self.trained = [(weight, weight.requires_grad) for weight in model.parameters()]

    def restore(self, tuner: FlareModel, adapter: str) -> None:
        """Remove what the injection added."""
        if any(is_on(module, adapter) for module in self.model.modules()):
            if self.adapted:
                tuner.delete_adapter(adapter)
            else:
                tuner.unload()
        for weight, trained in self.trained:
            weight.requires_grad_(trained)
