"""Reads texts with the ONNX model in this file's folder; it needs numpy, onnxruntime and tokenizers, no torch.

    python reader.py '["filamu mbaya", "hadithi nzuri"]' '["bad film", null]'

prints each label's probability for each text. The second list has the texts' translations, null for a text without
one; a model that reads none takes the first list alone. In a task of two texts each row is a list of two.
crossflare copies this file into each exported folder, and measures the exported model with it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession  # pyright: ignore[reportMissingImports]  # an extra
from tokenizers import Tokenizer

Row = str | Sequence[str]
Array = NDArray[Any]


class Reader:
    """An exported model and its tokenizer, which cuts and pads the texts."""

    def __init__(self, folder: Path = Path(__file__).parent, model: str = "model.onnx") -> None:
        self.card: dict[str, Any] = json.loads((folder / "export.json").read_text(encoding="utf-8"))
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.session: Any = InferenceSession(str(folder / model), providers=["CPUExecutionProvider"])

    def inputs(self, texts: Sequence[Row], sources: Sequence[Row | None] | None = None) -> dict[str, Array]:
        """Return the model's inputs: int64 arrays [B,T] for the texts and [B,S] for their sources."""
        found = sides_of(self.tokenizer, texts, sources, reads_source=self.card["reads_source"])
        return {each.name: found[each.name] for each in self.session.get_inputs()}

    def logits(self, texts: Sequence[Row], sources: Sequence[Row | None] | None = None) -> Array:
        """Return [B,K], one number for each text and label."""
        return self.session.run(["logits"], self.inputs(texts, sources))[0]

    def probabilities(self, texts: Sequence[Row], sources: Sequence[Row | None] | None = None) -> Array:
        """Return each label's probability [B,K], calibrated if the card has a temperature."""
        warm = self.logits(texts, sources).astype(np.float64) / (self.card["temperature"] or 1.0)
        powers = np.exp(warm - warm.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


def sides_of(
    tokenizer: Any, texts: Sequence[Row], sources: Sequence[Row | None] | None, *, reads_source: bool
) -> dict[str, Array]:
    """Return all that a tokenizer makes of texts and their sources, padded: ids, masks and types."""
    rows = [_parts(text) for text in texts]
    found = _side(tokenizer, rows, "")
    if reads_source:
        given = [("",) * len(rows[0]) if each is None else _parts(each) for each in sources or [None] * len(rows)]
        found |= _side(tokenizer, given, "source_")
        bare = [not any(part.strip() for part in each) for each in given]
        found["source_attention_mask"][bare] = 0  # the row is read without a source
    return found


def _side(tokenizer: Any, rows: Sequence[tuple[str, ...]], prefix: str) -> dict[str, Array]:
    read = tokenizer.encode_batch([row[0] if len(row) == 1 else row for row in rows])
    kinds = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    return {
        prefix + name: np.array([getattr(row, kind) for row in read], dtype=np.int64) for name, kind in kinds.items()
    }


def _parts(row: Row) -> tuple[str, ...]:
    return (row,) if isinstance(row, str) else tuple(row)


if __name__ == "__main__":
    reader = Reader()
    for shares in reader.probabilities(*map(json.loads, sys.argv[1:3])):
        print(json.dumps(dict(zip(reader.card["labels"], shares.round(6).tolist(), strict=True)), ensure_ascii=False))
