"""X-Mixup's equation (Yang et al., ICLR 2022, arXiv 2205.04182): source states are mixed into target states.

After a block's attention, with hs' and ht' the sums of its input and its attention,

    ht'' = norm(weight * dense(attend(ht', hs')) + (1 - weight) * ht')
    weight = 1/2 * sigmoid(w * H + b)

where attention, dense and norm are the block's own, and H is the mean entropy of the target's attention to the source
plus that of the source's attention to the target. The only new parameters are w and b, which start at 1.

Published for encoders with a norm after each sum. Other blocks keep their norms where they have them: the projections
read normed states, and the mixture is normed by what comes next. No position of one text is near one of the other, so
rotary angles and relative positions are left out, as they are in an encoder-decoder's own attention across texts. In
a decoder a token's H is of the target's tokens up to it, so that no token changes an earlier one; that of the last
token is the H above.
"""

import math

import torch
from torch import Tensor, nn

from crossflare.fusion.frame import real_rows
from crossflare.libraries.attention import Attention

CLOSED = -1e4
"""The score of a token that must not be read, once the lowest score of the others is 1: its share is exactly 0."""


class Gate(nn.Module):
    """The gate weight = most * sigmoid(w * H + b), where `most` is the largest weight, 1/2."""

    def __init__(self, most: float = 0.5) -> None:
        super().__init__()
        self.most = most
        self.weight, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, entropy: Tensor) -> Tensor:
        """Return the source's weight [B,...] for an entropy [B,...] in nats."""
        return self.most * torch.sigmoid(self.weight * entropy + self.bias)


def mixed(
    parts: Attention,
    gate: nn.Module,
    target: Tensor,
    source: Tensor,
    target_mask: Tensor,
    source_mask: Tensor,
    *,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return ht'' [B,T,d], and the source's weight [B,1,1] or [B,T,1]; where it is 0, ht' is to be kept.

    Args:
        parts: The block's attention.
        gate: Entropy -> the source's weight.
        target: ht' [B,T,d].
        source: hs' [B,S,d].
        target_mask: The target mask [B,T] bool.
        source_mask: The source mask [B,S] bool; a row that is all False keeps its ht'.
        causal: Whether a target token sees only what precedes it; then also those outside of the mask keep their ht'.
    """
    there, opened = source_mask.any(1), real_rows(source_mask)
    readers, read = parts.before(target), parts.before(source)
    log_shares = _log_shares(_scores(parts, readers, read), opened)
    own, back = _entropy(log_shares), _scores(parts, read, readers)
    if causal:
        before = (own * target_mask).cumsum(1) / target_mask.cumsum(1).clamp(min=1)
        entropy = before + _mean(_prefix_entropy(back, target_mask), opened)
        weight = (gate(entropy) * (target_mask & there[:, None]))[..., None]
    else:
        entropy = _mean(own, target_mask) + _mean(_entropy(_log_shares(back, target_mask)), opened)
        weight = (gate(entropy) * there)[:, None, None]
    values = _heads(parts.value(read), parts.key_heads).repeat_interleave(parts.heads // parts.key_heads, 1)
    context = (parts.dropout(log_shares.exp()).to(values) @ values).transpose(1, 2).flatten(2)
    made = parts.after(parts.output_dropout(parts.dense(context)))
    return parts.norm(weight * made + (1 - weight) * target), weight


def _heads(states: Tensor, heads: int) -> Tensor:
    """Return [B,T,d] as [B,heads,T,d/heads]."""
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)


def _scores(parts: Attention, readers: Tensor, read: Tensor) -> Tensor:
    """Return the scores [B,heads,T,S] in float32, of `readers` [B,T,d] for `read` [B,S,d]."""
    queries = parts.query_norm(_heads(parts.query(readers), parts.heads))
    keys = parts.key_norm(_heads(parts.key(read), parts.key_heads))
    keys = keys.repeat_interleave(parts.heads // parts.key_heads, 1)
    scale = 1 / math.sqrt(queries.shape[-1]) if parts.scale is None else parts.scale
    scores = (queries @ keys.mT).float() * scale
    return scores if parts.cap is None else parts.cap * torch.tanh(scores / parts.cap)


def _log_shares(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the log attention weights [B,heads,T,S] for the tokens in `mask` [B,S]."""
    return scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min).log_softmax(-1)


def _entropy(log_shares: Tensor) -> Tensor:
    """Return the entropy in nats of each reader's attention, its mean over heads [B,T]."""
    return -(log_shares.exp() * log_shares).sum(-1).mean(1)


def _prefix_entropy(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the entropy [B,S,T] of each reader's attention to the tokens up to each one, its mean over heads.

    Args:
        scores: The scores [B,heads,S,T].
        mask: The tokens [B,T] bool that can be read; where none has come yet, the entropy is 0.
    """
    closed = ~mask[:, None, None]
    least = scores.detach().masked_fill(closed, math.inf).amin(-1, keepdim=True)
    raised = torch.where(closed, 1.0, scores - least + 1)  # at least 1, so that it has a logarithm
    total = torch.where(closed, CLOSED, raised).logcumsumexp(-1)
    mean = (torch.where(closed, CLOSED, raised + raised.log()).logcumsumexp(-1) - total).exp()
    begun = mask.cumsum(1)[:, None, None] > 0
    return torch.where(begun, total - mean, 0).mean(1)


def _mean(each: Tensor, readers: Tensor) -> Tensor:
    """Return the mean of `each` [B,T,...] over the tokens in the mask `readers` [B,T]."""
    weights = readers.view(*readers.shape, *[1] * (each.dim() - 2))
    return (each * weights).sum(1) / weights.sum(1)
