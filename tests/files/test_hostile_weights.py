"""Weights that would run code, read beyond their file or fill memory: each is refused in one line, nothing is run."""

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from crossflare.disk import opcodes
from crossflare.disk.state_dict import to_safetensors
from crossflare.errors import UserError

START, END = b"\x80\x02", b"."
KEY = "123456"
"""The key of the storage in an old file."""


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 6) -> bytes:
    named = f"ctorch\n{kind}\n".encode()
    view = b"N" if key == KEY else b""  # old files have a sixth part
    return tuple_of(text("storage"), named, text(key), text("cpu"), number(count), view) + b"Q"


ORDERED = b"ccollections\nOrderedDict\n)R"


def tensor(
    shape: tuple[int, ...] = (2, 3),
    stride: tuple[int, ...] = (3, 1),
    offset: int = 0,
    held: bytes = b"",
    more: bytes = b"",
) -> bytes:
    sizes = tuple_of(*map(number, shape)) + tuple_of(*map(number, stride))
    arguments = tuple_of(held or storage(), number(offset), sizes, b"\x89", ORDERED, more)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def state(*items: bytes) -> bytes:
    """Return the pickle of a dict, of names and values in turn."""
    return START + b"}(" + b"".join(items) + b"u" + END


def archive(program: bytes, extra: dict[str, bytes] | None = None, way: int = zipfile.ZIP_STORED) -> bytes:
    """Return a file as torch.save writes it, with any pickle and one storage of six float32."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", way) as file:
        held = {"a/data.pkl": program, "a/byteorder": b"little", "a/data/0": struct.pack("<6f", *range(6))}
        for name, content in {**held, **(extra or {})}.items():
            file.writestr(name, content)
    return made.getvalue()


def old(program: bytes) -> bytes:
    """Return a file as torch before 1.6 wrote it, with any pickle."""
    made = io.BytesIO()
    torch.save({"x": torch.arange(6.0)}, made, _use_new_zipfile_serialization=False)
    content = made.getvalue()
    begin = content.index(b"\x80\x02}q\0X\1\0\0\0x")
    return content[:begin] + program + START + b"]" + text(KEY) + b"a." + content[-32:]


def refused(content: bytes, folder: Path) -> str:
    """Convert a file; return the one line, after a look that nothing is left."""
    (folder / "w.bin").write_bytes(content)
    with pytest.raises(UserError) as caught:
        to_safetensors(folder / "w.bin", folder / "w.safetensors")
    assert "\n" not in str(caught.value)
    assert caught.value.kind == "artefact"
    assert os.listdir(folder) == ["w.bin"]
    return str(caught.value)


def test_control_the_pieces_make_a_file_that_is_read(tmp_path: Path) -> None:
    program = state(text("x"), tensor())
    for content in archive(program, {"a/version": b"3\n"}), old(state(text("x"), tensor(held=storage(key=KEY)))):
        (tmp_path / "w.bin").write_bytes(content)
        assert torch.load(tmp_path / "w.bin", weights_only=True)["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert to_safetensors(tmp_path / "w.bin", tmp_path / "w.safetensors") == {}
        assert load_file(tmp_path / "w.safetensors")["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


# Programs -------------------------------------------------------------------------------------------------------------

CALL = "touch canary"
RUNNING: dict[str, tuple[bytes, str]] = {
    "GLOBAL": (START + b"cos\nsystem\n" + tuple_of(text(CALL)) + b"R.", "'os.system'"),
    "posix": (START + b"cposix\nsystem\n" + tuple_of(text(CALL)) + b"R.", "'posix.system'"),
    "STACK_GLOBAL": (b"\x80\x04" + text("os") + text("system") + b"\x93" + tuple_of(text(CALL)) + b"R.", "'os.system'"),
    "eval": (START + b"cbuiltins\neval\n" + tuple_of(text("open('canary', 'w')")) + b"R.", "'builtins.eval'"),
    "INST": (START + b"(" + text(CALL) + b"ios\nsystem\n.", "opcode INST"),
    "OBJ": (START + b"(cos\nsystem\n" + text(CALL) + b"o.", "'os.system'"),
    "NEWOBJ": (START + b"csubprocess\nPopen\n" + tuple_of(text("touch"), b"") + b"\x81.", "'subprocess.Popen'"),
    "inside a dict": (
        state(text("x"), tensor(), text("y"), b"cos\nsystem\n" + tuple_of(text(CALL)) + b"R"),
        "'os.system'",
    ),
    "inside _metadata": (
        START + ORDERED + b"}" + text("_metadata") + b"cos\nsystem\n" + tuple_of(text(CALL)) + b"Rsb.",
        "'os.system'",
    ),
    "inside a persistent id": (START + b"cos\nsystem\n" + tuple_of(text(CALL)) + b"RQ.", "'os.system'"),
    "protocol 0": (b"cos\nsystem\n(V" + CALL.encode() + b"\ntR.", "neither a zip archive nor a pickle|'os.system'"),
}
"""How -> a program that makes the file `canary`, and what is said of it."""


@pytest.mark.parametrize("how", RUNNING)
def test_nothing_runs(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, said = RUNNING[how]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    for content in archive(program), old(program), program:
        message = refused(content, tmp_path / "here")
        assert any(each in message for each in said.split("|")) or "but none that torch.save wrote" in message, message
    assert said.split("|")[-1] in refused(archive(program), tmp_path / "here")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("how", ["GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "eval", "protocol 0"])
def test_control_the_programs_do_run(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(RUNNING[how][0])
    assert (tmp_path / "canary").exists()


class Setting:
    def __setstate__(self, state: object) -> None:
        open("canary", "w").close()


PROGRAMS: dict[str, tuple[bytes, str]] = {
    "BUILD on another object": (pickle.dumps(Setting(), 2), "test_hostile_weights"),
    "BUILD on a dict": (START + b"}}" + text("a") + b"Nsb.", "BUILD on what is no OrderedDict"),
    "BUILD of a class": (START + ORDERED + b"}" + text("__class__") + b"Nsb.", "BUILD with more than _metadata"),
    "EXT1": (START + b"\x82\x01.", "opcode EXT1"),
    "EXT4": (START + b"\x84\1\0\0\0.", "opcode EXT4"),
    "PERSID": (START + b"Pa\n.", "opcode PERSID"),
    "NEWOBJ_EX": (b"\x80\x04)}\x92.", "opcode NEWOBJ_EX"),
    "NEXT_BUFFER": (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
    "DUP": (START + b"}2.", "opcode DUP"),
    "a call of what was called": (START + ORDERED + b")R.", "calls what is no function"),
    "a call of a type": (START + b"ctorch\nFloatStorage\n)R.", "calls what is no function"),
    "a call without a tuple": (START + b"ccollections\nOrderedDict\n]R.", "calls what is no function"),
    "a filled OrderedDict": (START + b"ccollections\nOrderedDict\n" + tuple_of(b"]") + b"R.", "is not empty at first"),
    "another tensor": (START + b"ctorch._utils\n_rebuild_sparse_tensor\n.", "'torch._utils._rebuild_sparse_tensor'"),
    "a device": (START + b"ctorch\ndevice\n.", "'torch.device'"),
    "a near name": (START + b"ctorch\nFloatStorage.__init__\n.", "'torch.FloatStorage.__init__'"),
    "a name of numbers": (b"\x80\x04K\1K\2\x93.", "by other than texts"),
    "an unknown opcode": (START + b"\xff.", "its pickle is damaged"),
    "no end": (START + b"}", "its pickle is damaged"),
    "more after the end": (state() + b"}", "does not end where it should"),
    "two values": (START + b"}}.", "its pickle is damaged"),
    "no value": (START + b".", "its pickle is damaged"),
    "an open mark": (START + b"(}.", "does not end where it should"),
    "an empty stack": (START + b"\x86.", "its pickle is damaged"),
    "a value below a mark": (START + b"}(\x85.", "its pickle is damaged"),
    "an item of nothing": (START + b"}s.", "its pickle is damaged"),
    "half an item": (START + b"}(" + text("a") + b"u.", "its pickle is damaged"),
    "a memo that is not there": (START + b"h\5.", "its pickle is damaged"),
    "a memo far away": (START + b"}r\xff\xff\xff\xff0.", "opcode POP"),
    "a text of four gigabytes": (START + b"X\xff\xff\xff\xffaa.", "its pickle is damaged"),
    "bytes that claim 2**63": (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "its pickle is damaged"),
    "a number of many digits": (START + b"L" + b"9" * 5000 + b"L\n.", "its pickle is damaged"),
    "deep tuples": (START + b")" + b"\x85" * 50_000 + b".", "it holds a tuple"),
    "deep tuples as a key": (START + b"})" + b"\x85" * 50_000 + b"Ns.", "a key of a dict is no text"),
    "doubled tuples": (START + b")" + b"q\0h\0\x86" * 10_000 + b".", "it holds a tuple"),
    "a dict inside itself": (START + b"}q\0" + text("x") + b"h\0s.", "'x' is a dict"),
    "a key twice": (state(text("x"), tensor(), text("x"), tensor()), "comes twice: 'x'"),
    "a key of a tuple": (state(b")", tensor()), "a key of a dict is no text"),
    "a number for a tensor": (state(text("epoch"), number(3)), "its 'epoch' is a int, expected a tensor"),
    "a list": (START + b"].", "it holds a list"),
    "an append to a dict": (START + b"}Na.", "APPEND on what is no list"),
    "a name of safetensors": (state(text("__metadata__"), tensor()), "is no name of a tensor"),
    "a name with a line": (state(text("a\nb"), tensor()), "is no name of a tensor"),
    "half a sign": (START + b"}X\3\0\0\0\xed\xa0\x80" + tensor() + b"s.", "is no name of a tensor"),
}
"""What -> a program that is wrong in another way, and what is said of it."""


@pytest.mark.parametrize("what", PROGRAMS)
def test_wrong_programs(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, said = PROGRAMS[what]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert said in refused(archive(program), tmp_path / "here")
    assert not (tmp_path / "canary").exists()


def test_a_program_has_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcodes, "MOST", 50)
    assert "more than 50 opcodes" in refused(archive(START + b"}" * 60 + b"."), tmp_path)
    monkeypatch.setattr("crossflare.disk.state_dict.LONGEST", 100)
    assert "longer than 100 bytes" in refused(archive(START + b"}" * 200 + b"."), tmp_path)


# Tensors --------------------------------------------------------------------------------------------------------------

TENSORS: dict[str, tuple[bytes, str]] = {
    "beyond its storage": (tensor((2, 4), (4, 1)), "shape [2, 4] reaches beyond its storage"),
    "an offset beyond": (tensor(offset=1), "reaches beyond its storage"),
    "a negative offset": (tensor(offset=-1), "out of bounds"),
    "a stride beyond": (tensor((2,), (6,)), "reaches beyond its storage"),
    "a negative stride": (tensor((2,), (-1,), 3), "out of bounds"),
    "a negative size": (tensor((-2, -3)), "out of bounds"),
    "many elements of one": (tensor((1 << 40,), (0,)), "or repeats it"),
    "more elements than there are": (tensor((1 << 62, 1 << 62), (0, 0)), "out of bounds"),
    "none of many": (tensor((0, 1 << 62), (1, 1)), "out of bounds"),
    "a size of 2,000 bits": (tensor((1 << 2000,), (0,)), "out of bounds"),
    "a stride of 2,000 bits": (tensor((2,), (1 << 2000,)), "reaches beyond its storage"),
    "many dimensions": (tensor((1,) * 33, (1,) * 33), "not as many whole numbers"),
    "a stride less": (tensor((2, 3), (3,)), "not as many whole numbers"),
    "a size of True": (
        state().replace(b"u.", text("x") + tensor().replace(number(2), b"\x88", 1) + b"u."),
        "whole numbers",
    ),
    "a negative view": (tensor(more=b"}" + text("neg") + b"\x88s"), "a conjugate or negative view"),
    "a storage of no type": (tensor(held=storage("ComplexFloatStorage")), "'torch.ComplexFloatStorage'"),
    "a storage that is not there": (tensor(held=storage(key="7")), "its storage 7 should have 24 bytes"),
    "a storage in another folder": (tensor(held=storage(key="../data/0")), "not described as torch.save does"),
    "a storage of a negative size": (tensor(held=storage(count=-6)), "not described as torch.save does"),
    "a storage said to be larger": (tensor(held=storage(count=1 << 40)), "should have 4398046511104 bytes"),
    "a storage said to be smaller": (tensor((2,), (1,), held=storage(count=2)), "should have 8 bytes, and has others"),
    "a storage of another type": (tensor(held=storage("DoubleStorage")), "should have 48 bytes, and has others"),
    "a number for a storage": (tensor(held=number(1)), "not made as torch.save does"),
}
"""What -> a tensor that is wrong, and what is said of it."""


@pytest.mark.parametrize("what", TENSORS)
def test_wrong_tensors(what: str, tmp_path: Path) -> None:
    value, said = TENSORS[what]
    program = value if value.startswith(START) else state(text("x"), value)
    assert said in refused(archive(program), tmp_path)


def test_one_storage_of_two_types(tmp_path: Path) -> None:
    other = tensor(held=storage("IntStorage"))
    assert "two types or two sizes" in refused(archive(state(text("x"), tensor(), text("y"), other)), tmp_path)


def test_many_views_of_one_storage(tmp_path: Path) -> None:
    """A small file cannot become a large one: here 2,000 views of 100 kB."""
    big = storage(key="1", count=25_000)
    views = [part for n in range(2000) for part in (text(str(n)), tensor((24_000,), (1,), n % 1000, big))]
    content = archive(state(*views), {"a/data/1": bytes(100_000)})
    assert "its tensors would take 96000000 bytes" in refused(content, tmp_path)


def test_a_view_that_torch_would_negate(tmp_path: Path) -> None:
    torch.save({"x": torch._neg_view(torch.ones(3))}, tmp_path / "w.bin")
    assert "conjugate or negative" in refused((tmp_path / "w.bin").read_bytes(), tmp_path)


# Archives -------------------------------------------------------------------------------------------------------------

FINE = state(text("x"), tensor())


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def twice(content: bytes) -> bytes:
    """Let the central directory name data.pkl a second time, in the place of a file whose name is as long."""
    return content.replace(b"a/data.pkx", b"a/data.pkl")


def lies(field: int, value: bytes) -> Callable[[bytes], bytes]:
    """Return a function that changes a field of the central directory's last entry."""

    def change(content: bytes) -> bytes:
        at = content.rindex(b"PK\1\2") + field
        return content[:at] + value + content[at + len(value) :]

    return change


