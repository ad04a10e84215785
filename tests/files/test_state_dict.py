"""Files of torch.save become safetensors with the tensors that torch itself reads in them."""

import os
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from crossflare.disk import state_dict
from crossflare.disk.state_dict import to_safetensors
from crossflare.errors import UserError

NEW_AND_OLD = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "row"])


def through(state: Any, folder: Path, zipped: bool, protocol: int = 2) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Save a state dict as torch does, convert it, and return all tensors by name, and which are tied."""
    source, target = folder / "pytorch_model.bin", folder / "model.safetensors"
    torch.save(state, source, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    tied = to_safetensors(source, target)
    held = load_file(target)
    assert not held.keys() & tied.keys()
    return {**held, **{name: held[kept] for name, kept in tied.items()}}, tied


def same(found: dict[str, Tensor], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert (
            found[name].untyped_storage().tolist()
            == tensor.detach().clone(memory_format=torch.contiguous_format).untyped_storage().tolist()
        ), name  # by bytes: NaN, too


def mixed() -> dict[str, Any]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    base, shared = torch.randn(6, 4), torch.randn(5)
    state: dict[str, Any] = module.state_dict()  # an OrderedDict with _metadata, and a count of batches in int64
    return state | {
        "parameter": nn.Parameter(base),
        "transposed": base.t(),
        "rows": base[1:3],
        "steps": base[::2, 1::2],
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "one": torch.randn(1, 1)[:, :1].t(),
        "nan": torch.tensor([float("nan"), float("-inf"), -0.0]),
        "bf16": torch.randn(3, 2).bfloat16().t(),
        "f16": torch.randn(3).half(),
        "f64": torch.randn(2, 2).double(),
        "flags": torch.tensor([[True, False], [False, False]]).t(),
        "bytes": torch.arange(5, dtype=torch.uint8)[1:],
        "int8": torch.arange(-3, 3, dtype=torch.int8),
        "int16": torch.arange(3, dtype=torch.int16),
        "int32": torch.arange(3, dtype=torch.int32),
        "shared.weight": shared,
        "tied.weight": shared,
    }


@NEW_AND_OLD
def test_all_kinds_of_tensors(tmp_path: Path, zipped: bool) -> None:
    found, tied = through(mixed(), tmp_path, zipped)
    same(found, torch.load(tmp_path / "pytorch_model.bin", weights_only=True))
    assert tied == {"tied.weight": "shared.weight"}
    with safe_open(tmp_path / "model.safetensors", "pt") as opened:
        assert opened.metadata() == {"tied.weight": "shared.weight", "format": "pt"}


@NEW_AND_OLD
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_newer_pickles(tmp_path: Path, zipped: bool, protocol: int) -> None:
    state = mixed()
    same(through(state, tmp_path, zipped, protocol)[0], state)


@pytest.mark.parametrize("state", [{}, OrderedDict(), {"": torch.ones(1), "ключ 鍵": torch.ones(2)}])
@NEW_AND_OLD
def test_small_dicts(tmp_path: Path, zipped: bool, state: dict[str, Tensor]) -> None:
    same(through(state, tmp_path, zipped)[0], state)


TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool]


@st.composite
def views(draw: st.DrawFn) -> Tensor:
    """A tensor of any type, and a view of it: permuted, cut, stepped."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    tensor = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 9))))
    tensor = tensor.to(draw(st.sampled_from(TYPES)))
    for _ in range(draw(st.integers(0, 3))):
        if tensor.dim():
            tensor = tensor.permute(draw(st.permutations(range(tensor.dim()))))
            cut = slice(draw(st.integers(0, 2)), None, draw(st.integers(1, 3)))
            tensor = tensor[cut] if draw(st.booleans()) else tensor
    return tensor


@given(state=st.dictionaries(st.text(max_size=5).filter(str.isprintable), views(), max_size=4), zipped=st.booleans())
def test_any_views_are_what_torch_reads(
    state: dict[str, Tensor], zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with patch("os.fsync"):  # which takes most of the time
        found, _ = through(state, folder, zipped)
    same(found, torch.load(folder / "pytorch_model.bin", weights_only=True))


def test_copies_are_made_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_dict, "CHUNK", 7)
    state = mixed()
    same(through(state, tmp_path, True)[0], state)


PEAK = """
import re
from pathlib import Path
from crossflare.disk.state_dict import to_safetensors

def peak():  # in kB, of this process alone
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

before = peak()
to_safetensors(Path("a.bin"), Path("a.safetensors"))
print(peak() - before)
"""


@pytest.mark.slow  # writes 400 MB
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory was taken")
@pytest.mark.parametrize(("turned", "most"), [(False, 60_000), (True, 480_000)])
def test_a_large_tensor_takes_no_memory_of_its_size(tmp_path: Path, turned: bool, most: int) -> None:
    large = torch.zeros(50, 1_000_000)  # 200 MB
    torch.save({"large": large.t() if turned else large}, tmp_path / "a.bin")
    done = subprocess.run([sys.executable, "-c", PEAK], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) < most


@NEW_AND_OLD
@given(data=st.data())
def test_a_damaged_file_is_refused_in_one_line_or_read_within_its_bounds(
    zipped: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    source, target = folder / "a.bin", folder / "a.safetensors"
    torch.save(mixed(), source, _use_new_zipfile_serialization=zipped)
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    source.write_bytes(content)
    said = None
    try:
        with patch("os.fsync"):
            to_safetensors(source, target)
    except UserError as error:
        said = str(error)
    assert (said is None) == target.exists()
    if said is None:
        load_file(target)
    else:
        assert "\n" not in said
        assert os.listdir(folder) == ["a.bin"]


def test_the_header_is_aligned(tmp_path: Path) -> None:
    through({"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(2, dtype=torch.float64)}, tmp_path, True)
    content = (tmp_path / "model.safetensors").read_bytes()
    assert struct.unpack("<Q", content[:8])[0] % 8 == 0
    assert content[-19:] == struct.pack("<2d3B", 1, 1, 1, 1, 1)  # the widest first, so that each begins at its multiple
