"""Every type of transformers with a head for text: right by all laws, refused in one line, or not to be had small.

    python tests/families/sweep.py            all of them; writes docs/results/architectures.json and docs/models.md
    python tests/families/sweep.py bert gpt2  these alone

What is expected comes from hooks on the plain base: nothing here knows the names of modules or norms.
"""

import json
import re
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[1]))

import peft
import torch
import transformers
from torch import Tensor

import crossflare
from crossflare.errors import UserError
from families.any_model import END, PAD, SOURCE, TARGET, NotBuiltError, Pair, build, call, make, pairs
from reference.slow_flare import alone, phi

Word = Literal["right", "refused", "not built", "wrong"]
CROSS = re.compile(r"EncDecAttention|encoder_attn|crossattention|cross_attn|cross_attention")
"""In the name of a decoder's attention to the encoder, which does not fuse by default."""
HEADS = {"SEQ_CLS": "text", "TOKEN_CLS": "tokens", "QUESTION_ANS": "answers", "CAUSAL_LM": "writing"}
HEADS |= {"SEQ_2_SEQ_LM": "encoder-decoder"}
ROOT = Path(__file__).parents[2]
STATE, PAGE = ROOT / "docs/results/architectures.json", ROOT / "docs/models.md"
START, STOP = "<!-- types: python tests/families/sweep.py -->\n", "\n<!-- end of types -->"
CLOSE = 2e-4
"""What float32 results agree to."""


@dataclass(frozen=True)
class Verdict:
    """What was found of a pair."""

    word: Word
    why: str = ""


def examine(pair: Pair) -> Verdict:
    """Try all laws on one pair."""
    try:
        base = build(pair)
    except NotBuiltError as error:
        return _refused(pair) or Verdict("not built", str(error))
    try:
        broken = list(_laws(pair, base))
    except UserError as error:
        return Verdict("refused", str(error))
    except NotBuiltError as error:
        return Verdict("not built", str(error))
    return Verdict("wrong", "; ".join(broken)) if broken else Verdict("right")


def _refused(pair: Pair) -> Verdict | None:
    """Return the refusal of a model that can be made, though not called; nothing where there is none."""
    try:
        peft.get_peft_model(make(pair), crossflare.FlareConfig(task_type=pair.task, r=4))
    except UserError as error:
        return Verdict("refused", str(error))
    except NotBuiltError:
        pass
    return None


def adapted(pair: Pair, *, lead: int = 1, noise: bool = True, base: Any = None) -> Any:
    """Return a new model with an adapter, whose weights are random where `noise` is."""
    config = crossflare.FlareConfig(task_type=pair.task, r=4, lead=lead)
    model = peft.get_peft_model(base or build(pair), config).eval()
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if noise and "lora_" in name:
            weight.data = torch.randn_like(weight) * 0.3
    return model


def source(ids: list[int], left: int = 0, right: int = 0) -> dict[str, Tensor]:
    """Return the arguments of one source, padded on both sides."""
    mask = [0] * left + [1] * len(ids) + [0] * right
    row = [PAD] * left + ids + [PAD] * right
    return {"source_input_ids": torch.tensor([row]), "source_attention_mask": torch.tensor([mask])}


def saved_and_loaded(pair: Pair, model: Any) -> Any:
    """Return the model with its adapter from a folder."""
    fresh = build(pair)
    with TemporaryDirectory() as place:
        crossflare.save_adapter(model, Path(place) / "adapter", base=crossflare.identify(fresh))
        return crossflare.load_adapter(fresh, Path(place) / "adapter")


def in_four_bits(base: Any) -> Any:
    """Return a base with the linear layers of its blocks in 4 bits; None where bitsandbytes or such a layer is missing.

    They are replaced one by one, as transformers does it for a folder's model.
    """
    try:
        from bitsandbytes.nn import Linear4bit
    except ImportError:
        return None
    found = 0
    for name, layer in list(base.named_modules()):
        if type(layer) is torch.nn.Linear and any(part.isdigit() for part in name.split(".")):
            small = Linear4bit(layer.in_features, layer.out_features, layer.bias is not None, torch.float32)
            small.load_state_dict(layer.state_dict())
            parent, _, last = name.rpartition(".")
            setattr(base.get_submodule(parent), last, small.to("cpu"))
            found += 1
    return base if found else None


def answers(base: Any, pair: Pair) -> bool:
    """Whether a base runs: some layers of state-space blocks read the weights of others, which 4 bits do not allow."""
    try:
        call(base, pair, torch.tensor([TARGET]))
    except Exception:
        return False
    return True


