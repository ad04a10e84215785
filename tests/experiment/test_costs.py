"""What a recipe costs, by counting: against published sizes, counts by hand, and laws that any counting keeps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from crossflare.cli import main
from crossflare.experiment.costs.estimate import CellCost, estimate, makespan
from crossflare.experiment.costs.operations import LAUNCH, SHARE, Operations, forward, training
from crossflare.experiment.costs.pieces import Piece, RecipePieces
from crossflare.experiment.costs.shapes import ACCELERATORS, KNOWN_SHAPES, ModelShape, shape_of
from crossflare.experiment.running.plan import count
from crossflare.experiment.steps.graph import contexts_of
from crossflare.recipe.grid import Recipe, load_recipe
from tiny_experiment import Lab, make_base

PAPER = Path(__file__).parents[2] / "recipes" / "paper"
PUBLISHED = {
    "FacebookAI/xlm-roberta-large": 0.560e9,
    "google/mt5-xl": 3.74e9,
    "meta-llama/Llama-3.1-8B": 8.03e9,
    "google/gemma-2-9b": 9.24e9,
    "facebook/nllb-200-distilled-600M": 0.615e9,
    "facebook/nllb-200-distilled-1.3B": 1.37e9,
    "facebook/nllb-200-3.3B": 3.34e9,
}
TEXT = """\
name: small
task: {set: nusax}
source: en
targets: [jv, su]
model: {name: FacebookAI/xlm-roberta-large}
seeds: [0]
translation:
  to_target: {engine: transformers, model: facebook/nllb-200-3.3B, beams: 1}
  to_source: {engine: transformers, model: facebook/nllb-200-3.3B, beams: 1}
