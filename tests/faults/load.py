"""`make load SECONDS=60`: `crossflare serve` under 64 clients, whose figures go into docs/reliability.md.

    python tests/faults/load.py --seconds 60

Two FLARE adapters with random weights on MiniLM, one of which has a translation engine. The clients send valid requests
of mixed sizes among oversized, malformed and slow ones; halfway the engine's process is killed. Then come rows of 20
tokens, one a request, to this server and to one whose batches have one row. Every process has one thread for torch, and
costs are seconds of the processor, so that other programs on the machine do not matter.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLIENTS, SIZES = 64, (1, 2, 5, 12)
CLOSE = 1e-4
"""How far a probability may be from the offline one: a batch of another width changes the last digits."""
HEAD = "POST /predict HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
Rows = list[dict[str, Any]]


class Served:
    """A server in a process of its own."""

    def __init__(self, adapters: dict[str, Path], lexicon: Path, *more: str) -> None:
        named = [word for name, place in adapters.items() for word in ("--adapter", f"{name}={place}")]
        words = ["serve", *named, "--translate", f"sw=dictionary:lexicon={lexicon}", "--port", "0", *more]
        self.log = tempfile.NamedTemporaryFile("w+", dir=lexicon.parent, suffix=".log")  # noqa: SIM115
        self.process = subprocess.Popen([sys.executable, "-m", "crossflare", *words], stdout=self.log, stderr=self.log)
        self.port = 0
        while not self.port:
            assert self.process.poll() is None, self.said()
            time.sleep(0.2)
            found = [line.partition("http://127.0.0.1:")[2] for line in self.said().splitlines()]
            self.port = int(([each.split()[0].rstrip(";") for each in found if each] or ["0"])[-1])

    def said(self) -> str:
        """Return what it has printed."""
        return Path(self.log.name).read_text()

    def seconds(self) -> float:
        """Return the seconds of the processor that it took so far, without its engines."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """Return its resident memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1e3

    def engines(self) -> list[int]:
        """Return the processes of its engines."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        children = [int(number) for task in tasks for number in (task / "children").read_text().split()]
        return [each for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]

    def end(self) -> int:
        """Stop it, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        self.log.close()
        return code