ARCHIVES: dict[str, tuple[bytes, str]] = {
    "cut off": (cut(archive(FINE)), "damaged or cut off"),
    "empty": (b"", "neither a zip archive nor a pickle"),
    "a tar archive": (b"storages" + bytes(600), "neither a zip archive nor a pickle"),
    "no pickle": (archive(FINE).replace(b"data.pkl", b"data.pkx"), "has no data.pkl"),
    "compressed": (archive(FINE, way=zipfile.ZIP_DEFLATED), "is compressed or encrypted"),
    "a bomb": (archive(FINE, {"a/data/1": bytes(10_000_000)}, zipfile.ZIP_DEFLATED), "is compressed or encrypted"),
    "two pickles": (twice(archive(FINE, {"a/data.pkx": START + b"}."})), "stands there twice"),
    "two folders": (archive(FINE, {"b/data.pkl": FINE}), "which no torch.save writes"),
    "a path above": (archive(FINE, {"a/../../x": b""}), "'a/../../x'"),
    "an absolute path": (archive(FINE, {"/x": b""}), "'/x'"),
    "a path of Windows": (archive(FINE).replace(b"a/data/0", b"a\\data\\0"), "no torch.save writes"),
    "big-endian": (archive(FINE, {"a/byteorder": b"big"}), "not little-endian"),
    "a damaged storage": (
        archive(FINE).replace(struct.pack("<f", 5.0), b"\1\2\3\4"),
        "'a/data/0' of its archive is damaged",
    ),
    "an entry elsewhere": (lies(42, struct.pack("<I", 5))(archive(FINE)), "is not where it should be"),
    "an entry beyond": (lies(42, struct.pack("<I", 1 << 30))(archive(FINE)), "is not where it should be"),
    "an entry in another": (lies(42, struct.pack("<I", 0))(archive(FINE)), "has two names"),
    "a size beyond": (lies(20, struct.pack("<II", 1 << 30, 1 << 30))(archive(FINE)), "is cut off"),
    "a size into the next": (
        lies(20, struct.pack("<II", 100, 100))(archive(FINE, {"a/data/0": b"x"})),
        "damaged|cut off",
    ),
}
"""What -> a file that is wrong, and what is said of it."""


