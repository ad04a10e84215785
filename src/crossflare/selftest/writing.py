"""Laws of generation: each step with the key-value cache sees what a whole pass would."""

import torch
from torch import Tensor

from crossflare.selftest.models import SETTINGS, TARGETS, WRITERS, Measure, Measures, adapted, agree, batch
from crossflare.selftest.one_call import beam_scores, write_greedily


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
    """Measure the logits [B,N,V] of all steps before which the same tokens [B,N] were written."""
    same = (found[0] == expected[0]).long().cumprod(1)[:, :-1]
    comparable = torch.nn.functional.pad(same, (1, 0), value=1).bool()
    return agree(what, found[1][comparable], expected[1][comparable])
