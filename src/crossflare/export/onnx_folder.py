"""The folder of an ONNX model: the graph, its tokenizer, what it is (export.json), and the code that reads it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossflare.disk.files import write_atomic, write_json
from crossflare.errors import UserError
from crossflare.export import graph
from crossflare.export.folders import largest_difference
from crossflare.fusion.inputs import PREFIX
from crossflare.progress import bar, track
from crossflare.serving.adapter import TrainedAdapter
from crossflare.serving.card import Saved
from crossflare.serving.rows import Text
from crossflare.tasks.kinds import QuestionTask
from crossflare.training.text.encoded import encode_side

READER = "reader.py"
CLOSE = 1e-3
"""The largest difference of logits that a graph may have, as a share of those above 1; mostly it is 1e-6."""
MADE_ROWS = 48
LONGEST_MADE = 60
BATCH = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured to measure with."""

    texts: Sequence[Text]
    sources: Sequence[Text | None]
    """As many; all None for a model that reads no source."""


def check_graph(saved: Saved) -> None:
    """Raise `UserError` if an adapter of this kind has no ONNX graph; no model is loaded."""
    kind, why = saved.kind, ""
    if saved.answering == "text":
        why = "it answers in words (generation), and a graph is one call of a model"
    elif isinstance(saved.task, QuestionTask):
        why = "it answers questions, and only models of labels are exported"
    elif kind.reads == "latents":
        why = "it reads the states of a translation model, which would have to run beside it"
    elif kind.mixes != "none" or kind.joins or kind.padded:
        why = f"{saved.name} reads its rows in a way of its own"
    elif saved.base.quantise != "none":
        why = (
            f"its base is in {saved.base.quantise}, whose layers ONNX does not have; --int8 quantises the graph of one"
        )
        why += " that was trained in full precision"
    if why:
        raise UserError(f"{saved.folder}: not exported to ONNX: {why}; serve it with crossflare")


def write_onnx(
    adapter: TrainedAdapter, place: Path, card: dict[str, Any], rows: Measured | None, *, int8: bool
) -> dict[str, Any]:
    """Write the folder, after comparing the graph with the model.

    Args:
        adapter: An adapter on the processor that `check_graph` does not refuse.
        place: An empty folder.
        card: What export.json says in any case.
        rows: The rows on which `int8` is measured; None: texts that are made of the tokenizer's tokens.
        int8: Whether the weights have 8 bits.

    Returns:
        What export.json says.

    Raises:
        UserError: The model has no graph (see `graph.write_graph`), its tokenizer is not a fast one, or the graph does
            not compute what the model computes.
    """
    from crossflare.export.reader import Reader

    both = adapter.kind.reads == "both"
    longest = adapter.form(with_source=both).longest
    tokenizer = _plain_tokenizer(adapter, longest)
    tokenizer.save(str(place / "tokenizer.json"))
    made = _made_rows(adapter, longest, both=both)
    _check_tokens(adapter, tokenizer, made, longest)
    card |= {"reads_source": both, "max_length": longest, "long_texts": adapter.long, "weights": "float32"}
    write_json(place / "export.json", card)
    write_atomic(place / READER, Path(__file__).with_name(READER).read_bytes())
    whole = place / "whole"
    whole.mkdir()
    original = _Original(adapter, tokenizer, both=both)
    first = (made.texts[:3], made.sources[:3])
    with bar("writing the graph", 1) as done:
        original.logits(*first)  # with its checks of values, which no graph has
        graph.write_graph(adapter.model, original.inputs(*first), whole / "model.onnx")
        done(1)
    reader = Reader(place, "whole/model.onnx")
    difference = 0.0
    with bar("comparing it with the adapter", len(made.texts)) as done:
        for texts, sources in _batches(made, (1, 2, 5)):
            found, expected = reader.logits(texts, sources), original.logits(texts, sources)
            difference = max(difference, largest_difference(found, expected))
            done(len(texts))
    if not difference < CLOSE:
        raise UserError(f"{adapter.folder}: the ONNX graph differs from the model by {difference:.2g} in the logits")
    card |= {"inputs": [each.name for each in reader.session.get_inputs()], "logits_differ_by": difference}
    if int8:
        large = graph.bytes_of(adapter.model) > graph.LARGEST
        graph.quantise(whole / "model.onnx", place / "model.onnx", large=large)
        measured = _measure(reader, Reader(place), rows or made)
        card |= {"weights": "int8", "int8": {"texts": "made" if rows is None else "given", **measured}}
    else:
        for file in whole.iterdir():
            file.rename(place / file.name)
    del reader  # on Windows an open file cannot be removed
    shutil.rmtree(whole)
    write_json(place / "export.json", card)
    write_atomic(place / "README.md", _readme(card))
    return card


class _Original:
    """The adapter on its model, called with what the exported tokenizer makes."""

    def __init__(self, adapter: TrainedAdapter, tokenizer: Any, *, both: bool) -> None:
        self.model, self.tokenizer, self.both = adapter.model, tokenizer, both
        self.names = {"input_ids", "attention_mask"} | ({"token_type_ids"} & set(adapter.tokenizer("a")))

    def inputs(self, texts: Sequence[Text], sources: Sequence[Text | None]) -> dict[str, torch.Tensor]:
        """Return what the model takes for B rows."""
        from crossflare.export.reader import sides_of

        found = sides_of(self.tokenizer, texts, sources, reads_source=self.both)
        taken = (name for name in found if name.removeprefix(PREFIX) in self.names)
        return {name: torch.from_numpy(found[name]) for name in taken}

    @torch.no_grad()
    def logits(self, texts: Sequence[Text], sources: Sequence[Text | None]) -> Any:
        """Return the model's logits [B,K]."""
        return self.model(**self.inputs(texts, sources)).logits.numpy()


