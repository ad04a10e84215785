"""From rows with texts and their sources to batches: for the user's own training loop, or for transformers' Trainer."""

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, cast

from torch import Tensor

from crossflare.errors import UserError, listed
from crossflare.tasks.example import Example
from crossflare.training.text.collators import PairCollator

SHORTEST = 4
"""The least `max_length`: with fewer tokens, special tokens leave no room for a pair of texts."""


class SourceCollator:
    """A collator that turns rows with a text, its source and a label into a batch for a FLARE model.

    It works with any tokenizer and any column names; a row is a dict or a row of `datasets`. With transformers'
    Trainer, set `remove_unused_columns=False` in its arguments: by default it drops text columns before they come here.

    >>> from transformers import AutoTokenizer
    >>> tokenizer = AutoTokenizer.from_pretrained("base")
    >>> collate = crossflare.SourceCollator(tokenizer, text="sw", source="en", max_length=64)
    >>> batch = collate([{"sw": "filamu mbaya", "en": "bad film", "label": 0}, {"sw": "bora", "en": None, "label": 1}])
    >>> sorted(batch)
    ['attention_mask', 'input_ids', 'labels', 'source_attention_mask', 'source_input_ids']
    >>> batch["source_attention_mask"].any(dim=1).tolist()
    [True, False]

    Raises:
        UserError: `tokenizer` is not a tokenizer or has no padding token, a column's name is not a text, `max_length`
            is below 4, or only one of `text_pair` and `source_pair` is given.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        text: str = "text",
        source: str = "source",
        text_pair: str | None = None,
        source_pair: str | None = None,
        label: str = "label",
        max_length: int = 128,
    ) -> None:
        """Name the columns.

        Args:
            tokenizer: The base model's tokenizer, from transformers.
            text: The column of the texts in the target language.
            source: The column of the same texts in the source language. It is null in a row without a source.
            text_pair: The column of the second texts, for a task of two texts (the hypotheses).
            source_pair: The column of their sources; required with `text_pair`.
            label: The column of the labels, whole numbers from 0. Rows without this column are not labelled.
            max_length: The most tokens of a text or pair, including special ones; longer ones are cut. The same limit
                holds for the source.
        """
        if not callable(tokenizer) or not hasattr(tokenizer, "pad_token_id"):
            raise UserError(f"tokenizer: expected one of transformers, got {type(tokenizer).__name__}; load it first")
        if isinstance(max_length, bool) or not isinstance(cast(Any, max_length), int) or max_length < SHORTEST:
            raise UserError(f"max_length: expected a whole number from {SHORTEST}, got {max_length!r:.40}; correct it")
        if (text_pair is None) != (source_pair is None):
            raise UserError("expected text_pair and source_pair, got one of them; name both columns, or none")
        names = {"text": text, "source": source, "text_pair": text_pair, "source_pair": source_pair, "label": label}
        for name, column in names.items():
            if column is not None and not isinstance(cast(Any, column), str):
                raise UserError(f"{name}: expected the name of a column, got {type(column).__name__}; give its name")
        self.texts = (text,) if text_pair is None else (text, text_pair)
        self.sources = (source,) if source_pair is None else (source, source_pair)
        self.label = label
        # Each row has its own copy of its source: splitting a batch over devices must not separate the two.
        self._pad = PairCollator(tokenizer, max_length, with_source=True, shared=False)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the batch of B rows, the texts padded to T tokens and the sources to S.

        Args:
            rows: B rows.

        Returns:
            `input_ids` and `attention_mask` [B,T], `source_input_ids` and `source_attention_mask` [B,S], token types
            if the tokenizer makes them, and `labels` [B] if the rows have them. A row without a source has a
            source mask of zeros; a batch without any source has no source keys.

        Raises:
            UserError: There are no rows, a row lacks a column or has another type there, one of its two sources is
                missing, or only some rows have a label.
        """
        if isinstance(cast(Any, rows), str | Mapping) or not isinstance(cast(Any, rows), Sequence):
            raise UserError(f"rows: expected a list of rows, got {type(rows).__name__}; put a single row into a list")
        if not rows:
            raise UserError("rows: expected at least one row, got an empty list; leave empty batches out")
        examples = [self._example(row, number) for number, row in enumerate(rows)]
        labelled = [example.label is not None for example in examples]
        if any(labelled) and not all(labelled):
            raise UserError(
                f"rows[{labelled.index(False)}]: expected a label in '{self.label}', found none, and other rows of the "
                "batch have one; label all rows or none"
            )
        return self._pad(examples)

    def _example(self, row: Any, number: int) -> Example:
        where = f"rows[{number}]"
        if not isinstance(row, Mapping):
            raise UserError(
                f"{where}: expected a row as a dict, got {type(row).__name__}; give column names and values"
            )
        cells = cast(Mapping[str, Any], row)
        for name in (*self.texts, *self.sources):
            if name not in cells:
                raise UserError(self._missing(cells, name, where))
        texts = tuple(_text(cells[name], f"{where}['{name}']") for name in self.texts)
        given = [cells[name] for name in self.sources]
        source = None
        if any(each is not None for each in given):
            source = tuple(_text(cells[name], f"{where}['{name}']") for name in self.sources)
        label = _label(cells.get(self.label), f"{where}['{self.label}']")
        return Example(str(number), texts, label, source, where)

    def _missing(self, cells: Mapping[str, Any], name: str, where: str) -> str:
        if not {*self.texts, *self.sources} & set(cells):  # none of our columns is left
            advice = "with transformers' Trainer set remove_unused_columns=False in its arguments, or name your columns"
        else:
            advice = "name your columns; a row without a source has None there"
        return f"{where}: no column '{name}' (found: {listed(map(str, cells)) or 'none'}); {advice}"


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: expected a text, got {_kind(value)}; correct the row")
    return value


def _label(value: object, where: str) -> int | None:
    if value is None:
        return None
    try:
        number = -1 if isinstance(value, bool) else index(cast(Any, value))
    except TypeError:
        number = -1
    if number < 0:
        raise UserError(f"{where}: expected a label as a whole number from 0, got {value!r:.40}; number the labels")
    return number


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
