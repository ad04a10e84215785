"""Token lengths of real text pairs, for batches that are as ragged as real ones."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MEDIAN, P95 = 36, 74
"""Of the tokens of an XNLI pair; the mean is 40."""


def pair_lengths(count: int, longest: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return target and source lengths [count]: of XNLI where CROSSFLARE_DATA holds it, else lognormal ones like them.

    A translation is about as long as its text: the target's length is the source's, changed by a tenth either way.
    """
    random = np.random.default_rng(seed)
    source = random.choice(measured() if measurable() else made_up(random, count), count)
    target = source * random.uniform(0.9, 1.1, count)
    return tuple(np.clip(np.round(side), 4, longest).astype(np.int64) for side in (target, source))


def measurable() -> bool:
    """Whether the real pairs are there."""
    return bool(os.environ.get("CROSSFLARE_DATA")) and (Path(os.environ["CROSSFLARE_DATA"]) / "xnli").is_dir()


def measured() -> NDArray[np.float64]:
    """Return the lengths of the English training pairs in tokens of MiniLM."""
    from transformers import AutoTokenizer

    from crossflare.tasks.sets import load_set
    from crossflare.training.bases.packaged import base_place

    pairs = [
        e.texts for e in load_set("xnli", Path(os.environ["CROSSFLARE_DATA"]) / "xnli").split("en", "train").examples
    ]
    tokenizer = AutoTokenizer.from_pretrained(base_place("minilm"))
    return np.array(
        [len(ids) for ids in tokenizer(*map(list, zip(*pairs, strict=True)))["input_ids"]], dtype=np.float64
    )


def made_up(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return lognormal lengths with the median and the 95th percentile above."""
    return random.lognormal(np.log(MEDIAN), np.log(P95 / MEDIAN) / 1.645, count)