async def ask(port: int, body: bytes, pause: float = 0.0) -> tuple[int, Any]:
    """Send a body, with a pause before its second half; return the status and the answer, 0 if there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        half = len(body) // 2 if pause else len(body)
        writer.write(HEAD.format(len(body)).encode() + body[:half])
        await writer.drain()
        if pause:
            await asyncio.sleep(pause)
            writer.write(body[half:])
            await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].split()[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0, None
    finally:
        writer.close()


def wrong_requests() -> list[tuple[bytes, float, set[int]]]:
    """Return bodies that must be refused, the pause within each, and the statuses that they may get.

    A body that is refused before it was sent may find the connection closed: 0.
    """
    return [
        (b'{"text": "' + b"x" * (2 << 20) + b'"}', 0.0, {0, 413}),
        (json.dumps({"texts": ["w"] * 65, "language": "jv"}).encode(), 0.0, {422}),
        (json.dumps({"text": "w" * 20_000, "language": "jv"}).encode(), 0.0, {422}),
        (b'{"text": "a', 0.0, {400}),
        (b"[" * 50_000, 0.0, {400}),
        (b'{"text": "\\ud800", "language": "jv"}', 0.0, {400, 422}),
        (b'{"text": NaN, "language": "jv"}', 0.0, {400, 422}),
        (json.dumps({"text": "w", "language": "tlh"}).encode(), 0.0, {404}),
        (json.dumps({"text": "a film", "language": "jv", "source": ""}).encode(), 12.0, {0, 408}),
    ]


async def mixed_load(served: Served, rows: Rows, seconds: float) -> dict[str, Any]:
    """Let the clients send mixed requests, kill the engine halfway, and return what came back."""
    counts, faults = Counter[str](), list[str]()
    begun, wrong = time.monotonic(), wrong_requests()
    memory: list[float] = []
    killed: dict[str, float] = {}

    def left() -> float:
        return begun + seconds - time.monotonic()

    async def client(number: int) -> None:
        turn = number
        while left() > 0:
            turn += 1
            if turn % 4 == 0:
                body, pause, allowed = wrong[(turn // 4 + number) % len(wrong)]
                status, _ = await ask(served.port, body, min(pause, 12.0))
                counts[f"refused {status}"] += 1
                if status not in allowed:
                    faults.append(f"{body[:30]!r} got {status}")
                continue
            size = SIZES[(turn + number) % len(SIZES)]
            some = [rows[(turn * 31 + number * 17 + place) % len(rows)] for place in range(size)]
            some = [row for row in some if row["language"] == some[0]["language"]]
            asked = {"texts": [row["text"] for row in some], "language": some[0]["language"]}
            if asked["language"] == "jv":
                asked["sources"] = [row["source"] for row in some]
            status, said = await ask(served.port, json.dumps(asked).encode())
            counts[str(status)] += 1
            if status == 200:
                counts["rows"] += len(some)
                faults.extend(
                    f"{row['language']}: {each['probability']} for {row['probability']}"
                    for row, each in zip(some, said["predictions"], strict=True)
                    if abs(each["probability"] - row["probability"]) > CLOSE or each["label"] != row["label"]
                )
                if "at" in killed and asked["language"] == "sw" and counts["503"]:
                    killed.setdefault("back", time.monotonic() - killed["at"])
            elif status not in (429, 503) or (status == 503 and "at" not in killed):
                faults.append(f"a valid request got {status}")
            else:
                await asyncio.sleep(0.5)

    async def killer() -> None:
        await asyncio.sleep(seconds / 4)
        memory.append(served.megabytes())
        await asyncio.sleep(seconds / 4)
        os.kill(served.engines()[0], signal.SIGKILL)
        killed["at"] = time.monotonic()

    await asyncio.gather(killer(), *(client(number) for number in range(CLIENTS)))
    memory.append(served.megabytes())
    if served.process.poll() is not None:
        faults.append(f"the server ended with {served.process.returncode}")
    return {
        "counts": dict(sorted(counts.items())), "faults": faults[:20], "back": round(killed.get("back", -1.0), 1),
        "growth": round(memory[1] - memory[0], 1), "seconds": seconds,
    }  # fmt: skip


async def cost(served: Served, rows: Rows, count: int) -> float:
    """Return the seconds of the processor for a row, of requests with one row each."""
    waiting = iter([rows[place % len(rows)] for place in range(count)])

    async def client() -> None:
        for row in waiting:
            asked = {name: row[name] for name in ("text", "source", "language")}
            status, _ = await ask(served.port, json.dumps(asked).encode())
            assert status == 200, status

    before = served.seconds()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return (served.seconds() - before) / count


def offline(adapters: Any, rows: Rows) -> None:
    """Put the offline predictions into rows."""
    said = adapters.predict([row["text"] for row in rows], [row["source"] for row in rows],
                            languages=[row["language"] for row in rows])  # fmt: skip
    for row, each in zip(rows, said, strict=True):
        row |= {"label": each.label, "probability": each.score}


def made_rows(tokenizer: Any, lexicon: dict[str, str], shortest: int, longest: int, count: int) -> Rows:
    """Return rows of whole words; the source of a Swahili one is what the dictionary makes of it."""
    import numpy as np

    from bench.mixed import words_of

    words, random = words_of(tokenizer), np.random.default_rng(longest)
    rows: Rows = []
    for number in range(count):
        length = int(random.integers(shortest, longest + 1)) - 2
        text = " ".join(random.choice(words, length))
        language = ("sw", "jv")[number % 2]
        source = " ".join(lexicon.get(word, word) for word in text.split())
        rows.append({"text": text, "source": source, "language": language})
    return rows


def measure(seconds: float, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of the whole proof."""
    import torch

    import crossflare
    from bench.mixed import make_adapters, words_of
    from crossflare.training.bases.load import load_base

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_adapters(folder, 2, settings={"precision": "fp32"})
        places = {"sw": made["a0"], "jv": made["a1"]}
        adapters = crossflare.open_adapters(places)
        tokenizer = load_base("minilm", adapters.saved["sw"].task, seed=0).tokenizer
        words = words_of(tokenizer)
        lexicon = dict(zip(words[:3000], words[-3000:], strict=True))
        (folder / "sw-en.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in lexicon.items()))
        rows = made_rows(tokenizer, lexicon, 4, 60, 240)
        offline(adapters, rows)
        short = made_rows(tokenizer, lexicon, 20, 20, 128)
        lone: list[float] = []
        served = Served(places, folder / "sw-en.tsv")
        say(f"a server on port {served.port}")
        asyncio.run(cost(served, rows, len(rows)))  # memory grows with the widest batches, and then no more
        found = asyncio.run(mixed_load(served, rows, seconds))
        say(json.dumps(found))
        asyncio.run(cost(served, short, CLIENTS))  # warm
        single = Served(places, folder / "sw-en.tsv", "--batch-tokens", "1")
        asyncio.run(cost(single, short, CLIENTS))
        ours: list[float] = []
        ones: list[float] = []
        for _ in range(3):
            begin = time.process_time()
            offline(adapters, short)
            lone.append((time.process_time() - begin) / len(short))
            ours.append(asyncio.run(cost(served, short, count)))
            ones.append(asyncio.run(cost(single, short, max(count // 4, CLIENTS))))
        say(json.dumps({"offline": lone, "served": ours, "batches of one": ones}))
        found["exit codes"] = [served.end(), single.end()]
        middle = {name: sorted(each)[1] for name, each in (("alone", lone), ("served", ours), ("ones", ones))}
        return found | {
            "ms": {name: round(1000 * each, 2) for name, each in middle.items()},
            "CPU of a row / offline": round(middle["served"] / middle["alone"], 3),
            "CPU of a row / batches of one": round(middle["served"] / middle["ones"], 3),
            "growth of memory, MB": found["growth"],
        }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rows", type=int, default=512)
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "CROSSFLARE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, str(HERE.parent))
    sys.path.insert(1, str(ROOT))
    from faults.drive import load, save
    from faults.load_page import WANTED
    from faults.page import write_page

    found = measure(given.seconds, given.rows, lambda line: print(line, flush=True))
    state = load() | {"load": found}
    save(state)
    write_page(ROOT / "docs" / "reliability.md", state)
    missed = [name for name, most in WANTED.items() if found[name] > most]
    print(f"faults: {found['faults']}; missed: {missed}")
    return bool(found["faults"] or missed)


if __name__ == "__main__":
    raise SystemExit(main())
