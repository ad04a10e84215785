"""Texts longer than the window, read in windows: against a loop over windows that are cut out of the text by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from crossflare.errors import UserError
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.training.forms.choosing import HeadForm
from crossflare.training.forms.make import make_form
from crossflare.training.forms.protocol import Choices, choices
from crossflare.training.text.long_texts import in_windows
from fusion_models import build, flare
from training.conftest import TASK, WORDS, make_model, make_tokenizer

WINDOW, ROOM = 16, 14
"""Tokens of a window with and without [CLS] and [SEP]."""


def text(words: int, seed: int = 0) -> str:
    return " ".join(WORDS[n] for n in np.random.default_rng(seed).integers(0, 30, words))


def form_of(stride: int | None, *, with_source: bool = False, side: str = "right") -> HeadForm:
    return HeadForm(TASK, make_tokenizer(side), WINDOW, with_source=with_source, stride=stride)


def example(words: int, source: int = 0, seed: int = 0) -> Example:
    return Example(f"{words}-{seed}", (text(words, seed),), source=(text(source, seed + 1),) if source else None)


def read(form: HeadForm, model: Any, examples: list[Example], size: int = 3) -> Choices:
    return form.read(model, examples, form.encode(examples), size, "fp32", "")


def by_hand(texts: list[str], model: Any, sources: list[str] | None = None) -> np.ndarray:
    """Return the normalised mean of what the model says of each of some short texts, read one by one."""
    tokens, said = make_tokenizer(), []
    for number, each in enumerate(texts):
        batch = dict(tokens(each, return_tensors="pt"))
        beside = {} if sources is None else dict(tokens(sources[number], return_tensors="pt"))
        with torch.no_grad():
            logits = model(**batch, **{f"source_{name}": value for name, value in beside.items()}).logits
        said.append(logits[0].double().log_softmax(-1).numpy())
    mean = np.mean(said, axis=0)
    return mean - np.logaddexp.reduce(mean)


def pieces(whole: str, begins: list[int]) -> list[str]:
    return [" ".join(whole.split()[begin : begin + ROOM]) for begin in begins]


@pytest.mark.parametrize("side", ["right", "left"])
def test_one_window_says_what_cutting_says_to_the_last_digit(side: str) -> None:
    model, rows = make_model(), [example(1), example(ROOM - 1), example(ROOM, seed=2)]
    cut, windows = (read(form_of(stride, side=side), model, rows) for stride in (None, 4))
    assert cut.windows is None
    assert windows.windows is not None
    assert windows.windows.tolist() == [1, 1, 1]
    assert np.array_equal(cut.log_probabilities, windows.log_probabilities)


@pytest.mark.parametrize(
    ("words", "stride", "begins"),
    [
        (ROOM + 1, 0, [0, 1]),  # a last window is full: it ends with the text
        (ROOM + 1, 4, [0, 1]),
        (40, 4, [0, 10, 20, 26]),
        (2 * ROOM, 0, [0, ROOM]),
        (24, 100, [0, 7, 10]),  # at most half of a window is repeated
    ],
)
def test_a_longer_text_is_the_mean_of_its_windows(words: int, stride: int, begins: list[int]) -> None:
    model, row = make_model().eval(), example(words)
    said = read(form_of(stride), model, [example(3), row, example(ROOM)])
    assert said.windows is not None
    assert said.windows.tolist() == [1, len(begins), 1]
    expected = by_hand(pieces(row.texts[0], begins), model)
    np.testing.assert_allclose(said.log_probabilities[1], expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(np.logaddexp.reduce(said.log_probabilities, axis=1), 0, atol=1e-12)


def test_both_sides_are_in_windows_and_meet_at_the_same_share() -> None:
    model = flare(build("bert", dtype=torch.float32, vocab_size=64)).eval()
    row = example(40, 20, seed=3)  # four windows of the target, two of the source
    short = example(5, 20, seed=5)  # one of the target, which is read beside both of the source
    said = read(form_of(4, with_source=True), model, [row, short, example(5, 5, seed=7)])
    assert said.windows is not None
    assert said.windows.tolist() == [4, 2, 1]
    assert said.source is not None
    first, last = pieces((row.source or ("",))[0], [0, 6])
    expected = by_hand(pieces(row.texts[0], [0, 10, 20, 26]), model, [first, first, last, last])
    np.testing.assert_allclose(said.log_probabilities[0], expected, atol=1e-5, rtol=0)
    sources = pieces((short.source or ("",))[0], [0, 6])
    expected = by_hand([short.texts[0]] * 2, model, sources)
    np.testing.assert_allclose(said.log_probabilities[1], expected, atol=1e-5, rtol=0)


def test_states_of_a_translation_encoder_are_those_of_the_window_s_passage() -> None:
    form, row = form_of(4), example(40)
    states = torch.arange(80).float()[:, None]  # two for each token
    found = in_windows(form.tokenizer, [row], form.encode([row], [(states,)]), WINDOW, 4)
    spans = [[0, 27], [20, 47], [40, 67], [52, 79]]
    assert [[int(each[0]), int(each[-1])] for one in found for each in one.latents or ()] == spans


def test_a_row_of_fifty_thousand_tokens_is_read_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, widths = make_model(adapter=False).eval(), list[tuple[int, ...]]()
    forward = type(model).forward

    def watched(self: Any, **batch: torch.Tensor) -> Any:
        widths.append(tuple(batch["input_ids"].shape))
        return forward(self, **batch)

    monkeypatch.setattr(type(model), "forward", watched)
    said = read(form_of(0), model, [example(50_000), example(2)], 512)
    assert said.windows is not None
    assert said.windows.tolist() == [-(-50_000 // ROOM), 1]
    assert np.isfinite(said.log_probabilities).all()
    assert max(widths) == (512, WINDOW)


def test_training_reads_the_first_window() -> None:
    rows = [example(40), example(3)]
    cut, windows = (form_of(stride).encode(rows) for stride in (None, 4))
    assert len(cut) == len(windows)
    for one, other in zip(cut, windows, strict=True):
        assert np.array_equal(one.target.ids, other.target.ids)


def test_an_output_that_is_no_number_is_of_the_row_not_of_the_window() -> None:
    wrong = torch.tensor([[1.0, 0.0], [1.0, 0.0], [float("nan"), 0.0]])
    with pytest.raises(UserError, match="first in row 2;"):
        choices(wrong, torch.full_like(wrong, torch.nan), np.array([0, 0, 1]))


def test_windows_are_for_single_texts_and_a_head() -> None:
    pairs = TextTask("pairs", 1, ("no", "yes"), text_count=2)
    for task, joined in ((pairs, False), (QuestionTask("asked", 1), False), (TASK, True)):
        with pytest.raises(UserError, match="long: windows is for single texts"):
            make_form(
                task, "head", make_model(), make_tokenizer(), WINDOW, with_source=False, joined=joined, long="windows"
            )
