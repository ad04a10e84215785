"""Cards, manifests and configurations of a stranger: whatever they say gives one line, or what they did before."""

import copy
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crossflare.serving.adapter as loading
from crossflare.cli import main
from crossflare.disk.files import CARD, MANIFEST, digest_file
from crossflare.disk.untrusted import DEEPEST, read_small_json
from crossflare.errors import UserError
from crossflare.fusion.saved.adapter_check import CONFIG
from crossflare.serving.file import Column, predict_file
from hub_cache import hub_snapshot
from tiny_adapters import SOURCES, TEXTS, make_adapters, write

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**40, -0.5, 1e308, 0.1, "", "x", "../../x", "/etc/passwd",
    "\x1b[31m", "a\nb", "\0", "n" * 2000, [], [1], [[]], ["a", "a"], ["x"] * 5000, {}, {"a": 1}, {"name": []},
    {"engine": 3}, {"labels": 3}, [None], [{"a": []}], {"": ""}, "nan", "true", "flare", "lora", "flare-mt", "xmixup",
    "filter", "input-fusion", "bf16", "nf4", "text",
]  # fmt: skip
"""What a mutation writes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapters(tmp_path_factory.mktemp("models"))


@pytest.fixture
def adapter(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage."""
    rows = [{"id": str(i), "text": t, "english": s} for i, (t, s) in enumerate(zip(TEXTS, SOURCES, strict=True))]
    write(tmp_path / "in.jsonl", rows)
    return Path(shutil.copytree(folder / "flare", tmp_path / "adapter"))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the way to every value inside a value, and to itself."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def mutated(value: Any, draw: random.Random) -> Any:
    """Return a copy in which one value is another, is gone, or stands under another key."""
    value = json.loads(json.dumps(value))
    *path, last = draw.choice([each for each in places(value) if each])
    inside = value
    for key in path:
        inside = inside[key]
    how = draw.randrange(8)
    if how == 0:
        del inside[last]
    elif how == 1 and isinstance(inside, dict):
        inside[draw.choice(["x", "", "peft_type", "auto_map", "base", "\ud800"])] = inside.pop(last)
    else:
        inside[last] = draw.choice(VALUES)
    return value


def reseal(adapter: Path) -> None:
    names = [path.name for path in adapter.iterdir() if path.name != MANIFEST]
    (adapter / MANIFEST).write_text(
        json.dumps({"format": 1, "sha256": {name: digest_file(adapter / name) for name in names}})
    )


def outcome(adapter: Path) -> str:
    """Predict, and return the error's line, or the predictions; anything else that is raised fails the test."""
    out = adapter.parent / "out.jsonl"
    out.unlink(missing_ok=True)
    said = ""
    try:
        predict_file(adapter=adapter, input=adapter.parent / "in.jsonl", output=out, source=Column(("english",)))
    except UserError as error:
        said = str(error)
    assert out.exists() == (not said)
    assert "\n" not in said
    assert len(said) < 1200
    return said or out.read_text()


def mutate(adapter: Path, seed: int, times: int) -> tuple[int, int]:
    """Mutate card, configuration and manifest in turn; return how many were refused, and how many predicted."""
    draw, refused = random.Random(seed), 0
    good = {name: (adapter / name).read_text() for name in (CARD, CONFIG, MANIFEST)}
    for number in range(times):
        name = list(good)[number % 3]
        (adapter / name).write_text(json.dumps(mutated(json.loads(good[name]), draw)))
        if name != MANIFEST:
            reseal(adapter)
        started = time.process_time()
        refused += not outcome(adapter).startswith("{")
        assert time.process_time() - started < 5, (adapter / name).read_text()
        for each, content in good.items():
            (adapter / each).write_text(content)
    return refused, times - refused


def test_control_the_folder_predicts(adapter: Path) -> None:
    first = outcome(adapter)
    assert first.count("\n") == sum(bool(text.strip()) for text in TEXTS)
    reseal(adapter)
    assert outcome(adapter) == first


