"""Encoder states on disk, by the content of model, language and text: each text is encoded once and then read.

    <root>/<id of model, precision and language>/identity.json
    <root>/<id of ...>/<content id of its keys>/states.safetensors, keys.json      (a folder of `commit_dir`)

A part is written whole or not at all, so that a run after a kill continues with the texts that are missing. Reading
maps the files: only the states that are asked for come into memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from crossflare.disk.files import MANIFEST, commit_dir, content_id, open_dir, read_json, write_json
from crossflare.errors import UserError, choose
from crossflare.languages import tag_of
from crossflare.progress import bar
from crossflare.translation.store import text_key
from crossflare.translation.translate import split

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "float16", "bfloat16")
BYTES_PER_PART = 64 << 20
"""The size of one part of states: a kill loses at most this, and encoding holds this much in memory."""


class Encoder(Protocol):
    """An engine with encoder states, such as `Transformers`."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Translator.identity`."""
        ...

    @property
    def encoder_size(self) -> int:
        """d_mt."""
        ...

    def encode(self, texts: Sequence[str], source: str) -> "list[torch.Tensor]":
        """See `Transformers.encode`."""
        ...


class States:
    """The stored states of one encoder reading one language."""

    def __init__(
        self,
        root: Path | str,
        encoder: Encoder,
        language: str,
        *,
        precision: str = "float16",
        bytes_per_part: int = BYTES_PER_PART,
    ) -> None:
        """Open the states that exist; damaged parts are left out, and made again.

        Args:
            root: Folder of all stored states.
            encoder: The encoder for the texts that are missing.
            language: BCP-47 tag of the texts.
            precision: Precision of stored and returned states: float16 halves the space, and the states of float32
                models lose 3 digits; bfloat16 keeps the range of bfloat16 models.
            bytes_per_part: See `BYTES_PER_PART`.

        Raises:
            UserError: An unknown precision, or the folder holds the states of something else.
        """
        self._precision = choose("precision of stored states", precision, PRECISIONS)
        self._encoder, self._language, self._bytes = encoder, tag_of(language), bytes_per_part
        # The parts of the engine's identity that change its encoder's states; beams and the like do not.
        kept = ("engine", "model", "revision", "dtype", "mt_language")
        self.identity = {name: encoder.identity.get(name) for name in kept}
        self.identity |= {"language": self._language, "precision": precision, "format": 1}
        self._folder = Path(root) / content_id(self.identity)
        path = self._folder / "identity.json"
        if not path.exists():
            write_json(path, self.identity)
        elif read_json(path) != self.identity:
            raise UserError(f"{path}: expected the identity of these states, found another; move the folder away")
        self._places: dict[str, tuple[Path, int]] = {}  # key -> part and number in it
        for part in sorted(self._folder.glob(f"*/{MANIFEST}")):
            self._take(part.parent)

    def add(self, texts: Sequence[str]) -> int:
        """Encode those of `texts` that are not stored yet, part by part; return how many these were."""
        import torch

        missing = [text for text in dict.fromkeys(texts) if text_key(text) not in self._places]
        kind: torch.dtype = getattr(torch, self._precision)
        waiting: dict[str, torch.Tensor] = {}
        size = 0
        with bar(f"encoding {self._language}", len(missing)) as advance:
            for start in range(0, len(missing), 256):
                block = missing[start : start + 256]
                for text, state in zip(block, self._encoder.encode(block, self._language), strict=True):
                    waiting[text_key(text)] = state.detach().to(kind)
                    size += state.numel() * kind.itemsize
                    if size >= self._bytes:
                        self._write(waiting)
                        waiting, size = {}, 0
                advance(len(block))
        self._write(waiting)
        return len(missing)

    def read(self, texts: Sequence[str]) -> "Iterator[torch.Tensor]":
        """Yield the states [S, d_mt] of each text, in order; every part is opened once.

        Raises:
            UserError: A text was not added.
        """
        import torch
        from safetensors import safe_open

        opened: dict[Path, tuple[Any, list[int]]] = {}
        for text in texts:
            place = self._places.get(text_key(text))
            if place is None:
                raise UserError(f"{self._folder}: no states of the text {text[:60]!r}; add it first")
            part, number = place
            if part not in opened:
                file = safe_open(part / "states.safetensors", framework="pt")  # maps the file
                opened[part] = (file.get_slice("states"), file.get_tensor("ends").tolist())
            states, ends = opened[part]
            begin = ends[number - 1] if number else 0
            found: torch.Tensor = states[begin : ends[number]]
            yield found

    def __len__(self) -> int:
        return len(self._places)

    def _write(self, waiting: "Mapping[str, torch.Tensor]") -> None:
        import torch
        from safetensors.torch import save_file

        if not waiting:
            return
        keys = list(waiting)

        def fill(folder: Path) -> None:
            ends = torch.tensor([len(state) for state in waiting.values()]).cumsum(0)
            states = torch.cat(list(waiting.values()))
            save_file({"states": states, "ends": ends}, folder / "states.safetensors")
            write_json(folder / "keys.json", keys)

        part = self._folder / content_id(keys)
        commit_dir(part, fill)
        self._index(part, keys)

    def _take(self, part: Path) -> None:
        try:
            open_dir(part)
        except UserError:
            return
        self._index(part, read_json(part / "keys.json"))

    def _index(self, part: Path, keys: Sequence[str]) -> None:
        for number, key in enumerate(keys):
            self._places.setdefault(key, (part, number))


def encode_stored(
    root: Path | str, encoder: Encoder, texts: Sequence[str], language: str, *, precision: str = "float16"
) -> "list[torch.Tensor]":
    """Return the states of each text as `Transformers.encode` does, stored below `root`; each text is encoded once.

    Args:
        root: Folder of all stored states.
        encoder: The engine.
        texts: Texts in `language`.
        language: BCP-47 tag.
        precision: See `States`.
    """
    states = States(root, encoder, language, precision=precision)
    states.add(texts)
    return list(states.read(texts))


def encode_rows(
    engine: Any, rows: Sequence[tuple[str, ...]], language: str, store: Path | None = None
) -> list[tuple[Any, ...]]:
    """Return a translation encoder's states [S,d_mt] for each text of each row.

    A text longer than the encoder can read is read in parts, whose states follow one another.

    Args:
        engine: An engine with `encode`.
        rows: The texts of each row.
        language: BCP-47 tag.
        store: Folder in which states are kept, in float16; None: they are not kept.
    """
    import torch

    texts = [text for row in rows for text in row]
    limit: int = engine.max_tokens
    counts: list[int] = engine.count_tokens(texts)

    def fits(pieces: Sequence[str]) -> list[bool]:
        return [count <= limit for count in engine.count_tokens(pieces)]

    parts = [
        [text] if count <= limit else [piece for piece, _ in split(text, fits, language) if piece]
        for text, count in zip(texts, counts, strict=True)
    ]
    flat = [piece for pieces in parts for piece in pieces]
    if store is None:
        made = iter(engine.encode(flat, language))
    else:
        made = (state.float() for state in encode_stored(store, engine, flat, language))
    states = iter([next(made) if len(pieces) == 1 else torch.cat([next(made) for _ in pieces]) for pieces in parts])
    return [tuple(next(states) for _ in row) for row in rows]
