"""Laws of stored states: each text is encoded once, comes back as it was, and a kill costs no more than a part."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from crossflare.errors import UserError
from crossflare.translation.states import States, encode_stored


class Counting:
    """States that hang on the text; each call is counted."""

    identity: dict[str, Any]
    encoder_size = 4

    def __init__(self, stop_after: int = 10**9, **identity: Any) -> None:
        self.identity = {"engine": "transformers", "model": "m", "revision": "r", "dtype": "float32"} | identity
        self.seen: list[str] = []
        self._stop = stop_after

    def encode(self, texts: Sequence[str], source: str) -> list[torch.Tensor]:
        if len(self.seen) + len(texts) > self._stop:
            raise KeyboardInterrupt
        self.seen += texts
        return [
            torch.randn(len(t) + 2, 4, generator=torch.Generator().manual_seed(len(t) * 7 + ord(t[0]))) for t in texts
        ]


TEXTS = [f"{chr(97 + number % 26)}{'x' * (number % 17)}\u2028é" for number in range(600)]


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_states_come_back_in_order(tmp_path: Path, precision: str) -> None:
    encoder = Counting()
    found = encode_stored(tmp_path, encoder, TEXTS, "sw", precision=precision)
    assert len(encoder.seen) == len(set(TEXTS))
    for text, state in zip(TEXTS, found, strict=True):
        assert torch.equal(state, Counting().encode([text], "sw")[0].to(getattr(torch, precision)))
    again = encode_stored(tmp_path, encoder, TEXTS[::-1], "sw", precision=precision)
    assert len(encoder.seen) == len(set(TEXTS))
    assert all(torch.equal(a, b) for a, b in zip(again, found[::-1], strict=True))


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    texts = list(dict.fromkeys(TEXTS)) + [f"z{number}" for number in range(600)]
    stopped = Counting(stop_after=600)
    with pytest.raises(KeyboardInterrupt):
        States(tmp_path, stopped, "sw", bytes_per_part=2000).add(texts)
    encoder = Counting()
    states = States(tmp_path, encoder, "sw", bytes_per_part=2000)
    kept = len(states)
    assert 0 < kept <= len(stopped.seen)
    assert states.add(texts) == len(texts) - kept == len(encoder.seen)
    assert len(list(states.read(texts))) == len(texts)


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    encoder = Counting()
    first = [state.clone() for state in encode_stored(tmp_path, encoder, TEXTS[:50], "sw")]  # not the mapped file
    (part,) = tmp_path.glob("*/*/states.safetensors")
    part.write_bytes(part.read_bytes()[:-3])
    again = encode_stored(tmp_path, encoder, TEXTS[:50], "sw")
    assert len(encoder.seen) == 2 * len(set(TEXTS[:50]))
    assert all(torch.equal(a, b) for a, b in zip(again, first, strict=True))


def test_what_changes_the_states_is_kept_apart(tmp_path: Path) -> None:
    texts = ["a", "b"]
    encoders = [Counting(), Counting(revision="s"), Counting(mt_language={"bbc": "id"}), Counting(beams=9)]
    for encoder in encoders:
        encode_stored(tmp_path, encoder, texts, "sw")
    assert [len(encoder.seen) for encoder in encoders] == [2, 2, 2, 0]
    other = Counting()
    encode_stored(tmp_path, other, texts, "id")
    assert len(other.seen) == 2


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Parts are of the size asked for, whatever the number of texts."""
    States(tmp_path, Counting(), "sw", bytes_per_part=4000).add(TEXTS)
    sizes = [path.stat().st_size for path in tmp_path.glob("*/*/states.safetensors")]
    assert len(sizes) > 2
    assert max(sizes) < 4000 + 2000


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown precision of stored states 'int8'"):
        States(tmp_path, Counting(), "sw", precision="int8")
    with pytest.raises(UserError, match="no states of the text 'never'; add it first"):
        list(States(tmp_path, Counting(), "sw").read(["never"]))
    (folder,) = tmp_path.iterdir()
    (folder / "identity.json").write_text("{}")
    with pytest.raises(UserError, match="expected the identity of these states, found another"):
        States(tmp_path, Counting(), "sw")
