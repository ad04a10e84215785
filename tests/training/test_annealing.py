"""Scheduled sampling of the source: the published probability, drawn for each row alone, and only in training."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.tasks.example import Example, Split
from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.choosing import HeadForm
from crossflare.training.forms.joining import Annealing
from crossflare.training.forms.make import make_form
from crossflare.training.loop.settings import Settings
from training.question_tools import sentencepiece
from training.writing_tools import PAIRS, QUESTIONS, tokenizer_of
from writing_models import build

TASK = TextTask("halves", 1, ("low", "high"))
ROWS = torch.arange(400)


@given(k=st.floats(1, 5000), step=st.integers(0, 100_000))
def test_the_probability_is_the_papers(k: float, step: int) -> None:
    expected = k / (k + math.exp(step / k)) if step / k < 700 else 0.0
    assert Annealing(k).probability(step) == pytest.approx(expected, abs=1e-12)


def test_as_many_rows_are_clean_as_the_probability_says() -> None:
    annealing = Annealing(10)
    for step in (0, 10, 30, 60):
        assert annealing.draws(step, ROWS).float().mean() == pytest.approx(annealing.probability(step), abs=0.08)


@given(rows=st.lists(st.integers(0, 50), min_size=1, max_size=12), step=st.integers(0, 99), seed=st.integers(0, 9))
def test_a_row_draws_alike_in_any_batch(rows: list[int], step: int, seed: int) -> None:
    annealing = Annealing(30, seed)
    together = annealing.draws(step, torch.tensor(rows)).tolist()
    assert together == [bool(annealing.draws(step, torch.tensor([row]))) for row in rows]


def test_steps_and_seeds_draw_anew() -> None:
    drawn = {tuple(Annealing(30, seed).draws(step, ROWS).tolist()) for seed in (0, 1) for step in (100, 101)}
    assert len(drawn) == 4


@pytest.mark.parametrize("k", [0, -1, math.inf, math.nan])
def test_a_schedule_that_is_none_is_refused(k: float) -> None:
    with pytest.raises(UserError, match="annealed source: expected k above 0, got"):
        Annealing(k)


def examples() -> list[Example]:
    """Rows with both sources, with one, with none; the clean one is longer here and shorter there."""
    return [
        Example("both", ("w1 w2",), 0, ("w5 w6 w7",), clean_source=("w15",)),
        Example("long", ("w1",), 1, ("w8",), clean_source=("w18 w19 w20 w21",)),
        Example("one", ("w1",), 1, ("w9",)),
        Example("none", ("w1",), 1),
    ]


class Recorder:
    """Stands for a model: keeps what it is given."""

    training = False

    def __call__(self, **batch: Any) -> Any:
        self.given = batch
        return type("Output", (), {"logits": torch.zeros(len(batch["input_ids"]), 2)})

    def eval(self) -> None: ...
    def train(self, mode: bool) -> None: ...
    def parameters(self) -> Any:
        return iter([torch.zeros(1)])


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_loss_reads_the_source_that_is_drawn_and_reading_the_machines(side: str, tokenizers: Any) -> None:
    tokenizer = tokenizers[side]
    form = HeadForm(TASK, tokenizer, 16, with_source=True, annealing=Annealing(5, seed=3))
    rows, model = form.encode(examples()), Recorder()
    words = lambda ids: [int(i) for i in ids if int(i) > 3]  # noqa: E731
    seen = set()
    for step in range(20):
        form.loss(model, form.collate(list(rows)), step)
        drawn = form.annealing.draws(step, torch.arange(4)).tolist()  # type: ignore[union-attr]
        texts = [
            (e.clean_source if clean and e.clean_source else e.source)
            for e, clean in zip(examples(), drawn, strict=True)
        ]
        for got, mask, text in zip(
            model.given["source_input_ids"], model.given["source_attention_mask"], texts, strict=True
        ):
            assert words(got) == (words(tokenizer(text[0])["input_ids"]) if text else [])
            assert int(mask.sum()) == (len(words(got)) + 2 if text else 0)
        assert set(model.given) == {
            f"{s}{n}" for s in ("", "source_") for n in ("input_ids", "attention_mask", "token_type_ids")
        }
        seen.add(tuple(drawn))
    assert len(seen) > 3
    form.read(model, examples(), rows, 4, "fp32", "")
    machine = [words(ids) for ids in model.given["source_input_ids"]]
    expected = [words(tokenizer(e.source[0])["input_ids"]) if e.source else [] for e in examples()]
    assert sorted(machine) == sorted(expected)
    assert set(model.given) == {
        f"{s}{n}" for s in ("", "source_") for n in ("input_ids", "attention_mask", "token_type_ids")
    }


def test_without_a_schedule_the_clean_source_is_not_there(tokenizer: Any) -> None:
    form = HeadForm(TASK, tokenizer, 16, with_source=True)
    rows = form.encode(examples())
    bare = form.encode([replace(e, clean_source=None) for e in examples()])
    one, two = form.collate(list(rows)), form.collate(list(bare))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert rows.lengths.tolist() == bare.lengths.tolist()


def test_rows_are_as_long_as_the_longer_source(tokenizer: Any) -> None:
    rows = HeadForm(TASK, tokenizer, 16, with_source=True, annealing=Annealing()).encode(examples())
    assert rows.lengths.tolist() == [4 + 5, 3 + 6, 3 + 3, 3]


def test_a_clean_source_belongs_to_the_digest_where_there_is_one() -> None:
    plain = [replace(e, clean_source=None) for e in examples()]
    digest = Split("train", "sw", tuple(plain)).digest
    assert digest == "750d274414e2"
    assert Split("train", "sw", tuple(examples())).digest not in (
        digest,
        Split("train", "sw", tuple(reversed(examples()))).digest,
    )


def test_a_resumed_run_draws_the_same(lab: Any, folder: Any, new_model: Any, tokenizer: Any, tmp_path: Any) -> None:
    """The choice shows in the weights, and is repeated; see `Stopping` for what stands for a kill."""
    from crossflare.training.loop.fit import fit

    def echo(source: str) -> Example:
        return Example(source, (source,), len(source) % 2, (source,), clean_source=("w30 w31 w32",))

    rows = [echo(" ".join(f"w{n + m}" for m in range(1 + n % 3))) for n in range(24)]
    settings = Settings(lr=1e-2, epochs=3, batch_size=4, precision="fp32", max_length=16, save_steps=2)

    def trained(name: str, stop: int | None = None, k: float = 3.0) -> str:
        form = HeadForm(TASK, tokenizer, 16, with_source=True, annealing=Annealing(k, seed=1))
        calls = 0

        def loss(model: Any, batch: Any, step: int) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop:
                raise lab.Stop
            given = form.given(batch, step)
            target = {n.removeprefix("source_"): t for n, t in given.items() if n.startswith("source_")}
            return torch.nn.functional.cross_entropy(model(**target).logits, given["labels"])

        model = new_model(dropout=0.0)
        fit(model, form.encode(rows), form.collate, loss, None, settings, folder / name, {"data": "tiny"})
        return lab.weights_of(model)

    whole = trained("whole")
    with pytest.raises(lab.Stop):
        trained("again", stop=9)
    assert trained("again") == whole
    assert trained("other", k=300.0) != whole


@pytest.mark.parametrize("case", ["words", "span", "text", "joined"])
def test_forms_that_do_not_anneal_say_so(case: str, tokenizer: Any) -> None:
    llama = build("llama")
    asked: dict[str, Any] = {
        "words": (PAIRS, "text", llama, tokenizer_of("llama"), 40),
        "span": (QUESTIONS, "head", None, sentencepiece(), 40),
        "text": (QUESTIONS, "text", llama, tokenizer_of("llama"), 40),
        "joined": (TASK, "head", None, tokenizer, 16),
    }
    with pytest.raises(UserError, match=r"an annealed source is for labels by a head .* got .*; train on the original"):
        make_form(*asked[case], with_source=True, annealing=Annealing(), joined=case == "joined")