@pytest.fixture
def one_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the base model once for all: what is tested is what is read before and after it."""
    known: dict[str, Any] = {}
    load = loading.load_base

    def load_once(*words: Any, **options: Any) -> Any:
        key = repr((words, sorted(options.items())))
        if key not in known:
            known[key] = load(*words, **options)
        return copy.deepcopy(known[key])

    monkeypatch.setattr(loading, "load_base", load_once)


def test_mutations(adapter: Path, one_base: None) -> None:
    refused, predicted = mutate(adapter, seed=1, times=90)
    assert refused > 30  # both ends are met
    assert predicted > 5


@pytest.mark.slow  # thousands of them
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_mutations(adapter: Path, one_base: None, seed: int) -> None:
    mutate(adapter, seed, times=400)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": 3}, "kind must be one of stage1, zero-shot,"),
        ({"max_length": "128"}, "max_length must be a whole number from 4 to 65536, got '128'"),
        ({"max_length": 10**9}, "max_length must be a whole number from 4 to 65536, got 1000000000"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"task": "t"}, "task must be an object, got 't'"),
        ({"task": {"labels": "abc", "texts": 1}}, f"{CARD}.task: labels must be a list of texts"),
        ({"task": {"labels": ["a", 1], "texts": 1}}, f"{CARD}.task: labels must be a list of texts"),
        ({"task": {"labels": ["a", "b"], "texts": [1]}}, f"{CARD}.task: texts must be 1 or 2, got [1]"),
        ({"task": {"labels": ["a"] * 1001, "texts": 1}}, "labels has 1001 entries, expected at most 1000"),
        ({"model": []}, "model must be an object, got []"),
        ({"model": {"name": 7}}, f"{CARD}.model: name must be one line of text, got 7"),
        ({"model": {"quantise": "q"}}, f"{CARD}.model: quantise must be none, nf4, nf4-single or int8, got 'q'"),
        ({"settings": {"precision": {}}}, f"{CARD}.settings: precision must be auto, fp32 or bf16"),
        ({"mixing": {"mix_block": "a"}}, f"{CARD}.mixing: mix_block must be a block's index, got 'a'"),
        ({"train_source": 3}, "train_source must be one line of text or an object, got 3"),
        ({"language": "\x1b[31m"}, "language must be one line of text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_wrong_field_is_one_line(
    adapter: Path, change: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (adapter / CARD).write_text(json.dumps(json.loads((adapter / CARD).read_text()) | change))
    reseal(adapter)
    assert said in outcome(adapter)
    assert main(["validate", str(adapter)]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("name", [CARD, CONFIG, MANIFEST])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 49_000 + "]" * 49_000, f"49000 levels inside each other, expected at most {DEEPEST}"),
        ('{"a": ' * 40 + "1" + "}" * 40, f"40 levels inside each other, expected at most {DEEPEST}"),
        ('{"a": "' + "x" * 3_000_000 + '"}', "3000009 bytes, expected at most"),
        ('{"base": 1, "base": {}}', "the key 'base' stands there twice"),
        ('{"base": {"name": "a", "name": "b"}}', "the key 'name' stands there twice"),
        ('{"base": "\\ud800"}', "it is damaged"),
        ('{"base": ' + "1" * 5000 + "}", "it is damaged"),
        ("\ufeff{}", "it is damaged"),
        ("\xff", "damaged"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_text_that_is_not_parsed_or_not_believed(adapter: Path, name: str, text: str, said: str) -> None:
    (adapter / name).write_bytes(text.encode("latin-1" if text == "\xff" else "utf-8"))
    if name != MANIFEST:
        reseal(adapter)
    assert said in outcome(adapter)


def test_brackets_in_texts_are_no_levels(tmp_path: Path) -> None:
    value = {"a": "[" * 1000, 'b"[': '\\"[{' * 40, "c": [[["]"]]]}
    (tmp_path / "x.json").write_text(json.dumps(value))
    assert read_small_json(tmp_path / "x.json") == value


def test_a_name_that_is_not_here_is_not_looked_up(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a revision; what the user names may be."""
    asked: list[Any] = []

    def look_up(*address: Any, **_: Any) -> None:
        asked.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    card = json.loads((adapter / CARD).read_text())
    card["model"] = {"name": "nobody/nothing-of-that-name", "revision": "abc"}
    (adapter / CARD).write_text(json.dumps(card))
    reseal(adapter)
    assert "'nobody/nothing-of-that-name' that the adapter names is not here; give it with --base" in outcome(adapter)
    assert asked == []


def test_a_name_that_was_fetched_before_is_taken_from_the_cache(
    adapter: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outcome(adapter)
    hub_snapshot(folder / "base", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    card = json.loads((adapter / CARD).read_text())
    (adapter / CARD).write_text(json.dumps(card | {"model": {"name": "a/b"}}))
    reseal(adapter)
    assert outcome(adapter) == first


def test_a_window_longer_than_the_model_reads_is_cut_to_it(adapter: Path) -> None:
    card = json.loads((adapter / CARD).read_text())
    (adapter / CARD).write_text(json.dumps(card | {"max_length": 65536}))
    reseal(adapter)
    assert outcome(adapter).count("\n") == sum(
        bool(text.strip()) for text in TEXTS
    )  # one of the texts has a hundred words, the model 48 positions
