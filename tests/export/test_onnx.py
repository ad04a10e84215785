"""onnxruntime, without torch, says what the model says: for any rows, lengths and sources, whatever the adapter."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import crossflare
from crossflare.cli import main
from crossflare.errors import UserError
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.export import graph
from crossflare.serving.adapter import TrainedAdapter
from fusion_models import FAMILIES, batch, build, flare
from tiny_adapters import LABELS, make_adapters, make_chained, with_card, write
from tiny_experiment import Lab

TEXTS = ["w1 w2 w3", "w30", "w4 " * 100, "w9 w8 w7 w6", "w1 w2 w3", "unknown words", "w5 w6"]
SOURCES = ["w21 w22", None, "w25 w26 w27", "w28 " * 100, "w39 w38 w37", " ", "w29"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapters(make_chained(tmp_path_factory.mktemp("models")))


def needs_onnx() -> None:
    for library in graph.NEEDED:
        pytest.importorskip(library)


def exact(adapter: Path) -> TrainedAdapter:
    """Open an adapter that computes in float32, as the graph does."""
    opened = crossflare.open_adapter(adapter, device="cpu")
    return replace(opened, reading=replace(opened.reading, precision="fp32"))


def shares(adapter: TrainedAdapter, texts: Any, sources: Any) -> np.ndarray:
    return np.array([list(each.probabilities.values()) for each in adapter.predict(texts, sources)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flare", "pairs", "lora", "stage1"])
def test_the_reader_says_what_predict_says(place: Path, tmp_path: Path, name: str) -> None:
    """At other numbers of rows and other lengths than at the export; rows without a source are read alone."""
    needs_onnx()
    from crossflare.export.reader import Reader

    if name == "flare":  # with a temperature
        card = json.loads((place / name / "crossflare.json").read_text())
        known = {"temperature": 2.5, "thresholds": [0.0] * 101, "rows": 9}
        crossflare.save_adapter(
            crossflare.open_adapter(place / name).model, tmp_path / "warm", card=card | {"calibration": {"sw": known}},
            base=crossflare.fusion.identity.BaseIdentity(**card["base"]),
        )  # fmt: skip
    folder = tmp_path / "warm" if name == "flare" else place / name
    made = crossflare.export_adapter(folder, tmp_path / "out", to="onnx")
    adapter, reader = exact(folder), Reader(tmp_path / "out")
    assert made.card["temperature"] == (2.5 if name == "flare" else None)
    assert made.card["logits_differ_by"] < 1e-4
    reads = name in ("flare", "pairs")
    texts, sources = TEXTS, SOURCES
    if name == "pairs":
        texts = [(text, f"w{n} w7") for n, text in enumerate(TEXTS)]
        sources = [each and (each, each.strip() and "w8") for each in SOURCES]
    for rows in (slice(0, 7), slice(0, 1), slice(1, 2), slice(2, 4), slice(3, 7)):
        given = sources[rows] if reads else None
        np.testing.assert_allclose(
            reader.probabilities(texts[rows], given), shares(adapter, texts[rows], given), atol=1e-4
        )
    if reads:
        alone = shares(adapter, texts, [None] * 7)
        np.testing.assert_allclose(reader.probabilities(texts), alone, atol=1e-4)
        assert abs(alone - shares(adapter, texts, sources)).max() > 0.05  # the control: sources matter


@pytest.mark.slow
def test_what_is_no_adapter_has_a_graph_too(tmp_path: Path) -> None:
    needs_onnx()
    from crossflare.export.reader import Reader

    lab = Lab(tmp_path, languages=("sw",), seeds=(0,))
    spec = lab.spec({"methods": {"full": None, "probe": None}, "stage1.epochs": 1, "stage2.epochs": 1})
    folder = run(spec, tmp_path / "runs", workers=1)
    texts = [each.texts[0] for each in Context(spec, folder).data.test("sw", "machine").examples[:9]]
    for method in ("full", "probe"):
        adapter = folder / "adapters" / f"{method}-sw-seed0"
        crossflare.export_adapter(adapter, tmp_path / method, to="onnx")
        found = Reader(tmp_path / method).probabilities(texts)
        np.testing.assert_allclose(found, shares(exact(adapter), texts, None), atol=1e-4)


@pytest.mark.slow
def test_no_torch_is_needed(place: Path, tmp_path: Path) -> None:
    needs_onnx()
    crossflare.export_adapter(place / "flare", tmp_path / "out", to="onnx")
    code = (
        "import sys, runpy\n"
        "for name in ('torch', 'transformers', 'crossflare', 'onnx', 'onnxscript'): sys.modules[name] = None\n"
        f"sys.argv = ['reader.py', {json.dumps(json.dumps(TEXTS))}, {json.dumps(json.dumps(SOURCES))}]\n"
        f"runpy.run_path({str(tmp_path / 'out' / 'reader.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(row) for row in found] == [LABELS] * len(TEXTS)
    expected = shares(exact(place / "flare"), TEXTS, SOURCES)
    np.testing.assert_allclose([list(row.values()) for row in found], expected, atol=1e-4)


@pytest.mark.slow
def test_what_8_bits_change_is_measured_on_the_rows_given(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_onnx()
    from crossflare.export.reader import Reader

    rows = [{"text": text, "english": source} for text, source in zip(TEXTS, SOURCES, strict=True)]
    file = write(tmp_path / "rows.jsonl", rows)
    words = ["export", str(place / "flare"), str(tmp_path / "small"), "--to", "onnx", "--int8"]
    assert main([*words, "--rows", str(file), "--source", "english"]) == 0
    card = json.loads((tmp_path / "small" / "export.json").read_text())
    small = Reader(tmp_path / "small").probabilities(TEXTS, SOURCES)
    whole = shares(exact(place / "flare"), TEXTS, SOURCES)
    said = card["int8"]
    assert (said["rows"], said["texts"], card["weights"]) == (7, "given", "int8")
    assert said["probabilities_differ_by"] == pytest.approx(abs(small - whole).max(), abs=1e-4)
    assert said["same_label"] == pytest.approx((small.argmax(1) == whole.argmax(1)).mean(), abs=1e-6)
    assert 0 < said["probabilities_differ_by"] < 0.5
    printed = " ".join(capsys.readouterr().out.split())
    assert f"on 7 given texts {said['same_label']:.1%} of the labels stay" in printed
    assert f"{said['probabilities_differ_by']:.2g}" in (tmp_path / "small" / "README.md").read_text()


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_not_kept(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_onnx()
    own = graph.Network.forward
    monkeypatch.setattr(graph.Network, "forward", lambda self, *inputs: own(self, *inputs) * 1.01)
    with pytest.raises(UserError, match="the ONNX graph differs from the model by"):
        crossflare.export_adapter(place / "lora", tmp_path / "out", to="onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_without_a_graph_is_one_line(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_onnx()

    def forward(self: graph.Network, *inputs: torch.Tensor) -> torch.Tensor:
        return own(self, *inputs) * (2 if bool(inputs[0].sum() > 3) else 1)

    own = graph.Network.forward
    monkeypatch.setattr(graph.Network, "forward", forward)
    with pytest.raises(UserError, match="this model cannot be written as an ONNX graph") as caught:
        crossflare.export_adapter(place / "lora", tmp_path / "out", to="onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("alignment", ["position", "attention"])
def test_a_traced_call_holds_for_other_sizes(alignment: str) -> None:
    """What the graph is made from, where the libraries of ONNX are missing: no branch of a call depends on values."""
    model, given = flare(build("xlm-r"), alignment=alignment), batch([7, 4, 5], [5, 8, 3]).both()
    model(**given)
    names = tuple(given)
    network = graph.Network(model, names).eval()
    with torch.no_grad():
        traced = torch.export.export(network, tuple(given.values()), dynamic_shapes=graph.free_sizes(names)).module()
        for sizes in SIZES:
            given = batch(*sizes).both()
            torch.testing.assert_close(traced(*given.values()), model(**given).logits, rtol=1e-9, atol=1e-9)


SIZES = [([2, 2], [9, 4]), ([12, 3, 4, 5, 6], [3, 0, 2, 1, 4]), ([9, 9], [0, 0]), ([30] * 3, [40, 2, 1])]
PAIRED = [
    ("add", "proportional"),
    ("mul", "attention"),
    ("cross_attention", "none"),
    ("cross_attention_paper", "position"),
]
CASES = [(family, "add_relu", "position") for family in FAMILIES] + [("bert", *pair) for pair in PAIRED]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "fusion", "alignment"), CASES)
def test_every_family_and_alignment_has_a_graph(tmp_path: Path, family: str, fusion: str, alignment: str) -> None:
    needs_onnx()
    from onnxruntime import InferenceSession

    model = flare(build(family, dtype=torch.float32), fusion=fusion, alignment=alignment)
    given = batch([7, 4, 5], [5, 8, 3]).both()
    model(**given)
    graph.write_graph(model, given, tmp_path / "model.onnx")
    session: Any = InferenceSession(str(tmp_path / "model.onnx"))
    names = [each.name for each in session.get_inputs()]
    for targets, sources in [*SIZES, ([2], [9])]:
        given = batch(targets, sources).both()
        found = session.run(None, {name: given[name].numpy() for name in names})[0]
        np.testing.assert_allclose(found, model(**given).logits.detach().numpy(), rtol=1e-4, atol=1e-4)


CARDS: dict[str, tuple[dict[str, Any], str]] = {
    "words": ({"task": {"name": "opinions", "labels": LABELS, "texts": 1, "form": "text"}}, r"answers in words \(gen"),
    "questions": ({"task": {"name": "q", "labels": [], "texts": 2, "normalisation": "squad"}}, "answers questions"),
    "latents": ({"kind": "flare-mt"}, "it reads the states of a translation model"),
    "mixing": ({"kind": "xmixup"}, "xmixup reads its rows in a way of its own"),
    "joined": ({"kind": "input-fusion"}, "input-fusion reads its rows in a way of its own"),
}


@pytest.mark.parametrize("case", CARDS)
def test_what_has_no_graph_is_refused_by_name(
    place: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "NEEDED", ())
    changes, said = CARDS[case]
    adapter = with_card(place / "stage1", tmp_path / "adapter", **changes)
    with pytest.raises(UserError, match=f"not exported to ONNX: .*{said}"):
        crossflare.export_adapter(adapter, tmp_path / "out", to="onnx")


def test_missing_libraries_and_flags_without_a_use_are_one_line(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(graph, "NEEDED", ("onnx", "no_such_library"))
    out = str(tmp_path / "out")
    for words, said in {
        ("--to", "onnx"): 'no_such_library: pip install "crossflare[onnx]"',
        ("--to", "lora", "--int8"): "int8 and rows to measure it on are for ONNX, got --to lora",
        ("--to", "onnx", "--source", "english"): "--text and --source name columns of --rows",
    }.items():
        assert main(["export", str(place / "lora"), out, *words]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_the_command_says_what_it_wrote(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(place / "add"), str(tmp_path / "out"), "--to", "lora"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "lora, reads the text alone; its README.md says how to use it" in printed
    assert main(["export", str(place / "lora"), str(tmp_path / "more"), "--to", "model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "more" / "export.json").read_text())
