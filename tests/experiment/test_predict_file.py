"""One prediction for each row, in the rows' order, whatever the rows hold; nothing is written by halves."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import crossflare
import crossflare.serving.file as prediction
from crossflare.cli import main
from crossflare.errors import UserError
from crossflare.evaluation.calibration import tempered
from crossflare.fusion.saved.adapter_files import save_adapter
from crossflare.recipe.translation import engine_from_flags
from crossflare.serving.file import Column, Counts, predict_file
from crossflare.serving.output import Output
from crossflare.tasks.files import Row
from crossflare.training.bases.load import load_base
from tiny_adapters import LABELS, make_adapters, write
from tiny_adapters import SOURCES as ALL_SOURCES
from tiny_adapters import TEXTS as ALL_TEXTS

TEXTS = [text for text in ALL_TEXTS if text.strip()]
SOURCES = [source for text, source in zip(ALL_TEXTS, ALL_SOURCES, strict=True) if text.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapters(tmp_path_factory.mktemp("models"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    named = [{"id": f"row {n}", "text": t, "english": s} for n, (t, s) in enumerate(zip(TEXTS, SOURCES, strict=True))]
    return write(tmp_path / "in.jsonl", named)


def predicted(folder: Path, rows: Path, **options: Any) -> tuple[list[dict[str, Any]], Counts]:
    output = rows.with_name("out.jsonl")
    given = {"adapter": folder / "flare", "source": Column(("english",))} | options
    counts = predict_file(input=rows, output=output, **given)
    return [json.loads(line) for line in output.read_text().splitlines()], counts


def probabilities(rows: list[dict[str, Any]]) -> torch.Tensor:
    return torch.tensor([[row["probabilities"][label] for label in LABELS] for row in rows])


def test_every_row_in_order(folder: Path, rows: Path) -> None:
    out, counts = predicted(folder, rows)
    assert [row["id"] for row in out] == [f"row {n}" for n in range(len(TEXTS))]
    assert all(row["prediction"] == max(row["probabilities"], key=row["probabilities"].get) for row in out)
    assert probabilities(out).sum(1).allclose(torch.ones(len(TEXTS)), atol=1e-5)
    assert counts.rows == len(TEXTS)
    assert sum(counts.labels.values()) == len(TEXTS)
    assert (counts.rejected, counts.no_source, counts.truncated) == (0, 1, 1)


def test_a_row_reads_the_same_alone_as_in_company(folder: Path, rows: Path, tmp_path: Path) -> None:
    together = probabilities(predicted(folder, rows, batch_size=3)[0])
    for number, line in enumerate(rows.read_text().splitlines()):
        alone = write(tmp_path / "one.jsonl", [json.loads(line)])
        assert probabilities(predicted(folder, alone)[0])[0].allclose(together[number], atol=2e-2), number


def test_the_source_matters_and_the_target_too(folder: Path, rows: Path) -> None:
    fused = probabilities(predicted(folder, rows)[0])
    bare = probabilities(predicted(folder, rows, source=None, no_source=True)[0])
    changed = (fused - bare).abs().amax(1) > 1e-4
    assert changed.tolist() == [bool(source.strip()) for source in SOURCES]  # a blank source is none
    assert not fused[0].allclose(fused[4])  # one text with two sources
    assert bare[0].allclose(bare[4])


def test_lora_reads_the_text_alone(folder: Path, rows: Path) -> None:
    out, counts = predicted(folder, rows, adapter=folder / "lora", source=None)
    assert len(out) == len(TEXTS)
    assert counts.no_source == 0


def test_an_engine_gives_what_its_translations_in_a_column_give(folder: Path, rows: Path, tmp_path: Path) -> None:
    lexicon = {f"w{n}": f"w{39 - n}" for n in range(40)}
    (tmp_path / "words.tsv").write_text("".join(f"{word}\t{other}\n" for word, other in lexicon.items()))
    engine = engine_from_flags("dictionary", [f"lexicon={tmp_path / 'words.tsv'}"])
    by_engine = probabilities(predicted(folder, rows, source=engine)[0])
    told = [{"text": t, "english": " ".join(lexicon.get(w, w) for w in t.split()) or t} for t in TEXTS]
    assert by_engine.allclose(probabilities(predicted(folder, write(tmp_path / "told.jsonl", told))[0]), atol=1e-5)


def test_pairs(folder: Path, tmp_path: Path) -> None:
    rows = write(tmp_path / "pairs.jsonl", [{"premise": "w1", "hypothesis": "w2", "p": "w3", "h": "w4", "q": ""}] * 3)
    out, _ = predicted(folder, rows, adapter=folder / "pairs", source=Column(("p", "h")))
    assert [row["id"] for row in out] == ["0", "1", "2"]
    with pytest.raises(UserError, match=r"the task has 2 text\(s\), but 1 source column\(s\) are named"):
        predicted(folder, rows, adapter=folder / "pairs", source=Column(("p",)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": None}, "reads texts with their translations into 'en'; say where: --source COLUMN, --translate"),
        ({"source": Column(("englsh",))}, "expected a column 'englsh': did you mean 'english'?"),
        ({"texts": ("txt",)}, "expected a column 'txt': did you mean 'text'?"),
        ({"texts": ("text", "text")}, "the task has 1 text(s), but 2 column(s) are named: text, text"),
        ({"id_column": "name"}, "expected a column 'name'"),
        ({"adapter": "lora"}, "lora reads no source; leave it out"),
        ({"adapter": "nothing"}, "expected a folder saved by crossflare, found none"),
        ({"adapter": "base"}, "no manifest.json"),
    ],
)
def test_what_does_not_go_together_is_refused_first(
    folder: Path, rows: Path, options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "load_trained", None)  # no model may be loaded
    given = options | ({"adapter": folder / options["adapter"]} if "adapter" in options else {})
    with pytest.raises(UserError) as caught:
        predicted(folder, rows, **given)
    assert said in str(caught.value)
    assert not rows.with_name("out.jsonl").exists()


def test_the_default_column_is_named_when_missing(folder: Path, tmp_path: Path) -> None:
    rows = write(tmp_path / "in.jsonl", [{"review": "w1", "english": "w2"}])
    with pytest.raises(UserError, match=r"no column 'text' \(found: review, english\); name the text's with --text"):
        predicted(folder, rows)
    assert len(predicted(folder, rows, texts=("review",))[0]) == 1


def test_input_and_output_may_not_be_one_file(folder: Path, rows: Path) -> None:
    with pytest.raises(UserError, match="the output would replace the input"):
        predict_file(adapter=folder / "lora", input=rows, output=rows.parent / "." / rows.name, source=None)
    with pytest.raises(
        UserError, match=r"unknown kind of output file '\.txt': known: \.csv, \.jsonl, \.parquet, \.tsv"
    ):
        predict_file(adapter=folder / "lora", input=rows, output=rows.with_suffix(".txt"), source=None)


def test_a_failure_keeps_the_old_output(folder: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = rows.with_name("out.jsonl")
    output.write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "load_trained", fail)
    with pytest.raises(KeyboardInterrupt):
        predicted(folder, rows)
    assert output.read_text() == "old"
    assert sorted(path.name for path in rows.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.sampled_from(LABELS)), min_size=1))
def test_csv_gives_back_any_id_and_label(content: list[tuple[str, str]]) -> None:
    ids = [name for name, _ in content]
    labels = [label for _, label in content]
    shares = dict(zip(LABELS, (0.25, 0.5, 0.25), strict=True))
    added = [{"prediction": label, "probabilities": shares} for label in labels]
    form = Output(Path("out.csv"), ["id"], added[0])
    text = form.chunk([Row({"id": name}, "") for name in ids], added, first=True).decode()
    back = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["id"] for row in back] == ids
    assert [row["prediction"] for row in back] == labels
    assert back[0]["p(so-so, maybe)"] == "0.250000"


@pytest.mark.parametrize(
    ("engine", "options", "said"),
    [
        ("dictionery", [], "unknown engine 'dictionery': did you mean 'dictionary'?"),
        ("dictionary", ["lexicn=a"], "--option lexicn=a: lexicn: unknown key: did you mean 'lexicon'?"),
        ("dictionary", ["lexicon"], "--option lexicon: expected KEY=VALUE"),
    ],
)
def test_engine_options_are_checked(engine: str, options: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        engine_from_flags(engine, options)
    assert said in str(caught.value)


def test_engines_that_need_a_recipe_are_refused(folder: Path, rows: Path) -> None:
    for engine in (engine_from_flags("parallel", []), engine_from_flags("dictionary", ["learn=train"])):
        with pytest.raises(UserError, match="only a recipe's data set can do this"):
            predicted(folder, rows, source=engine)


def test_the_verb(
    folder: Path, rows: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    words = [
        "predict",
        "--adapter",
        str(folder / "flare"),
        "--input",
        str(rows),
        "--output",
        str(rows.with_name("o.csv")),
    ]
    assert main([*words, "--source", "english"]) == 0
    shown = capsys.readouterr().out
    assert "6 rows -> " in shown
    assert "1 rows without a source; 1 texts cut" in shown
    assert len(list(csv.reader(rows.with_name("o.csv").open()))) == 7
    assert main([*words, "--source", "english", "--no-source"]) == 2
    assert (
        capsys.readouterr().err
        == "error: expected one of --source, --translate and --no-source, got several; pick one\n"
    )
    assert main([*words, "--no-source", "--option", "a=b"]) == 2
    assert "--option belongs to --translate" in capsys.readouterr().err


def test_the_verb_validate_shows_an_adapter(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    assert main(["validate", str(folder / "flare")]) == 0
    shown = capsys.readouterr().out
    assert "add_relu position" in shown
    assert "opinions bad, good, so-so, maybe" in shown
    assert "en -> sw" in shown
    damaged = shutil.copytree(folder / "flare", tmp_path / "damaged")
    (damaged / "adapter_config.json").write_bytes((damaged / "adapter_config.json").read_bytes() + b" ")
    assert main(["validate", str(damaged)]) == 2
    assert "is not the file that was saved (its sha256 differs)" in capsys.readouterr().err


@pytest.fixture(scope="module")
def calibrated(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The FLARE adapter with a calibration on its card: a threshold of 0.5 for 80 % of the rows."""
    place = tmp_path_factory.mktemp("calibrated") / "flare"
    opened = crossflare.open_adapter(folder / "flare")
    floors = [0.9] * 50 + [0.5] * 50 + [0.0]
    card = dict(opened.card) | {"calibration": {"sw": {"temperature": 2.0, "thresholds": floors, "rows": 40}}}
    identity = load_base(str(folder / "base"), opened.task, seed=0).identity
    save_adapter(opened.model, place, base=identity, card=card)
    return place


