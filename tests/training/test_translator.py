"""Laws of the translator trained here: both ways in one model, the same for the same text, found again, resumable."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.training.bitext import IGNORED, Bitext, BitextCollator, train_vocabulary, translation_loss
from crossflare.training.translator import CARD, Sizes, build_translator, train_translator, translator_id
from crossflare.translation.engines.hf import Transformers
from crossflare.translation.engines.model_files import read_licence
from digests import digests
from lanes import only

PAIRS = [
    ("nyumba kubwa", "a big house"), ("mbwa mdogo", "a small dog"), ("samaki mkubwa", "a big fish"),
    ("nyumba ndogo", "a small house"), ("mbwa mkubwa", "a big dog"), ("samaki mdogo", "a small fish"),
]  # fmt: skip
LANGUAGES = ("sw", "en")
SMALL = Sizes(
    width=64, layers=1, vocabulary=64, dropout=0.0, epochs=120, batch_size=4, lr=3e-3, max_tokens=32, precision="fp32"
)


def tokenizer() -> Any:
    return train_vocabulary((text for pair in PAIRS for text in pair), 64, LANGUAGES, 32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_translator(tmp_path_factory.mktemp("mt"), LANGUAGES, PAIRS, PAIRS, SMALL, "CC-BY-NC-4.0")


def test_it_learns_both_ways(trained: Path) -> None:
    engine = Transformers(str(trained), beams=2)
    there = engine.translate([a for a, _ in PAIRS], source="sw", target="en")
    back = engine.translate([b for _, b in PAIRS], source="en", target="sw")
    assert there == [b for _, b in PAIRS]
    assert back == [a for a, _ in PAIRS]


def test_the_other_engine_reads_the_folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ctranslate2")
    from crossflare.translation.engines.ct2 import CTranslate2

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CROSSFLARE_CACHE", str(tmp_path))
    found = CTranslate2(str(trained), compute_type="float32", beams=2).translate(
        ["mbwa mdogo"], source="sw", target="en"
    )
    assert found == ["a small dog"]


def test_a_trained_one_is_found_and_a_changed_one_is_not(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossflare.training.translator.fit", None)  # training again would fail
    again = train_translator(trained.parent, LANGUAGES, PAIRS, PAIRS, SMALL, "CC-BY-NC-4.0")
    assert again == trained
    same = translator_id(LANGUAGES, PAIRS, PAIRS, SMALL)
    assert trained.name == same
    others = [
        translator_id(("en", "sw"), PAIRS, PAIRS, SMALL),
        translator_id(LANGUAGES, PAIRS[1:], PAIRS, SMALL),
        translator_id(LANGUAGES, PAIRS, PAIRS[:1], SMALL),
        translator_id(LANGUAGES, PAIRS, PAIRS[:2], Sizes(width=128)),
    ]
    assert len({same, *others}) == 5


QUICK = replace(SMALL, epochs=10, dropout=0.2)


def files(root: Path) -> dict[str, str]:
    """What is in the finished translator's folder; nothing else but the seconds may be left beside it."""
    folder = root / translator_id(LANGUAGES, PAIRS, PAIRS, QUICK)
    assert sorted(path.name for path in root.iterdir()) == [folder.name, f"{folder.name}.time.json"]
    return digests(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("whole")
    train_translator(root, LANGUAGES, PAIRS, PAIRS, QUICK, "MIT")
    return files(root)


@pytest.mark.parametrize("at", only([2, 14, 29], [14]))
def test_broken_off_and_resumed_gives_the_same_bytes(
    undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    calls: list[int] = []

    def stopping(model: Any, batch: Any, step: int = 0, **more: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == at:
            raise RuntimeError("stop")
        return translation_loss(model, batch, step, **more)

    with monkeypatch.context() as patch:
        patch.setattr("crossflare.training.translator.translation_loss", stopping)
        with pytest.raises(RuntimeError, match="stop"):
            train_translator(tmp_path, LANGUAGES, PAIRS, PAIRS, QUICK, "MIT")
    train_translator(tmp_path, LANGUAGES, PAIRS, PAIRS, QUICK, "MIT")
    assert files(tmp_path) == undisturbed


KILLED = """
import importlib.util, os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)  # how many threads share a sum is seen in its last bits
spec = importlib.util.spec_from_file_location("ours", sys.argv[1])
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)

def start(root):
    child = os.fork()
    if child == 0:
        ours.train_translator(root, ours.LANGUAGES, ours.PAIRS, ours.PAIRS, ours.QUICK, "MIT")
        os._exit(0)
    return child

calm, shot = Path(sys.argv[2]) / "calm", Path(sys.argv[2]) / "shot"
calm.mkdir()
shot.mkdir()
assert os.waitpid(start(calm), 0)[1] == 0
kills = 0
for _ in range(3):
    before = {path.name for path in shot.glob(".*.run/step-*")}
    child = start(shot)
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if {path.name for path in shot.glob(".*.run/step-*")} - before:
            os.kill(child, signal.SIGKILL)
            kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            break
        time.sleep(0.001)
assert os.waitpid(start(shot), 0)[1] == 0
print(kills)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", KILLED, __file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
    assert files(tmp_path / "shot") == files(tmp_path / "calm")


def test_what_a_kill_after_saving_left_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("crossflare.training.translator.shutil.rmtree", lambda *_, **__: None)
        train_translator(tmp_path, LANGUAGES, PAIRS, PAIRS, QUICK, "MIT")
    assert len(list(tmp_path.iterdir())) == 3
    train_translator(tmp_path, LANGUAGES, PAIRS, PAIRS, QUICK, "MIT")
    assert files(tmp_path)


def test_the_folder_says_what_it_is(trained: Path) -> None:
    card = read_json(trained / CARD)
    assert (card["pairs"], card["languages"], card["licence"]) == (6, ["sw", "en"], "CC-BY-NC-4.0")
    assert card["curve"][-1][0] == card["steps"]
    assert read_licence(str(trained), None) == "CC-BY-NC-4.0"
    assert not list(trained.parent.glob(".*.run"))


def test_rows_go_both_ways_and_long_ones_are_left_out() -> None:
    made = tokenizer()
    rows = Bitext(made, [*PAIRS, ("mbwa " * 40, "a dog")], LANGUAGES, 32)
    assert (len(rows), rows.left_out) == (12, 1)
    assert rows.names[0] == "line 1 sw-en"
    assert rows.names[6] == "line 1 en-sw"
    sides = [[made.decode(side, skip_special_tokens=True) for side in rows[n][1:]] for n in (0, 6)]
    assert sides == [list(PAIRS[0]), list(PAIRS[0][::-1])]
    codes = [made.convert_ids_to_tokens(int(side[0])) for side in rows[0][1:]]
    assert codes == ["swh_Latn", "eng_Latn"]


@settings(max_examples=15)
@given(st.lists(st.integers(0, 11), min_size=2, max_size=5))
def test_padding_changes_no_loss(picked: list[int]) -> None:
    """The loss of a batch is that of its rows alone, weighed by their tokens."""
    made = tokenizer()
    model = build_translator(made, SMALL).eval()
    rows, collate = Bitext(made, PAIRS, LANGUAGES, 32), BitextCollator(made)
    together = translation_loss(model, collate([rows[n] for n in picked]))
    alone = [(float(translation_loss(model, collate([rows[n]]))), len(rows[n].target)) for n in picked]
    assert float(together) == pytest.approx(sum(x * n for x, n in alone) / sum(n for _, n in alone), rel=1e-4)


def test_the_decoder_is_given_what_comes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tokenizer()
    rows = Bitext(made, PAIRS, LANGUAGES, 32)
    batch = BitextCollator(made)([rows[0], rows[1]])
    labels = batch["labels"][0]
    said = labels[labels != IGNORED]
    assert batch["decoder_input_ids"][0, : len(said)].tolist() == [made.eos_token_id, *said[:-1].tolist()]
    assert not (batch["decoder_input_ids"] == IGNORED).any()


def test_weights_hang_on_the_seed_alone() -> None:
    made = tokenizer()
    torch.manual_seed(5)
    first = build_translator(made, SMALL).model.shared.weight
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(first, build_translator(made, SMALL).model.shared.weight)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 100}, "multiple of 64, got 100"),
        ({"layers": 0}, "layers of a translator: expected 1 or more"),
        ({"dropout": 1.0}, "expected 0 to below 1"),
    ],
)
def test_sizes_out_of_range(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Sizes(**wrong)


def test_a_language_without_a_code() -> None:
    with pytest.raises(UserError, match="no FLORES-200 code"):
        train_vocabulary(["a"], 64, ("en", "tlh"), 32)
