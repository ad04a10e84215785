"""Weights in files that `torch.save` wrote, copied into safetensors; nothing is unpickled.

The module `opcodes` reads the pickle's descriptions of the tensors. The tensors' bytes are then copied out of the file;
each place is checked first against the file and its storage.
"""

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from crossflare.disk.files import replacing
from crossflare.disk.opcodes import LONGEST, TYPES, Refused, Storage, Tensor, value_of
from crossflare.errors import UserError

LARGER = 4
"""The tensors may have this many times the file's bytes, as views of each other may."""
CHUNK = 1 << 24
"""Bytes that are copied at once."""
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The first two values of a file of torch before 1.6, which is no zip archive."""


def to_safetensors(source: Path, target: Path) -> dict[str, str]:
    """Write the tensors of a state dict, saved by `torch.save`, into a file of safetensors.

    Names of the same tensor, as tied weights have them, are written once, under the first name. The memory that this
    takes is a few chunks, or twice a tensor that is not contiguous.

    Args:
        source: The file.
        target: The file to make, atomically.

    Returns:
        Name that is left out -> the name of the same tensor. The file's `__metadata__` has them, too.

    Raises:
        UserError: The file is damaged, or is or names anything but a dict of dense tensors; or the disk is full.
    """
    try:
        with source.open("rb") as file:
            tensors, places = _read(file)
            first: dict[Tensor, str] = {}
            for name, tensor in tensors.items():
                first.setdefault(tensor, name)
            tied = {name: first[tensor] for name, tensor in tensors.items() if first[tensor] != name}
            ordered = sorted(first, key=lambda tensor: -tensor.storage.width)  # so that each begins at its own multiple
            with replacing(target) as made:
                made.write(_header(ordered, first, tied))
                for tensor in ordered:
                    for part in _parts(file, tensor, places):
                        made.write(part)
    except Refused as error:
        raise UserError(
            f"{source.name}: {error}; expected a dict of tensors as torch.save writes it; nothing of the file was run: "
            "ask its author for safetensors",
            "artefact",
        ) from error
    except MemoryError as error:
        raise UserError(
            f"{source.name}: reading it takes more memory than is allowed or there; nothing of it was run", "artefact"
        ) from error
    return tied


def _read(file: BinaryIO) -> tuple[dict[str, Tensor], Mapping[str, int]]:
    """Return the tensors by name, and where each storage begins; all of them checked."""
    begin = file.read(4)
    file.seek(0)
    if begin == b"PK\3\4":
        value, find = _in_zip(file)
    elif begin[:1] == b"\x80":
        value, find = _in_row(file)
    else:
        raise Refused("it is neither a zip archive nor a pickle (torch before 0.4 wrote tar archives)")
    if not isinstance(value, dict):
        raise Refused(f"it holds a {type(value).__name__.strip('_').lower()}")
    tensors = cast(dict[str, Any], value)
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise Refused(f"its {name!a:.80} is a {type(tensor).__name__.strip('_').lower()}, expected a tensor")
        if not name.isprintable() or len(name) > 1000 or name == "__metadata__":
            raise Refused(f"{name!a:.80} is no name of a tensor")
    storages: dict[str, Storage] = {}
    for tensor in tensors.values():
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise Refused(f"its storage {tensor.storage.key} has two types or two sizes")
    size = file.seek(0, io.SEEK_END)
    total = sum(tensor.count * tensor.storage.width for tensor in set(tensors.values()))
    if total > LARGER * size:
        raise Refused(f"its tensors would take {total} bytes, and the file has {size}")
    return tensors, find(storages)


# A file of torch 1.6 or newer: a zip archive, a storage in each entry -------------------------------------------------


_Find = Callable[[Mapping[str, Storage]], dict[str, int]]
"""The function that checks storages against the file, and returns where each begins."""


def _in_zip(file: BinaryIO) -> tuple[Any, _Find]:
    """Return the value of the pickle, and how its storages are found."""
    size = file.seek(0, io.SEEK_END)
    try:
        with ZipFile(file) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if len(set(names)) < len(names):
                raise Refused("an entry of its archive stands there twice")
            roots = {name.partition("/")[0] for name in names}
            wrong = [name for name in names if not _is_inside(name)]
            if wrong or len(roots) != 1:
                raise Refused(f"its archive names {(wrong or sorted(roots))[-1]!a:.80}, which no torch.save writes")
            root = roots.pop()
            spans = sorted((*_span(file, info, size), info.filename) for info in infos)
            for (_, end, _), (start, _, name) in pairwise(spans):
                if start < end:
                    raise Refused(f"the entry {name!a:.80} of its archive overlaps another")
            if f"{root}/byteorder" in names and archive.read(f"{root}/byteorder") != b"little":
                raise Refused("its numbers are not little-endian")
            if f"{root}/data.pkl" not in names:
                raise Refused("its archive has no data.pkl")
            if archive.getinfo(f"{root}/data.pkl").file_size > LONGEST:
                raise Refused(f"its pickle is longer than {LONGEST} bytes")
            value = value_of(io.BytesIO(archive.read(f"{root}/data.pkl")), whole=True)
            found = {name: (start, end) for start, end, name in spans}
            _check_sums(file, infos, found)
    except (BadZipFile, NotImplementedError, EOFError, struct.error, ValueError, RuntimeError) as error:
        raise Refused(f"its archive is damaged or cut off ({str(error)!a:.80})") from error
    start = f"{root}/data/"
    spans_of = {name.removeprefix(start): span for name, span in found.items() if name.startswith(start)}
    return value, partial(_stored, spans_of)


def _is_inside(name: str) -> bool:
    parts = name.split("/")
    return len(parts) > 1 and not any(part in ("", ".", "..") or "\\" in part for part in parts)


def _span(file: BinaryIO, info: ZipInfo, size: int) -> tuple[int, int]:
    """Return where the bytes of an entry begin and end; its local header says it."""
    if info.compress_type != ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
        raise Refused(f"the entry {info.filename!a:.80} of its archive is compressed or encrypted")
    file.seek(max(info.header_offset, 0))  # it is negative in some damaged archives
    header = file.read(30)
    if info.header_offset < 0 or len(header) < 30 or header[:4] != b"PK\3\4":
        raise Refused(f"the entry {info.filename!a:.80} of its archive is not where it should be")
    name, extra = struct.unpack("<HH", header[26:30])
    if file.read(name) != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
        raise Refused(f"the entry {info.filename!a:.80} of its archive has two names")
    start = info.header_offset + 30 + name + extra
    if start + info.file_size > size:
        raise Refused(f"the entry {info.filename!a:.80} of its archive is cut off")
    return start, start + info.file_size


def _check_sums(file: BinaryIO, infos: list[ZipInfo], spans: Mapping[str, tuple[int, int]]) -> None:
    for info in infos:
        start, end = spans[info.filename]
        found = 0
        for part in _range(file, start, end - start):
            found = zlib.crc32(part, found)
        if found != info.CRC:
            raise Refused(f"the entry {info.filename!a:.80} of its archive is damaged")


def _stored(found: Mapping[str, tuple[int, int]], storages: Mapping[str, Storage]) -> dict[str, int]:
    for key, storage in storages.items():
        start, end = found.get(key, (0, -1))
        if end - start != storage.count * storage.width:
            raise Refused(f"its storage {key} should have {storage.count * storage.width} bytes, and has others")
    return {key: found[key][0] for key in storages}


# A file of an older torch: pickles in a row, then the storages --------------------------------------------------------


def _in_row(file: BinaryIO) -> tuple[Any, _Find]:
    """Return the value of the pickle, and how its storages are found."""
    head = io.BytesIO(file.read(LONGEST))
    if value_of(head) != MAGIC or value_of(head) != PROTOCOL:
        raise Refused("it is a pickle, but none that torch.save wrote")
    system = value_of(head)
    if not isinstance(system, dict) or cast(dict[Any, Any], system).get("little_endian") is not True:
        raise Refused("its numbers are not little-endian")
    value, keys = value_of(head), value_of(head)
    if not isinstance(keys, list):
        raise Refused("it does not list its storages")
    return value, partial(_counted, file, cast(list[Any], keys), head.tell())


def _counted(file: BinaryIO, keys: list[Any], start: int, storages: Mapping[str, Storage]) -> dict[str, int]:
    """Return where each storage begins; the number of its elements comes before it."""
    places: dict[str, int] = {}
    size = file.seek(0, io.SEEK_END)
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or key in places:
            raise Refused("one of its storages belongs to no tensor, or comes twice")
        file.seek(start)
        if file.read(8) != struct.pack("<q", storage.count):
            raise Refused(f"its storage {key:.80} should have {storage.count} elements, and has others")
        places[key] = start + 8
        start += 8 + storage.count * storage.width
    if start > size or places.keys() != storages.keys():
        raise Refused("it is cut off")
    return places


# The copy -------------------------------------------------------------------------------------------------------------


def _header(ordered: list[Tensor], names: Mapping[Tensor, str], tied: Mapping[str, str]) -> bytes:
    """Return the beginning of a file of safetensors."""
    header: dict[str, Any] = {"__metadata__": {**tied, "format": "pt"}}
    start = 0
    for tensor in ordered:
        end = start + tensor.count * tensor.storage.width
        kind = TYPES[tensor.storage.type][0]
        header[names[tensor]] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _parts(file: BinaryIO, tensor: Tensor, places: Mapping[str, int]) -> Iterator[Any]:
    """Yield the bytes of a tensor in the order of its elements."""
    width = tensor.storage.width
    start = places[tensor.storage.key] + tensor.offset * width
    if tensor.contiguous:
        yield from _range(file, start, tensor.count * width)
    elif tensor.count:
        file.seek(start)
        held = np.fromfile(file, f"u{width}", tensor.reach)
        if held.size < tensor.reach:
            raise Refused("it is cut off")
        strides = [step * width for step in tensor.stride]
        yield np.ascontiguousarray(np.lib.stride_tricks.as_strided(held, tensor.shape, strides)).data.cast("B")


def _range(file: BinaryIO, start: int, count: int) -> Iterator[bytes]:
    file.seek(start)
    while count:
        part = file.read(min(CHUNK, count))
        if not part:
            raise Refused("it is cut off")
        count -= len(part)
        yield part
