"""Tiny models of every family and head in docs/models.md, built from configurations; one table, `FAMILIES`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import transformers
from torch import Tensor

from fusion_models import Batch, pad, rows

VOCABULARY, HIDDEN, LABELS, PAD, END, HEADS, KV_HEADS, WINDOW = 40, 16, 3, 1, 3, 4, 2, 4
ANSWER = 5
"""Tokens of every answer that an encoder-decoder model is given."""
Task = Literal["SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "CAUSAL_LM", "SEQ_2_SEQ_LM"]
"""peft's names of the tasks, hence of the heads."""
Kind = Literal["decoder", "encoder", "encoder-decoder"]


@dataclass(frozen=True)
class Family:
    """One architecture: how to make it small, and what is particular about it."""

    name: str
    kind: Kind
    config: str
    """transformers' configuration class."""
    heads: dict[Task, str]
    """Task -> transformers' class."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    exact: float = 1e-10
    """What float64 results agree to; families that compute norms or rotary angles in float32 reach less."""
    projections: tuple[str, str] = ("q_proj", "v_proj")
    pre_norm: bool = False
    tied: bool = False
    """The causal head shares the embeddings' weights, as the family's published models do."""
    eager_only: bool = False
    """Attention that SDPA cannot compute (soft caps). In float64 transformers' eager attention is NaN for padding."""
    shifts: bool = True
    """States do not depend on the side of the padding."""
    blocks: int = 2
    key_rows: Callable[[int], list[int]] | None = None
    """(rows of one matrix of query, key and value) -> those of the key."""


ALL_DECODER_HEADS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "CAUSAL_LM")
SUFFIX: dict[Task, str] = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
    "CAUSAL_LM": "ForCausalLM",
    "SEQ_2_SEQ_LM": "ForConditionalGeneration",
}


def _decoder(name: str, prefix: str, tasks: tuple[Any, ...] = ALL_DECODER_HEADS, **rest: Any) -> Family:
    own = {"num_key_value_heads": KV_HEADS, "head_dim": 4, "rms_norm_eps": 1e-6, "classifier_dropout": 0.0} | rest.pop(
        "options", {}
    )
    names: dict[Task, str] = {task: prefix + SUFFIX[task] for task in tasks}
    names |= rest.pop("named", {})
    config = rest.pop("config", f"{prefix}Config")
    return Family(name, "decoder", config, names, own, pre_norm=True, **{"exact": 1e-5} | rest)


def _encoder(name: str, prefix: str, **rest: Any) -> Family:
    tasks: tuple[Task, ...] = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
    return Family(name, "encoder", f"{prefix}Config", {task: prefix + SUFFIX[task] for task in tasks}, **rest)


