"""A slow engine in a process of its own, to be killed: `python faulty.py <root> <seconds per text> <texts>`."""

import sys
import time
from collections.abc import Sequence

from crossflare.translation.store import Store
from crossflare.translation.translate import translate_all


class Reverse:
    """Turns texts round; its speed is not part of its identity."""

    identity = {"engine": "reverse", "licence": "none"}  # noqa: RUF012

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.seen: list[str] = []

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        time.sleep(self.seconds * len(texts))
        self.seen += texts
        return [text[::-1] for text in texts]


def texts(count: int) -> list[str]:
    return [f"text {index}\u2028 of\nmany é" for index in range(count)]


if __name__ == "__main__":
    root, seconds, count = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    print("ready", flush=True)
    translate_all(Store(root), Reverse(seconds), texts(count), "sw", "en", batch=5)