@torch.no_grad()
def written_with(model: Any, read: dict[str, Tensor], **options: Any) -> Any:
    """Return the scores of five written tokens [1,5,V]; None if the model cannot write."""
    text = torch.tensor([TARGET[:-1]])
    try:
        out = model.generate(
            input_ids=text,
            attention_mask=torch.ones_like(text),
            max_new_tokens=5,
            min_new_tokens=5,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **read,
            **options,
        )
    except UserError:
        raise
    except Exception:
        return None
    return torch.stack(out.logits, 1)


def _laws(pair: Pair, base: Any) -> Iterator[str]:
    text, read = torch.tensor([TARGET]), source(SOURCE)
    plain = call(base, pair, text)
    if apart(call(adapted(pair, noise=False), pair, text, **read), plain) > CLOSE:
        yield "a new adapter changes the output"
    model = adapted(pair)
    if apart(call(model, pair, text), plain) < 1e-6:
        raise NotBuiltError("its attention gives nothing on a CPU")
    with_source = call(model, pair, text, **read)
    if apart(with_source, call(model, pair, text)) < 1e-6:
        yield "the source changes nothing"
    causal = not base.config.is_encoder_decoder and sees_no_later(base)
    for side in ("right", "left") if causal else ("right",):
        padded = call(model, pair, text, **source(SOURCE, **{side: 3}))
        if apart(padded, with_source) > CLOSE and not reads_padding(base, pair, side):
            yield f"padding of the source on the {side} changes the output"
    both = torch.tensor([TARGET, [*TARGET[-2::-1], END]])
    other = source([3, 4, 5, 6, END])
    batch = {name: torch.cat([read[name], other[name]]) for name in read}
    if apart(call(model, pair, both, **batch)[:1], with_source) > CLOSE:
        yield "another row of the batch changes the output"
    for lead in (0, 1):
        if lead == 0 or pair.task != "SEQ_2_SEQ_LM":
            found = call(adapted(pair, lead=lead), pair, text, **read)
            if apart(found, by_hand(pair, adapted(pair, lead=lead), lead, causal)) > CLOSE:
                yield f"lead {lead} is not the equation"
    if causal and with_source.dim() == 3:
        later = text.clone()
        later[0, -2] = 14
        if apart(call(model, pair, later, **read)[:, :-2], with_source[:, :-2]) > CLOSE:
            yield "a later token changes an earlier one"
    if apart(call(saved_and_loaded(pair, model), pair, text, **read), with_source) > 0:
        yield "it is another one once saved and loaded"
    coarse = in_four_bits(build(pair))
    if coarse is not None and answers(coarse, pair):
        small = adapted(pair, base=coarse)
        expected = by_hand(pair, small, 1, causal, base=in_four_bits(build(pair)))
        if apart(call(small, pair, text, **read), expected) > CLOSE:
            yield "in 4 bits it is not the equation"
    if pair.task in ("CAUSAL_LM", "SEQ_2_SEQ_LM"):
        own = written_with(base, {}), written_with(base, {}, use_cache=False)
        if None in own or apart(*own) > CLOSE:
            return  # the base cannot write, or its own cache changes what it writes
        found = written_with(model, read), written_with(model, read, use_cache=False)
        if None in found or apart(*found) > CLOSE:
            yield "the cache changes what is written with a source"
        elif apart(found[1], written_with(model, {}, use_cache=False)) < 1e-6:
            yield "the source changes nothing that is written"


def apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference; infinite where the shapes or the NaN differ."""
    if one.shape != other.shape or not torch.equal(one.isnan(), other.isnan()):
        return float("inf")
    return float((one - other).nan_to_num().abs().max())


def reads_padding(base: Any, pair: Pair, side: str) -> bool:
    """Whether the plain base itself answers otherwise when its own text is padded, as convolutions do."""
    text, pads = torch.tensor([TARGET]), torch.tensor([[PAD] * 3])
    parts = [text, pads] if side == "right" else [pads, text]
    mask = torch.cat([torch.full_like(each, int(each is text)) for each in parts], 1)
    padded = call(base, pair, torch.cat(parts, 1), attention_mask=mask)
    if padded.dim() == 3 and pair.task != "SEQ_2_SEQ_LM":
        padded = padded[:, : len(TARGET)] if side == "right" else padded[:, 3:]
    return apart(padded, call(base, pair, text)) > CLOSE


@torch.no_grad()
def sees_no_later(base: Any) -> bool:
    """Whether the last block's states of a token do not depend on later tokens."""
    texts = torch.tensor([TARGET]), torch.tensor([[*TARGET[:-2], 14, END]])
    one, other = (
        base(input_ids=each, attention_mask=torch.ones_like(each), output_hidden_states=True) for each in texts
    )
    return bool(torch.allclose(one.hidden_states[-1][:, :-2], other.hidden_states[-1][:, :-2], atol=1e-5))


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one, or have the same numbers."""
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def fusing(model: Any) -> dict[str, Any]:
    """Return the adapter's layers that fuse, by the name of their place in the base."""
    prefix = "base_model.model."
    return {
        name.removeprefix(prefix): module
        for name, module in model.named_modules()
        if "default" in getattr(module, "lora_A", {})
    }


