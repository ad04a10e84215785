"""What X-Mixup adds to a form with a head, besides the mixing block, as its authors published it.

The loss is alpha * L_source + (1 - alpha) * L_target, plus terms that make the two languages agree: for labels,
KL(p_source || p_target) and the mean squared difference of the first tokens' states; for spans, the mean squared
difference of the mean states. Labels are predicted from the mean of the source's and the target's log-probabilities,
spans from the target's logits alone. Rows without a source use L_target and the target's prediction.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from crossflare.tasks.example import Example
from crossflare.training.forms.answering import SpanForm, span_losses
from crossflare.training.forms.choosing import HeadForm
from crossflare.training.forms.protocol import Choices, average
from crossflare.training.loop.balance import WEIGHTS, mean_loss
from crossflare.training.loop.memory import Number
from crossflare.training.loop.state import Batch
from crossflare.training.text.spans import IGNORED, SpanCollator

LABELS, SPANS = 0.4, 0.2
"""alpha, the source's share of the loss."""


class XMixupForm(HeadForm):
    """A classification head on a prepared model; see the module."""

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean over rows of both languages' losses plus their disagreement."""
        batch = self.given(batch, step)
        labels, weights, there = batch.pop("labels"), batch.pop(WEIGHTS, None), there_in(batch)
        output = model(**batch, output_hidden_states=True)
        logits = output.logits.float()
        losses = functional.cross_entropy(logits, labels, reduction="none")
        if not bool(there.any()):
            return mean_loss(losses, weights)
        other = output.source_logits[there].float()
        source = functional.cross_entropy(other, labels[there], reduction="none")
        said = (logits[there].log_softmax(-1), other.log_softmax(-1))
        apart = functional.kl_div(*said, reduction="none", log_target=True).sum(-1)
        first, other_first = (
            each[-1][there, 0].float() for each in (output.hidden_states, output.source_hidden_states)
        )
        both = LABELS * source + (1 - LABELS) * losses[there] + apart + (first - other_first).square().mean(-1)
        alone = losses[~there]
        if weights is not None:
            alone, both = weights[~there] * alone, weights[there] * both
        return (alone.sum() + both.sum()) / len(labels)

    def read(
        self, model: Any, examples: Sequence[Example], rows: Any, batch_size: int, precision: Number, description: str
    ) -> Choices:
        """Return the normalised mean of the log-probabilities for both languages."""
        said = super().read(model, examples, rows, batch_size, precision, description)
        if said.source is None:
            return said
        return replace(said, log_probabilities=average(said.log_probabilities, said.source))


class XMixupSpanForm(SpanForm):
    """A head for the answer's start and end on a prepared model; see the module.

    A source whose answer is not known, such as a machine translation, has no loss of its own.
    """

    def __init__(self, tokenizer: Any, max_length: int, stride: int, answer_tokens: int, *, with_source: bool) -> None:
        super().__init__(tokenizer, max_length, stride, answer_tokens, with_source=with_source)
        self.collate = SpanCollator(tokenizer, max_length, with_source=with_source, source_spans=True)

    def loss(self, model: Any, batch: Batch, step: int = 0, /) -> Tensor:
        """Return the mean over rows of the target's loss, or both losses, plus the disagreement."""
        start, end, there = batch.pop("start_positions"), batch.pop("end_positions"), there_in(batch)
        known = [batch.pop(f"source_{name}_positions", start) for name in ("start", "end")]
        output = model(**batch, output_hidden_states=True)
        mask = batch["attention_mask"]
        losses = span_losses(output.start_logits, output.end_logits, start, end, mask)
        if not bool(there.any()):
            return losses.mean()
        source_mask = batch["source_attention_mask"]
        if "source_rows" in batch:
            source_mask = source_mask[batch["source_rows"]]
        said = known[0] != IGNORED
        if bool(said.any()):
            sides = (output.source_start_logits, output.source_end_logits, *known, source_mask)
            other = span_losses(*(side[said] for side in sides))
            losses = losses.index_put((said,), SPANS * other + (1 - SPANS) * losses[said])
        mean = mean_state(output.hidden_states[-1], mask)[there]
        other_mean = mean_state(output.source_hidden_states[-1], source_mask)[there]
        return losses.mean() + (mean - other_mean).square().mean(-1).sum() / len(losses)


def there_in(batch: Batch) -> Tensor:
    """Return which rows have a source, [B] bool."""
    if "source_attention_mask" not in batch:
        return torch.zeros_like(batch["attention_mask"][:, 0], dtype=torch.bool)
    there = batch["source_attention_mask"].any(1)
    return there[batch["source_rows"]] if "source_rows" in batch else there


def mean_state(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean state [B,d] over the tokens in `mask` [B,T]."""
    weights = mask[..., None].float()
    return (states.float() * weights).sum(1) / weights.sum(1).clamp(min=1)