def test_probabilities_go_through_the_temperature_and_say_so(
    folder: Path, calibrated: Path, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = probabilities(predicted(folder, rows)[0]).double()
    out, counts = predicted(folder, rows, adapter=calibrated)
    wanted = torch.tensor(tempered(raw.log().numpy(), 2.0)).exp()
    assert probabilities(out).double().allclose(wanted, atol=1e-4)
    assert counts.calibration is not None
    assert counts.abstained == 0
    words = ["predict", "--adapter", str(calibrated), "--input", str(rows), "--output", str(rows.with_name("o.csv"))]
    assert main([*words, "--source", "english", "--coverage", "0.8"]) == 0
    told = "".join(capsys.readouterr())
    assert "probabilities calibrated: temperature 2.00, fitted on 40 dev rows" in " ".join(told.split())
    cells = list(csv.DictReader(io.StringIO(rows.with_name("o.csv").read_text())))
    assert {row["abstained"] for row in cells} <= {"true", "false"}
    assert all((row["prediction"] == "") == (row["abstained"] == "true") for row in cells)


def test_below_the_threshold_no_label_is_given(folder: Path, calibrated: Path, rows: Path) -> None:
    out, counts = predicted(folder, rows, adapter=calibrated, coverage=0.8)
    unsure = [max(row["probabilities"].values()) < 0.5 for row in out]
    assert any(unsure)
    assert not all(unsure)
    assert [row["abstained"] for row in out] == unsure
    assert [row["prediction"] == "" for row in out] == unsure
    assert counts.abstained == sum(unsure)
    assert sum(counts.labels.values()) == len(out) - sum(unsure)
    every, _ = predicted(folder, rows, adapter=calibrated, coverage=1.0)
    assert not any(row["abstained"] for row in every)
    with pytest.raises(UserError, match="coverage: expected a share of the rows above 0 and at most 1, got 80"):
        predicted(folder, rows, adapter=calibrated, coverage=80)
    with pytest.raises(UserError, match="has no calibration of one language on its card"):
        predicted(folder, rows, coverage=0.8)


def test_each_row_says_which_source_it_read_and_whether_it_was_cut(folder: Path, rows: Path) -> None:
    out, _ = predicted(folder, rows)
    assert [row["source"] for row in out] == [source if source.strip() else None for source in SOURCES]
    assert [row["truncated"] for row in out] == [len(text.split()) > 14 for text in TEXTS]
    alone, _ = predicted(folder, rows, source=None, no_source=True)
    assert [row["source"] for row in alone] == [None] * len(TEXTS)
    lora, _ = predicted(folder, rows, adapter=folder / "lora", source=None)
    assert all("source" not in row for row in lora)
