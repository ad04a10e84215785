"""Damaged rows and adapter folders by the thousand, each from a seed: a reader takes them or refuses in one line."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import crossflare
from crossflare.disk.files import MANIFEST, digest_file
from crossflare.errors import UserError
from crossflare.tasks.columns import read_examples
from crossflare.tasks.files import read_rows
from crossflare.tasks.kinds import TextTask
from crossflare.tasks.layout import FileLayout
from crossflare.tasks.squad import read_questions
from fusion_models import build, flare

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "crossflare.json"
TASK = TextTask("mood", 1, ("bad", "good"), aliases={"awful": "bad"})
SIGNS = (
    "a", "Z", " ", "é", "e\u0301", "ß", "İ", "ı", "क्ष", "ไทย", "中文", "العربية", "עברית", "\u202e", "\u2066", "\u200d",
    "\u200c", "👍🏽", "👩‍👩‍👧", "𝔸", "\u2028", "\x85", "\x0b", "\x0c", "\r", "\t", '"', "'", ",", "\\", "\0", "\ufeff",
    "null", "NA", "nan", "None", "N/A", "1", "-1", "1e999", "true", "{", "}", "[", "]", ":",
)  # fmt: skip
BYTES = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xfe\xff", b"\0", b"\n", b"\r\n", b"\n\n", b'"')
ENDINGS = ("csv", "tsv", "jsonl")


def any_text(draw: random.Random) -> str:
    return "".join(draw.choice(SIGNS) for _ in range(draw.randrange(1, 8)))


def sound_rows(draw: random.Random, ending: str) -> bytes:
    """Return a file of rows with an id, a text and a label."""
    rows = [(str(n), any_text(draw), draw.choice(["bad", "good", "awful"])) for n in range(draw.randrange(1, 6))]
    if ending == "jsonl":
        lines = [json.dumps({"id": a, "text": b, "label": c}, ensure_ascii=draw.random() < 0.5) for a, b, c in rows]
    elif ending == "csv":
        quoted = [(a, '"' + b.replace('"', '""') + '"', c) for a, b, c in rows]
        lines = ["id,text,label", *(",".join(row) for row in quoted)]
    else:
        lines = ["id\ttext\tlabel", *("\t".join(cell.replace("\t", " ") for cell in row) for row in rows)]
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Cut, double, replace or insert at a few random places."""
    data = bytearray(content)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at:at] = draw.choice(BYTES)
        elif kind == 2:
            data[at : at + draw.randrange(1, 6)] = b""
        elif kind == 3:
            data[at:at] = any_text(draw).encode("utf-8", "surrogatepass")
        else:
            end = min(len(data), at + draw.randrange(1, 20))
            data[at:at] = data[at:end]
    return bytes(data)


def one_line(error: UserError, place: Path) -> None:
    said = str(error)
    assert str(place) in said, said
    assert "\n" not in said, said
    assert len(said) < 1000 + 2 * len(str(place)), said


def fuzz_rows(folder: Path, seed: int) -> Counter[str]:
    """Read one damaged file of rows with every reader; return how many rows were read and how many files refused."""
    draw, counts = random.Random(f"rows {seed}"), Counter[str]()
    ending = draw.choice(ENDINGS)
    path = folder / f"rows.{ending}"
    content = sound_rows(draw, ending)
    if seed % 8:
        content = damaged(draw, content)
    path.write_bytes(content)
    counts["rows"] = max(1, content.count(b"\n") - (ending != "jsonl"))
    for read in (
        lambda: read_rows(path),
        lambda: read_examples(path, TASK, FileLayout(id="id")),
        lambda: read_questions(path, FileLayout(question="id", context="text", answer="label")),
    ):
        try:
            read()
            counts["taken"] += 1
        except UserError as error:
            one_line(error, path)
            counts["refused"] += 1
    return counts


def fuzz_questions(folder: Path, seed: int) -> Counter[str]:
    """Read questions whose offsets may be wrong: those that are kept have the answer where they say."""
    draw, counts = random.Random(f"questions {seed}"), Counter[str]()
    path = folder / "questions.jsonl"
    rows: list[dict[str, Any]] = []
    for number in range(draw.randrange(1, 5)):
        before, answer, after = any_text(draw), any_text(draw), any_text(draw)
        shift = draw.choice([0] * 12 + [1, -1, len(before.encode()) - len(before), 10**6, -5])
        rows.append(
            {"id": str(number), "question": "q", "context": before + answer + after,
             "answers": {"text": [answer], "answer_start": [len(before) + shift]}}
        )  # fmt: skip
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(content if seed % 3 else damaged(draw, content))
    counts["rows"] = len(rows)
    try:
        for example in read_questions(path):
            for answer in example.answers:
                if answer.start is not None:
                    assert example.texts[1][answer.start : answer.start + len(answer.text)] == answer.text
        counts["taken"] += 1
    except UserError as error:
        one_line(error, path)
        counts["refused"] += 1
    return counts


def make_adapter(folder: Path) -> Any:
    """Save an adapter and return the identity of its base."""
    base = build("bert")
    identity = crossflare.identify(base, "tiny")
    crossflare.save_adapter(flare(base), folder, base=identity)
    return identity


def reseal(folder: Path) -> None:
    """Write hashes that fit, as someone would who means harm."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != MANIFEST)
    hashes = {name: digest_file(folder / name) for name in names if (folder / name).is_file()}
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "sha256": hashes}), encoding="utf-8")


def any_value(draw: random.Random) -> Any:
    return draw.choice(
        [None, True, -1, 0, 1, 8, 10**7, 10**12, 0.5, float("nan"), 1e308, "", "8", "(a+)+$", "../x", "\ud800", [],
         ["q"], {}, {"a": 1}, [[]] * 3, "x" * 10_000, any_text(draw)]
    )  # fmt: skip


def fuzz_adapter(sound: Path, folder: Path, base: Any, identity: Any, seed: int) -> Counter[str]:
    """Damage an adapter's folder, with hashes that fit most often; load it onto a base that must stay as it is."""
    draw, counts = random.Random(f"adapter {seed}"), Counter[str]()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    kind = draw.choice(["config", "config", "weights", "card", "header", "any"])
    if kind == "config" or kind == "card":
        path = folder / (CONFIG if kind == "config" else CARD)
        content = json.loads(path.read_text(encoding="utf-8"))
        part = content if draw.random() < 0.8 else content.get("base", content)
        for _ in range(draw.randrange(1, 3)):
            part[draw.choice([*part, *part, any_text(draw)])] = any_value(draw)
        path.write_text(json.dumps(content), encoding="utf-8")
    elif kind == "header":
        path = folder / WEIGHTS
        content_bytes = path.read_bytes()
        end = 8 + int.from_bytes(content_bytes[:8], "little")
        path.write_bytes(damaged(draw, content_bytes[:end]) + content_bytes[end:])
    else:
        path = folder / (WEIGHTS if kind == "weights" else draw.choice([CONFIG, CARD, MANIFEST, WEIGHTS]))
        path.write_bytes(damaged(draw, path.read_bytes()))
    if draw.random() < 0.9 and path.name != MANIFEST:
        reseal(folder)
    before = base.state_dict()
    kept = {name: tensor.clone() for name, tensor in before.items()}
    try:
        model = crossflare.load_adapter(base, folder, base=identity)
        counts["taken"] += 1
        model.unload()
        return counts
    except UserError as error:
        one_line(error, folder)
        counts["refused"] += 1
    after = base.state_dict()
    assert after.keys() == kept.keys()
    assert all((after[name] == kept[name]).all() for name in kept)
    return counts
