"""The laws of one pass: what must change a result, and what must not."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor

from crossflare.disk.files import commit_dir
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.identity import identify
from crossflare.fusion.saved.adapter_files import load_adapter, save_adapter
from crossflare.fusion.saved.plain_lora import export_plain_lora
from crossflare.selftest.models import (
    ANSWER,
    FEW,
    OTHERS,
    PAD,
    SETTINGS,
    SOURCES,
    TARGETS,
    TASKS,
    WRITERS,
    Measure,
    Measures,
    adapted,
    agree,
    batch,
    build_base,
    differ,
    rows,
)

STEPS = 5
"""The number of tokens that `generate` writes."""


@torch.no_grad()
def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Return the logits [B,...] of one pass; for a decoder, those of the last token, which padding does not move."""
    given = inputs
    if model.config.is_encoder_decoder:
        given = inputs | {"decoder_input_ids": answers(inputs)}
    found: Tensor = model(**given).logits
    return found[:, -1] if model.config.model_type == "llama" else found


def answers(inputs: dict[str, Tensor]) -> Tensor:
    """Return tokens [B,ANSWER] for the decoder of an encoder-decoder model: the same for every row."""
    ids = inputs["input_ids"]
    return torch.tensor(rows([ANSWER], 7)).repeat(len(ids), 1).to(ids.device)


def write_greedily(model: Any, inputs: dict[str, Tensor], **options: Any) -> tuple[Tensor, Tensor]:
    """Return what `generate` writes greedily [B,N], and the logits of every step [B,N,V]; N is STEPS by default."""
    out = _generate(model, inputs, output_logits=True, **options)
    return out.sequences[:, -len(out.logits) :], torch.stack(out.logits, 1)