def block_of(name: str) -> str:
    """Return the name of the block that a module is in: up to its first number."""
    parts = name.split(".")
    return ".".join(parts[: next(place for place, part in enumerate(parts) if part.isdigit()) + 1])


@torch.no_grad()
def by_hand(pair: Pair, model: Any, lead: int, causal: bool, base: Any = None) -> Tensor:
    """Return the predictions of the equation, computed on a plain base by hooks.

    With lead 0 the source's state is what entered the projection when the base read the source; with lead 1 it is what
    the block gave, through whatever module of the block stood between the block's input and the projection's.
    """
    base = base or build(pair)
    layers = fusing(model)
    seen: dict[str, Tensor] = {}
    outputs: dict[str, list[tuple[Any, Tensor]]] = {}
    hooks: list[Any] = []
    for name in layers:
        block = base.get_submodule(block_of(name))
        for inner in block.modules():
            if inner is not block:
                hooks.append(inner.register_forward_hook(_noting(outputs.setdefault(block_of(name), []))))
        hooks.append(base.get_submodule(name).register_forward_pre_hook(_keeping(seen, name)))
        hooks.append(block.register_forward_hook(_keeping_output(seen, block_of(name))))
    call(base, pair, torch.tensor([SOURCE]))
    states: dict[str, Tensor | None] = dict.fromkeys(layers)  # those that did not run, or do not fuse, have none
    for name in seen.keys() & layers.keys():
        norm = next((module for module, out in outputs[block_of(name)] if same(out, seen[name])), None)
        after = seen[block_of(name)]
        found = seen[name] if lead == 0 else after if norm is None else norm(after)
        states[name] = None if CROSS.search(name) else found[0]
    for hook in hooks:
        hook.remove()
    decoder = pair.task == "SEQ_2_SEQ_LM"
    for name, layer in layers.items():
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        twins = decoder and "decoder" in name
        if (pair, name) not in KEYS:
            KEYS[pair, name] = key_rows(base, name, b.shape[0])
        key = KEYS[pair, name]
        scale = model.peft_config["default"].lora_alpha / model.peft_config["default"].r

        def term(
            module: Any, args: tuple[Tensor], out: Tensor, a=a, b=b, v=states[name], twins=twins, key=key, scale=scale
        ) -> Tensor:
            x = args[0][0]
            gap = len(v) - len(x) if causal and not twins else 0
            if v is None:
                return out + scale * (x @ a.T @ b.T)[None]
            low = torch.stack(
                [
                    phi("add_relu", a @ v[j + gap], a @ x[j]) if 0 <= j + gap < len(v) else alone("add_relu", a @ x[j])
                    for j in range(len(x))
                ]
            )
            up = low @ b.T
            up[:, key] = (x @ a.T) @ b[key].T
            return out + scale * up[None]

        base.get_submodule(name).register_forward_hook(term)
    return call(base, pair, torch.tensor([TARGET]))


KEYS: dict[tuple[Pair, str], list[int]] = {}
"""The rows of each projection that are a key's; they are the same however the model was made."""


@torch.no_grad()
def key_rows(base: Any, name: str, rows: int) -> list[int]:
    """Return the rows of a projection that are a key's, measured; none where the projection is no key.

    Its attention is called with what it was called with, and a number is added to one row's output, at a middle token.
    Later tokens feel a key or a value, not a query; the token itself, alone in its text, feels only the value.
    """
    projection = base.get_submodule(name)
    if name.rpartition(".")[2] in (
        "q_proj",
        "v_proj",
        "query",
        "value",
        "query_proj",
        "value_proj",
        "q",
        "v",
        "q_lin",
        "v_lin",
    ):
        return []
    block = base.get_submodule(block_of(name))
    found: list[int] = []
    for row in range(rows):
        three = _felt(base, block, projection, row, [5, 6, 7], 1)
        lonely = _felt(base, block, projection, row, [5], 0)
        if three[2] and not lonely[0]:
            found.append(row)
    return found