def _t5(name: str, prefix: str, tied: bool) -> Family:
    sizes = {"d_model": HIDDEN, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
    special = {
        "decoder_start_token_id": PAD,
        "eos_token_id": END,
        "relative_attention_num_buckets": 8,
        "dropout_rate": 0.0,
    }
    special |= {"classifier_dropout": 0.0, "initializer_factor": 1.0, "feed_forward_proj": "gated-gelu"}
    tasks: tuple[Task, ...] = ("SEQ_2_SEQ_LM", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
    heads = {task: prefix + SUFFIX[task] for task in tasks}
    return Family(
        name,
        "encoder-decoder",
        f"{prefix}Config",
        heads,
        sizes | special | {"tie_word_embeddings": tied},
        exact=1e-5,
        projections=("q", "v"),
        pre_norm=True,
        tied=tied,
    )


def _bart(name: str, prefix: str, tasks: tuple[Any, ...], pre_norm: bool, shifts: bool = False) -> Family:
    sizes: dict[str, Any] = {"d_model": HIDDEN, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "encoder_layers": 2}
    sizes |= {"decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    special = {"decoder_start_token_id": 3, "eos_token_id": 3, "bos_token_id": 2, "forced_eos_token_id": None}
    special |= {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "init_std": 0.3}
    special |= {"encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}
    heads = {task: prefix + SUFFIX[task] for task in tasks}
    return Family(
        name,
        "encoder-decoder",
        f"{prefix}Config",
        heads,
        sizes | special,
        pre_norm=pre_norm,
        tied=True,
        shifts=shifts,
    )


def _second_third(rows: int) -> list[int]:
    return list(range(rows // 3, 2 * rows // 3))


def _second_third_of_each_head(rows: int) -> list[int]:
    width = rows // HEADS
    return [head * width + row for head in range(HEADS) for row in _second_third(width)]


SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
GEMMA_3 = SLIDING | {"query_pre_attn_scalar": 4}
CAPPED = GEMMA_3 | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
DROPS = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MODERN = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 8}
MODERN |= {"initializer_cutoff_factor": 3.0, "layer_types": ["full_attention", "sliding_attention"]}
DEBERTA = {"relative_attention": True, "position_buckets": 8, "share_att_key": True, "pos_att_type": ["c2p", "p2c"]}
DEBERTA |= {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "pooler_dropout": 0.0}
NEOX = {"query_key_value": ("query_key_value", "query_key_value")}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _decoder("llama", "Llama"),
        _decoder("mistral", "Mistral", options={"sliding_window": WINDOW}),
        _decoder(
            "gemma-2",
            "Gemma2",
            ("SEQ_CLS", "TOKEN_CLS", "CAUSAL_LM"),
            options=CAPPED,
            tied=True,
            eager_only=True,
            exact=1e-4,
        ),
        _decoder(
            "gemma-3",
            "Gemma3",
            ("CAUSAL_LM",),
            config="Gemma3TextConfig",
            named={"SEQ_CLS": "Gemma3TextForSequenceClassification"},
            options=GEMMA_3,
            tied=True,
        ),
        _decoder("qwen-2", "Qwen2", options={"tie_word_embeddings": True}, tied=True),
        _decoder("qwen-3", "Qwen3", options={"tie_word_embeddings": True}, tied=True),
        _decoder("gpt-neox", "GPTNeoX", projections=NEOX["query_key_value"], key_rows=_second_third_of_each_head),
        _encoder("xlm-r", "XLMRoberta", options=DROPS, projections=("query", "value")),
        _encoder("bert", "Bert", options=DROPS, projections=("query", "value"), shifts=False),
        _encoder("mdeberta", "DebertaV2", options=DROPS | DEBERTA, projections=("query_proj", "value_proj")),
        _encoder(
            "modernbert",
            "ModernBert",
            options=MODERN,
            exact=1e-5,
            projections=("Wqkv", "Wqkv"),
            pre_norm=True,
            key_rows=_second_third,
        ),
        _t5("t5", "T5", tied=True),
        _t5("mt5", "MT5", tied=False),
        _t5("umt5", "UMT5", tied=False),
        _bart("m2m100", "M2M100", ("SEQ_2_SEQ_LM",), pre_norm=True, shifts=True),  # and NLLB
        _bart("bart", "Bart", ("SEQ_2_SEQ_LM", "SEQ_CLS", "QUESTION_ANS"), pre_norm=False),
        _bart("mbart", "MBart", ("SEQ_2_SEQ_LM", "SEQ_CLS", "QUESTION_ANS"), pre_norm=True),
    )
}
ONE_STACK = tuple(name for name, family in FAMILIES.items() if family.kind != "encoder-decoder")
CELLS: tuple[tuple[str, Task], ...] = tuple((name, task) for name in FAMILIES for task in FAMILIES[name].heads)
"""Every family with every head it has."""
TWO_STACKS: tuple[tuple[str, Task], ...] = tuple(
    (name, task) for name, task in CELLS if name not in ONE_STACK and task != "TOKEN_CLS"
)
"""Those that run an encoder and a decoder; a label for each token takes the encoder alone."""
DECODERS = tuple(name for name in ONE_STACK if FAMILIES[name].kind == "decoder")
SLIDING_WINDOWS = ("mistral", "gemma-2", "gemma-3", "modernbert")


def configuration(name: str, **options: Any) -> Any:
    """Return a family's tiny configuration; `options` replace its own."""
    family = FAMILIES[name]
    common: dict[str, Any] = {"vocab_size": VOCABULARY, "num_labels": LABELS, "pad_token_id": PAD}
    if family.kind != "encoder-decoder":
        common |= {"hidden_size": HIDDEN, "num_hidden_layers": family.blocks, "num_attention_heads": HEADS}
        common |= {"intermediate_size": 24, "max_position_embeddings": 64, "initializer_range": 0.3}
    if family.kind == "decoder":
        common |= {"bos_token_id": 2, "eos_token_id": 3}
    kind: Callable[..., Any] = getattr(transformers, family.config)
    return kind(**common | family.options | options)


def make(
    name: str,
    task: Task = "SEQ_CLS",
    *,
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    seed: int = 0,
    **options: Any,
) -> Any:
    """Return a model of a family with a head, in eval mode, its weights random and large enough to matter.

    Args:
        name: A key of `FAMILIES`.
        task: One of its heads.
        dtype: Of the weights; None: float64, or float32 where eager attention needs it.
        attention: `eager` or `sdpa`; None: eager where the family needs it, else what transformers takes.
        seed: Of the weights.
        options: Fields of the configuration.
    """
    family, config = FAMILIES[name], configuration(name, **options)
    if task == "QUESTION_ANS":
        config.num_labels = 2
    chosen = attention or ("eager" if family.eager_only else None)
    if chosen is not None:
        config._attn_implementation = chosen
    torch.manual_seed(seed)
    model: Any = getattr(transformers, family.heads[task])(config)
    return model.to(dtype or (torch.float32 if family.eager_only else torch.float64)).eval()


def texts(
    targets: list[int], sources: list[int], *, side: str = "right", source_side: str = "right", extra: int = 0
) -> Batch:
    """Return a batch of random tokens; the source is padded on its own side, by `extra` columns more."""
    return Batch(pad(rows(targets, 1), side=side), pad(rows(sources, 2), side=source_side, extra=extra))


def lists(name: str, task: Task, lengths: list[int], seed: int) -> list[list[int]]:
    """Return random tokens with these lengths; encoder-decoder models find a text's label at its one end token."""
    made = rows(lengths, seed)
    if FAMILIES[name].kind == "encoder-decoder" and task == "SEQ_CLS":
        return [[*row[:-1], END] if row else row for row in made]
    return made


def answers(count: int) -> list[list[int]]:
    """Return the tokens that a decoder is given, one list per row."""
    return rows([ANSWER] * count, 7)


def sided(
    name: str,
    task: Task,
    targets: list[int] = [7, 4, 9],  # noqa: B006
    sources: list[int] = [5, 8, 0],  # noqa: B006
    *,
    side: str = "",
    source_side: str = "right",
    extra: int = 0,
) -> Batch:
    """Return a batch of `lists`, the target padded as the family's tokenizers do, with the decoder's tokens."""
    before = side or ("left" if FAMILIES[name].kind == "decoder" else "right")
    target = pad(lists(name, task, targets, 1), side=before)
    if task == "SEQ_2_SEQ_LM":
        target["decoder_input_ids"] = torch.tensor(answers(len(targets)))
    return Batch(target, pad(lists(name, task, sources, 2), side=source_side, extra=extra))


def given(name: str, task: Task, *, labels: bool = True) -> dict[str, Tensor]:
    """Return a batch with labels or without; with labels an encoder-decoder model makes its decoder's inputs."""
    both = sided(name, task)
    inputs = both.both() | (labels_for(task, both.target) if labels else {})
    if labels:
        inputs.pop("decoder_input_ids", None)
    return inputs


def labels_for(task: Task, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return labels with which a model of this task has a loss."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    count = len(ids)
    if task == "SEQ_CLS":
        return {"labels": torch.arange(count) % LABELS}
    if task == "SEQ_2_SEQ_LM":
        labels = torch.tensor(answers(count))
        labels[-1, -2:] = -100
        return {"labels": labels}
    if task == "QUESTION_ANS":
        first = mask.long().argmax(1)
        return {"start_positions": first, "end_positions": first + mask.sum(1) - 1}
    kinds = ids % LABELS if task == "TOKEN_CLS" else ids
    return {"labels": kinds.masked_fill(~mask, -100)}


def per_row(task: Task, output: Any, mask: Tensor) -> list[Tensor]:
    """Return each row's predictions without its padding: [T,...], of an answer's tokens, or [C] for a whole text."""
    if task in ("SEQ_CLS", "SEQ_2_SEQ_LM"):
        return list(output.logits)
    scores = torch.stack([output.start_logits, output.end_logits], -1) if task == "QUESTION_ANS" else output.logits
    return [row[real] for row, real in zip(scores, mask.bool(), strict=True)]


@torch.no_grad()
def predict(model: Any, task: Task, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Call a model and return each row's predictions without its padding."""
    return per_row(task, model(**inputs), inputs["attention_mask"])


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """Return the largest difference of two lists of predictions."""
    assert [row.shape for row in one] == [row.shape for row in other]
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))