def _plain_tokenizer(adapter: TrainedAdapter, longest: int) -> Any:
    """Return the tokenizer of the library tokenizers that cuts and pads as the adapter's does."""
    from tokenizers import Tokenizer

    own = adapter.tokenizer
    if getattr(own, "backend_tokenizer", None) is None:
        raise UserError(f"{adapter.base.name}: its tokenizer has no tokenizer.json, which a reader without torch needs")
    made: Any = Tokenizer.from_str(own.backend_tokenizer.to_str())
    made.enable_truncation(longest, strategy="longest_first", direction=own.truncation_side)
    made.enable_padding(
        direction=own.padding_side,
        pad_id=own.pad_token_id,
        pad_type_id=own.pad_token_type_id,
        pad_token=own.pad_token,
    )
    return made


def _made_rows(adapter: TrainedAdapter, longest: int, *, both: bool) -> Measured:
    """Return rows of random tokens, from one token to more than the model reads; every fifth has no source."""
    random = np.random.default_rng(0)
    tokens = adapter.tokenizer

    def text() -> str:
        ids = random.integers(0, len(tokens), random.integers(1, min(longest, LONGEST_MADE)))
        return tokens.decode(ids.tolist(), skip_special_tokens=True).strip() or "a"

    def row() -> Text:
        return text() if adapter.task.text_count == 1 else (text(), text())

    texts = [row() for _ in range(MADE_ROWS)]
    long = " ".join([text() for _ in range(1 + 2 * longest // LONGEST_MADE)])
    texts[-1] = long if adapter.task.text_count == 1 else (long, long)
    return Measured(texts, [row() if both and number % 5 else None for number in range(1, MADE_ROWS + 1)])


def _check_tokens(adapter: TrainedAdapter, tokenizer: Any, rows: Measured, longest: int) -> None:
    """Refuse a tokenizer that does something that its tokenizer.json does not say."""
    parts = [(text,) if isinstance(text, str) else text for text in rows.texts]
    ours = encode_side(adapter.tokenizer, parts, longest, "tokenising")
    theirs = tokenizer.encode_batch([part[0] if len(part) == 1 else part for part in parts])
    for place, (row, part) in enumerate(zip(theirs, parts, strict=True)):
        expected, found = ours[place], [id for id, real in zip(row.ids, row.attention_mask, strict=True) if real]
        if expected is None or expected.ids.tolist() != found:
            raise UserError(
                f"{adapter.base.name}: its tokenizer.json alone reads {part[0]!a:.60} in another way; serve the "
                "adapter with crossflare"
            )


def _batches(rows: Measured, sizes: Sequence[int]) -> list[tuple[Sequence[Text], Sequence[Text | None]]]:
    """Return the rows in batches whose sizes take turns."""
    found: list[tuple[Sequence[Text], Sequence[Text | None]]] = []
    begin = 0
    while begin < len(rows.texts):
        end = begin + sizes[len(found) % len(sizes)]
        found.append((rows.texts[begin:end], rows.sources[begin:end]))
        begin = end
    return found


def _measure(whole: Any, small: Any, rows: Measured) -> dict[str, Any]:
    """Return how far a quantised model's labels and probabilities are from those of the whole one."""
    batches = _batches(rows, (BATCH,))
    before, after = (
        np.concatenate([each.probabilities(*batch) for batch in track(batches, f"measuring {name}")])
        for name, each in {"float32": whole, "8 bits": small}.items()
    )
    return {
        "rows": len(before),
        "same_label": round(float((before.argmax(1) == after.argmax(1)).mean()), 6),
        "probabilities_differ_by": round(float(abs(before - after).max()), 6),
    }


def _readme(card: dict[str, Any]) -> str:
    """Return README.md: what the folder is, and the few lines that read with it."""
    source = ', ["bad film"]' if card["reads_source"] else ""
    beside = " Each text is read with its translation; `None` where there is none." if source else ""
    texts = '["filamu mbaya"]' if card["texts"] == 1 else '[("a premise", "a hypothesis")]'
    loss = card.get("int8")
    small = "" if loss is None else (
        f" Its weights have 8 bits: on {loss['rows']} {loss['texts']} texts {loss['same_label']:.1%} of the labels are "
        f"those of the float32 model, and no probability differs by more than {loss['probabilities_differ_by']:.2g}."
    )  # fmt: skip
    return f"""# {card["task"]}: {card["kind"]}, as an ONNX model

Labels: {", ".join(card["labels"])}. Languages: {card["language"]}, from {card["from"]}.{small}

    pip install onnxruntime tokenizers numpy

In this folder:

    from reader import Reader

    reader = Reader()
    shares = reader.probabilities({texts}{source})
    print(reader.card["labels"][shares[0].argmax()], shares[0].max())

`reader.py` makes the inputs with `tokenizer.json`, which cuts and pads.{beside} `export.json` has the labels, the
temperature of the probabilities, the longest text in tokens, and the versions that made this folder.
"""