def beam_scores(model: Any, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    """Return the scores of three beams [B,3], the best first."""
    out = _generate(model, inputs, num_beams=3, num_return_sequences=3, output_scores=True, **options)
    return out.sequences_scores.view(len(inputs["input_ids"]), 3)


def _generate(model: Any, inputs: dict[str, Tensor], **options: Any) -> Any:
    fixed = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": PAD, "return_dict_in_generate": True}
    return model.generate(**inputs, **fixed | options)


NOTHING = (0,) * len(TARGETS)
"""The lengths of sources without tokens: rows without a source."""


def row_alone(device: torch.device) -> Measures:
    """Each row by itself, without padding, gives what it gives in a batch."""
    for kind in TASKS:
        for name, options in SETTINGS.items():
            model = adapted(kind, device, **options)
            together = logits(model, batch(kind, device))
            for row in range(len(TARGETS)):
                own = logits(model, batch(kind, device, row=row))
                yield agree(f"{kind}, {name}, row {row} by itself and in a batch", own[0], together[row])


def padding(device: torch.device) -> Measures:
    """More padding, of the target or of the source, changes nothing."""
    for kind in TASKS:
        for name, options in SETTINGS.items():
            model = adapted(kind, device, **options)
            expected = logits(model, batch(kind, device))
            found = logits(model, batch(kind, device, extra=3))
            yield agree(f"{kind}, {name}, the target padded by 3 columns more", found, expected)
            found = logits(model, batch(kind, device, source_extra=4))
            yield agree(f"{kind}, {name}, the source padded by 4 columns more", found, expected)
            if kind != "encoder":  # BERT counts positions from the first column
                other = "right" if kind == "decoder" else "left"
                found = logits(model, batch(kind, device, source_side=other))
                yield agree(f"{kind}, {name}, the source padded on the {other}", found, expected)


def source(device: torch.device) -> Measures:
    """A source changes every row, and another source changes it in another way; this holds for written text, too."""
    for kind in TASKS:
        for name, options in SETTINGS.items():
            model = adapted(kind, device, **options)
            one, other, none = (batch(kind, device, given) for given in (SOURCES, OTHERS, None))
            with_one = logits(model, one)
            yield differ(f"{kind}, {name}, with a source and without", with_one, logits(model, none))
            yield differ(f"{kind}, {name}, with a source and with another", with_one, logits(model, other))
            if kind in WRITERS:
                first, second, third = (
                    write_greedily(model, given, max_new_tokens=1)[1][:, 0] for given in (one, other, none)
                )
                yield differ(f"{kind}, {name}, writing with a source and without", first, third)
                yield differ(f"{kind}, {name}, writing with a source and with another", first, second)


def without_source(device: torch.device) -> Measures:
    """A row without a source takes the value of the target alone; if phi is linear, that is a plain LoRA's value."""
    for kind in TASKS:
        for name, options in SETTINGS.items():
            model = adapted(kind, device, **options)
            expected = logits(model, batch(kind, device, None))
            found = logits(model, batch(kind, device, NOTHING))
            yield agree(f"{kind}, {name}, sources without a token and no sources", found, expected)
            mixed = (5, 0, 3)
            found = logits(model, batch(kind, device, mixed))
            yield agree(f"{kind}, {name}, a row without a source beside others", found[1], expected[1])
    with TemporaryDirectory() as folder:
        for kind in TASKS:
            model = adapted(kind, device, fusion="add")
            export_plain_lora(model, Path(folder) / kind)
            lora = PeftModel.from_pretrained(build_base(kind), str(Path(folder) / kind)).to(device).eval()
            given = batch(kind, device, None)
            yield agree(f"{kind}, add without a source and a plain LoRA", logits(model, given), logits(lora, given))


def fresh(device: torch.device) -> Measures:
    """A new adapter, whose lora_B is zero, gives what the base model gives."""
    for kind in TASKS:
        expected = logits(build_base(kind).to(device), batch(kind, device, None))
        for name, options in SETTINGS.items():
            config = FlareConfig(task_type=TASKS[kind], r=4, **options)
            model = get_peft_model(build_base(kind), config).to(device).eval()
            found = logits(model, batch(kind, device))
            yield agree(f"{kind}, {name}, lora_B at zero and the base model", found, expected)


def saved(device: torch.device) -> Measures:
    """An adapter that is saved and loaded gives the same as before, with crossflare's files and with peft's."""
    with TemporaryDirectory() as folder:
        for kind in TASKS:
            for number, (name, options) in enumerate(FEW.items()):
                base = build_base(kind)
                identity = identify(base)
                model = adapted(kind, device, base=base, **options)
                expected = logits(model, batch(kind, device))
                ours, peft = (Path(folder) / f"{kind}-{number}-{by}" for by in ("crossflare", "peft"))
                save_adapter(model, ours, base=identity)
                loaded: Any = load_adapter(build_base(kind), ours, base=identity)
                found = logits(loaded.to(device), batch(kind, device))
                yield agree(f"{kind}, {name}, saved by save_adapter and loaded", found, expected)
                commit_dir(
                    peft, lambda place, model=model: model.save_pretrained(str(place), save_embedding_layers=False)
                )
                loaded = PeftModel.from_pretrained(build_base(kind), str(peft)).to(device).eval()
                found = logits(loaded, batch(kind, device))
                yield agree(f"{kind}, {name}, saved by save_pretrained and loaded", found, expected)


def as_on_cpu(device: torch.device) -> Measures:
    """The device gives what the CPU gives."""
    cpu = torch.device("cpu")
    for kind in TASKS:
        for name, options in SETTINGS.items():
            found, expected = (logits(adapted(kind, at, **options), batch(kind, at)) for at in (device, cpu))
            yield agree(f"{kind}, {name}, on {device} and on the CPU", found, expected)


def cached(device: torch.device) -> Measures:
    """Writing with the cache gives what writing without it gives, greedily and in beams, with padded prompts."""
    for kind in WRITERS:
        for name, options in SETTINGS.items():
            model, inputs = adapted(kind, device, **options), batch(kind, device)
            greedy = [write_greedily(model, inputs, use_cache=use) for use in (True, False)]
            yield same_text(f"{kind}, {name}, written with the cache and without", greedy[0], greedy[1])
            beams = [beam_scores(model, inputs, use_cache=use) for use in (True, False)]
            yield agree(f"{kind}, {name}, beams with the cache and without", beams[0], beams[1])


def prompt_alone(device: torch.device) -> Measures:
    """Each prompt by itself, without padding, is answered as in a batch, and as with more padding."""
    for kind in WRITERS:
        for name, options in SETTINGS.items():
            model = adapted(kind, device, **options)
            tokens, logits = write_greedily(model, batch(kind, device))
            padded = write_greedily(model, batch(kind, device, extra=3, source_extra=2))
            yield same_text(f"{kind}, {name}, written with more padding", padded, (tokens, logits))
            for row in range(len(TARGETS)):
                own, together = (
                    write_greedily(model, batch(kind, device, row=row)),
                    (tokens[row][None], logits[row][None]),
                )
                yield same_text(f"{kind}, {name}, prompt {row} by itself and in a batch", own, together)


def same_text(what: str, found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> Measure:
    """Measure the logits [B,N,V] of all steps before which both wrote the same tokens [B,N]."""
    same = (found[0] == expected[0]).long().cumprod(1)[:, :-1]
    comparable = torch.nn.functional.pad(same, (1, 0), value=1).bool()
    return agree(what, found[1][comparable], expected[1][comparable])
