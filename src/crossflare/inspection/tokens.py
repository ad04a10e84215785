"""Texts as the tokenizer of a base model reads them: how long they are, and what it does not know.

`tokenizers` reads the file that transformers' fast tokenizers are read from, and needs no torch.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossflare.errors import UserError
from crossflare.recipe.engines import model_place

FILE = "tokenizer.json"


class BaseTokenizer:
    """The tokenizer of a base model.

    Raises:
        UserError: The model is not there.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        from tokenizers import Tokenizer

        self._slow: Any = None
        self._fast: Any = None
        unknown: int | None = None
        if (path := _file(name, revision)) is None:
            self._slow = _transformers(name, revision)
            unknown = self._slow.unk_token_id
        else:
            self._fast = Tokenizer.from_file(str(path))
            self._fast.no_truncation()
            self._fast.no_padding()
            model = json.loads(path.read_text(encoding="utf-8"))["model"]
            word = model.get("unk_token")
            unknown = model.get("unk_id") if word is None else self._fast.token_to_id(word)
        self._unknown = -1 if unknown is None else unknown

    def read(self, rows: Sequence[tuple[str, ...]]) -> list[tuple[int, int, int]]:
        """Return (tokens, special ones included; pieces, without them; unknown pieces) of each row of texts."""
        if self._fast is None:
            found: list[list[int]] = [self._slow(*texts, verbose=False)["input_ids"] for texts in rows]
        else:
            given: list[Any] = [texts if texts[1:] else texts[0] for texts in rows]
            found = [each.ids for each in self._fast.encode_batch_fast(given)]
        more: dict[bool, int] = {
            pair: (self._fast or self._slow).num_special_tokens_to_add(pair) for pair in (False, True)
        }
        special = [more[len(texts) > 1] for texts in rows]
        return [
            (len(ids), len(ids) - extra, ids.count(self._unknown)) for ids, extra in zip(found, special, strict=True)
        ]


def _file(name: str, revision: str | None) -> Path | None:
    """Return the tokenizer's file, fetched from the hub if need be; None where the model has no such file."""
    from crossflare.training.bases.packaged import base_place

    where = Path(base_place(model_place(name))).expanduser()
    if where.is_dir():
        return where / FILE if (where / FILE).is_file() else None
    if name.startswith((".", "/", "~")):
        raise UserError(f"model '{name}': there is no such folder; check the path, or give a name on the hub", "usage")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, FILE, revision=revision))
    except LocalEntryNotFoundError as error:
        said = "is not on this machine, and the hub cannot be reached; give the folder of a copy"
        raise UserError(f"model '{name}' {said}", "usage") from error
    except EntryNotFoundError:
        return None
    except (OSError, HFValidationError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"model '{name}' cannot be read from the hub ({said:.200}); check the name", "usage") from error


def _transformers(name: str, revision: str | None) -> Any:
    """Return the tokenizer of a model that has no file of a fast one; this loads torch."""
    from transformers import AutoTokenizer

    from crossflare.libraries.transformers import quiet
    from crossflare.training.bases.load import loading, place_of

    with loading(name), quiet():
        return AutoTokenizer.from_pretrained(place_of(name, revision), trust_remote_code=False, revision=revision)


@dataclass
class TokenTally:
    """Lengths in tokens, as counts: their number is that of different lengths, not of rows."""

    lengths: Counter[int] = field(default_factory=Counter[int])
    longest: tuple[int, str] = (-1, "")
    """Tokens of the longest row, and where it was read; -1: there is none."""
    pieces: int = 0
    unknown: int = 0

    def add(self, tokens: int, pieces: int, unknown: int, origin: str) -> None:
        """Count one row."""
        self.lengths[tokens] += 1
        self.longest = max(self.longest, (tokens, origin), key=lambda each: each[0])
        self.pieces += pieces
        self.unknown += unknown

    def quantile(self, share: float) -> int:
        """Return the least length that a share of the rows does not exceed; 0 without rows."""
        left = share * self.lengths.total()
        for length in sorted(self.lengths):
            left -= self.lengths[length]
            if left <= 0:
                return length
        return 0

    def above(self, limit: int) -> int:
        """Return how many rows are longer."""
        return sum(rows for length, rows in self.lengths.items() if length > limit)