def _felt(base: Any, block: Any, projection: Any, row: int, ids: list[int], token: int) -> list[bool]:
    """Return which tokens of the block's output change with one number of the projection's output."""
    outs: list[Tensor] = []
    for added in (0.0, 3.0):
        kept: dict[str, Tensor] = {}

        def add(module: Any, args: Any, out: Tensor, added=added) -> Tensor:
            changed = out.clone()
            changed.view(len(ids), -1)[token, row] += added
            return changed

        handles = [projection.register_forward_hook(add), block.register_forward_hook(_keeping_output(kept, ""))]
        backbone = getattr(base, base.base_model_prefix, base)
        backbone(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
        for handle in handles:
            handle.remove()
        outs.append(kept[""][0])
    return [bool((one - other).abs().max() > 1e-6) for one, other in zip(*outs, strict=True)]


def _noting(into: list[tuple[Any, Tensor]]) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            into.append((module, output))

    return hook


def _keeping(into: dict[str, Tensor], name: str) -> Any:
    def hook(module: Any, args: tuple[Tensor, ...]) -> None:
        into[name] = args[0]

    return hook


def _keeping_output(into: dict[str, Tensor], name: str) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        into[name] = output[0] if isinstance(output, tuple | list) else output

    return hook


def examined(pair: Pair) -> Verdict:
    """Return the verdict; what fails in any other way is wrong, too."""
    try:
        return examine(pair)
    except Exception as error:
        return Verdict("wrong", f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])


def of_this_week(kinds: Iterable[str], week: int) -> list[str]:
    """Return a fifth of the model types, another one each week."""
    return [kind for kind in sorted(kinds) if zlib.crc32(kind.encode()) % 5 == week % 5]


def table(state: dict[str, Any]) -> str:
    """Return what stands in docs/models.md of all types."""
    lines: dict[str, list[str]] = {word: [] for word in ("right", "refused", "not built", "wrong")}
    for kind, verdicts in state["types"].items():
        for word, found in lines.items():
            those = {task: each["why"] for task, each in verdicts.items() if each["word"] == word}
            if those:
                heads = "" if len(those) == len(verdicts) else f" ({', '.join(HEADS[task] for task in those)})"
                why = "" if word == "right" else f": {short(next(iter(those.values())))}"
                found.append(f"`{kind}`{heads}{why}")
    pairs_of = Counter(each["word"] for verdicts in state["types"].values() for each in verdicts.values())
    counts = ", ".join(f"{pairs_of[word]} {word}" for word in lines)
    parts = [f"transformers {state['transformers']}: {len(state['types'])} types, with their heads {counts}."]
    parts.append("**Right**: " + ", ".join(lines["right"]) + ".")
    for word, title in (("refused", "Refused, in one line"), ("not built", "Not tried"), ("wrong", "Wrong")):
        if lines[word]:
            parts.append(f"**{title}**:\n\n" + "\n".join(f"- {line}" for line in lines[word]))
    return "\n\n".join(parts)


def short(why: str) -> str:
    """Return the reason without the class's name, names of modules and advice."""
    return re.split(r"; | \(names seen|, got ", re.sub(r"^[A-Z]\w+(: | )", "", why))[0].replace("<", "").strip()


def written(text: str, state: dict[str, Any]) -> str:
    """Return the page's text with this table between its marks."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(STOP)
    assert after, "docs/models.md has lost the marks around its list of types"
    return before + START + table(state) + STOP + after


def main(names: list[str]) -> None:
    """Examine pairs, all of them without names; print a line for each, and write what was found."""
    chosen = [pair for pair in pairs() if not names or pair.type in names]
    found: dict[str, dict[str, Any]] = {}
    for number, pair in enumerate(chosen, 1):
        verdict = examined(pair)
        found.setdefault(pair.type, {})[pair.task] = asdict(verdict)
        print(f"{number}/{len(chosen)} {pair.type} {pair.task}: {verdict.word} {verdict.why}", flush=True)
    known: dict[str, Any] = json.loads(STATE.read_text(encoding="utf-8"))["types"] if names else {}
    state = {"transformers": transformers.__version__, "types": known | found}
    STATE.write_text(json.dumps(state, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), state), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    main(sys.argv[1:])