@pytest.mark.parametrize("what", ARCHIVES)
def test_wrong_archives(what: str, tmp_path: Path) -> None:
    content, said = ARCHIVES[what]
    message = refused(content, tmp_path)
    assert any(each in message for each in said.split("|")), message


def test_entries_that_overlap(tmp_path: Path) -> None:
    """A storage that lies inside of another: a few bytes cannot stand for many."""
    inner = (
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, zlib.crc32(bytes(8)), 8, 8, 8, 0) + b"a/data/2" + bytes(8)
    )
    content = archive(FINE, {"a/data/1": inner, "a/data/2": bytes(8)})
    at = content.index(inner)
    assert "overlaps another" in refused(lies(42, struct.pack("<I", at))(content), tmp_path)


def test_old_files_have_bounds_too(tmp_path: Path) -> None:
    fine = tensor(held=storage(key=KEY))
    content = old(state(text("x"), fine))
    assert "cut off" in refused(content[:-1], tmp_path)
    assert "should have 6 elements" in refused(content[:-25], tmp_path)
    assert "belongs to no tensor" in refused(old(state(text("x"), tensor(held=storage(key="1")))), tmp_path)
    two = old(state(text("x"), fine, text("y"), tensor(held=storage(key="1"))))
    assert "it is cut off" in refused(two, tmp_path)
    count = content.rindex(struct.pack("<q", 6))
    assert "should have 6 elements" in refused(
        content[:count] + struct.pack("<q", 1 << 40) + content[count + 8 :], tmp_path
    )
    other = content.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    assert other != content
    assert "not little-endian" in refused(other, tmp_path)
    assert "none that torch.save wrote" in refused(START + number(5) + END, tmp_path)


def test_memory_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("crossflare.disk.state_dict.value_of", full)
    assert "takes more memory than is allowed" in refused(archive(FINE), tmp_path)