methods: {zero-shot: , lora: , flare: }
"""


def recipe(folder: Path, *overrides: str, text: str = TEXT) -> Recipe:
    (folder / "small.yaml").write_text(text)
    return load_recipe(folder / "small.yaml", overrides)


def cost(folder: Path, *overrides: str) -> CellCost:
    return estimate(recipe(folder, *overrides), "h200").total


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_give_the_published_number_of_weights(name: str) -> None:
    assert KNOWN_SHAPES[name].weights == pytest.approx(PUBLISHED[name], rel=0.01)


def test_an_adapter_has_the_weights_that_peft_gives_it() -> None:
    assert KNOWN_SHAPES["FacebookAI/xlm-roberta-large"].adapter(8, everywhere=False) == 786_432
    assert KNOWN_SHAPES["meta-llama/Llama-3.1-8B"].adapter(8, everywhere=False) == 3_407_872
    assert KNOWN_SHAPES["meta-llama/Llama-3.1-8B"].adapter(8, everywhere=True) == 20_971_520


def test_a_forward_pass_by_hand() -> None:
    shape = ModelShape(2, 0, 8, 16, 2, 4, 100)
    block = 4 * 8 * 8 + 2 * 8 * 16
    done = forward(shape, 10, 5, 4)
    assert done.flops == 10 * (5 * 2 * 2 * block + 2 * 4 * 5 * 5 * 8)
    assert done.passes == 3 * 2  # three batches
    once, whole = (training(shape, 10, 5, 4, 8, whole=each) for each in (False, True))
    assert (once.flops, whole.flops) == (2 * done.flops, 3 * done.flops)


def test_the_scarcest_decides() -> None:
    card = ACCELERATORS["h200"]
    assert Operations(flops=card.flops).seconds(card) == pytest.approx(1 / SHARE)
    assert Operations(flops=1, passes=1000).seconds(card) == pytest.approx(1000 * LAUNCH)
    assert Operations(passes=1, moved=card.bandwidth).seconds(card) == pytest.approx(1)


def test_more_work_costs_more_and_a_better_card_less(tmp_path: Path) -> None:
    usual = cost(tmp_path)
    for more in ("stage2.epochs=20", "seeds=[0,1]", "targets=[jv,su,ace]", "methods.full={}", "stage2.batch_size=8"):
        assert cost(tmp_path, more).hours > usual.hours, more
    assert cost(tmp_path, "task.limit.train=100").hours < usual.hours
    assert cost(tmp_path, "methods.flare.test_source=none").hours < usual.hours
    long = [f"{stage}.{option}" for stage in ("stage1", "stage2") for option in ("max_length=512", "batch_size=64")]
    checkpointing = [f"{stage}.activation_checkpointing=true" for stage in ("stage1", "stage2")]
    assert cost(tmp_path, *long, *checkpointing).memory < cost(tmp_path, *long).memory / 2
    assert cost(tmp_path, *long, *checkpointing).hours > cost(tmp_path, *long).hours
    assert cost(tmp_path, "methods.full={}").disk > usual.disk + 4 * 2 * 0.5e9  # two models of its size
    assert estimate(recipe(tmp_path), "l4").total.hours >= usual.hours
    assert cost(tmp_path, *long, "model.quantise=nf4").memory < cost(tmp_path, *long).memory


def test_on_eight_cards_no_longer_than_on_one_and_no_less_than_an_eighth(tmp_path: Path) -> None:
    found = cost(tmp_path)
    assert found.hours / 8 <= found.hours_on_several < found.hours


def test_pieces_are_the_steps_that_the_plan_counts(tmp_path: Path) -> None:
    made = recipe(tmp_path, "stage2.lr=[1e-3,1e-4]", "seeds=[0,1]")
    (context,) = contexts_of(made, tmp_path)
    pieces = list(RecipePieces(context, ACCELERATORS["h200"]).all())
    counts, _ = count(made)
    for kind, number in (("stage 1", counts.stage1), ("stage 2", counts.adapters), ("predict", counts.predictions)):
        assert len([p for p in pieces if p.key.startswith(kind) and p.seconds]) == number
    keys = [piece.key for piece in pieces]
    for place, piece in enumerate(pieces):  # each after what it needs
        assert set(piece.needs) <= set(keys[:place])
    translated = [p for p in pieces if not p.key.startswith(("stage", "predict"))]
    assert len(translated) == 2 * 2  # both ways, in both languages
    adapters = [p for p in pieces if p.key.startswith("stage 2") and p.seconds]
    assert all(set(p.needs) & {t.key for t in translated} for p in adapters)


def test_what_cells_share_is_counted_once(tmp_path: Path) -> None:
    text = TEXT + "grid:\n  rank: {r4: {stage2: {r: 4}}, r8: {stage2: {r: 8}}}\n"
    made = estimate(recipe(tmp_path, text=text), "h200")
    assert [cell.name for cell in made.cells] == ["r4", "r8"]
    assert made.total.hours < sum(cell.hours for cell in made.cells)  # translations and stage 1
    assert made.total.hours > max(cell.hours for cell in made.cells)


def test_answers_from_outside_take_no_card_and_are_named(tmp_path: Path) -> None:
    theirs = "theirs: {kind: predictions, file: 'answers-{language}.jsonl'}"
    alone = estimate(recipe(tmp_path), "h200")
    both = estimate(recipe(tmp_path, text=TEXT.replace("methods: {", f"methods: {{{theirs}, ")), "h200")
    assert both.total.hours == alone.total.hours
    assert any(line.startswith("the answers of theirs") for line in both.assumptions)
    assert not any("the answers of" in line for line in alone.assumptions)


def test_pieces_wait_for_what_they_need() -> None:
    first, second = Piece("a", 2.0), Piece("b", 1.0)
    last = Piece("c", 3.0, ("a", "b"))
    assert makespan([first, second, last], 8) == 5.0
    assert makespan([first, second, last], 1) == 6.0
    assert makespan([first, second, replace(last, needs=())], 8) == 3.0


def test_other_sets_and_models_are_counted_from_what_is_at_hand(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", languages=("es",), seeds=(0,))
    found = estimate(load_recipe(lab.write(methods=("zero-shot", "lora"))), "l4")
    assert found.total.hours > 0
    assert any("translations by" in line for line in found.assumptions)
    shape = shape_of(str(make_base(tmp_path / "base")))
    assert (shape.encoder > 0, shape.decoder, shape.hidden) == (True, 0, 16)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--on", "h20"], "unknown device 'h20': did you mean 'h200'?"),
        (["--on", "h200", "--only", "nusax,r61"], "--only r61: no cell of that name"),
        (
            ["--on", "h200", "--set", "model.name=some/model"],
            "model 'some/model': its sizes are not known here; give a",
        ),
        (["--on", "h200", "--set", "model.name=./nowhere"], "its sizes are not known here"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grid.yaml").write_text(TEXT + "grid: {task: {nusax: }, rank: {r16: {stage2: {r: 16}}}}\n")
    assert main(["plan", str(tmp_path / "grid.yaml"), *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len([line for line in shown.splitlines() if line.startswith("error")]) == len(shown.splitlines())


def test_the_verb_prints_a_row_for_each_cell_and_what_it_rests_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["plan", str(PAPER / "main.yaml"), "--on", "h200", "--only", "task=nusax"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in ("xlm-r-large", "mt5-xl", "llama-3.1-8b", "gemma-2-9b") if name in shown]
    assert "by counting operations, not measured" in shown
    assert "35% of the card's peak" in shown
    assert main(["plan", str(PAPER / "main.yaml"), "--on", "H200", "--only", "nusax,mt5-xl", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["measured"] is False
    assert [cell["name"] for cell in said["cells"]] == ["nusax,mt5-xl"]
