"""What is said of an adapter's inside is what a slow look at it gives; and the verbs that say it."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from crossflare.analysis.findings import ALL, drops, heat_of, mean_activations
from crossflare.analysis.opening import Adapter, find, fusing_layers, load, query_of, replaced, silent
from crossflare.cli.main import main
from crossflare.errors import UserError
from crossflare.experiment.running.run import run
from crossflare.training.forms.protocol import Choices
from hub_cache import hub_snapshot
from tiny_experiment import Lab, read_jsonl

METHODS: dict[str, Any] = {
    "lora": None,
    "flare": None,
    "flare-no-source": {"of": "flare"},
    "soft": {"kind": "flare", "alignment": "attention"},
    "cross": {"kind": "flare", "fusion": "cross_attention"},
    "mine": {"kind": "flare", "fusion": "add"},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lab = Lab(tmp_path_factory.mktemp("analysis"), seeds=(0,))
    lab.recipe["methods"] = METHODS
    gc.collect()
    gc.freeze()
    return run(lab.spec(), lab.folder / "runs", workers=1)


def adapter(ran: Path, method: str, language: str = "es") -> Adapter:
    return load(find(ran, method, [language])[0])


def each_alone(some: Adapter) -> Iterator[tuple[dict[str, torch.Tensor], list[torch.Tensor]]]:
    """Yield each row's batch, and what lora_A of the first query makes of its target and of its source [1,T,r]."""
    layer: Any = some.trained.model.base_model.model.bert.encoder.layer[0].attention.self.query
    form = some.trained.form(with_source=True)
    rows = form.encode(some.split.examples)
    for number in range(len(rows)):
        batch, low = form.collate([rows[number]]), []
        handle = layer.lora_A["default"].register_forward_hook(lambda module, args, out, low=low: low.append(out))
        with torch.no_grad():
            some.trained.model(**batch)
        handle.remove()
        yield batch, low


def test_mean_activations_are_those_of_the_real_tokens_row_by_row(ran: Path) -> None:
    some, sums, counts = adapter(ran, "mine"), {"source": 0.0, "target": 0.0}, {"source": 0, "target": 0}
    for batch, (target, source) in each_alone(some):
        for name, low, mask in (("source", source, "source_attention_mask"), ("target", target, "attention_mask")):
            real = low[batch[mask].bool()]
            sums[name], counts[name] = sums[name] + real.double().sum(0).numpy(), counts[name] + len(real)
    found = mean_activations(some)
    assert found.layer == "bert.encoder.layer.0.attention.self.query"
    for name in sums:
        np.testing.assert_allclose(found.means[name], sums[name] / counts[name], atol=1e-5)
        assert found.tokens[name] == counts[name]
    assert counts["source"] == counts["target"]  # word by word: so here the sum of states is the sum of means
    np.testing.assert_allclose(found.means["fused"], found.means["source"] + found.means["target"], atol=1e-5)


def test_another_block_is_another_layer(ran: Path) -> None:
    some = adapter(ran, "flare")
    assert mean_activations(some, 1).layer == "bert.encoder.layer.1.attention.self.query"
    with pytest.raises(UserError, match="block 2 does not fuse; expected one of 0, 1"):
        mean_activations(some, 2)


def test_fusion_off_everywhere_is_reading_without_the_source(ran: Path) -> None:
    some, without = adapter(ran, "flare"), adapter(ran, "flare")
    with replaced(fusing_layers(some.trained.model), silent):
        off = some.predict()
    step = find(ran, "flare", ["es"])[0]
    (alone,) = [each for each in step.context.spec.methods if each.name == "flare-no-source"]
    record = next(
        json.loads(path.read_text())
        for path in (ran / "records").glob("*.json")
        if (found := json.loads(path.read_text()))["method"]["name"] == alone.name and found["language"] == "es"
    )
    assert isinstance(off, Choices)
    expected = [row["log_probabilities"] for row in read_jsonl(ran / record["predictions"])]
    np.testing.assert_allclose(off.log_probabilities, expected, atol=1e-5)
    again, full = some.predict(), without.predict()  # and it is on again afterwards
    assert isinstance(again, Choices)
    assert isinstance(full, Choices)
    np.testing.assert_array_equal(again.log_probabilities, full.log_probabilities)
    assert np.abs(full.log_probabilities - off.log_probabilities).max() > 1e-3


def test_a_failure_inside_puts_the_fusion_back(ran: Path) -> None:
    layers = fusing_layers(adapter(ran, "flare").trained.model)
    before = [layer.variant.phi for layer in layers]
    with pytest.raises(RuntimeError), replaced(layers, silent):
        raise RuntimeError
    assert [layer.variant.phi for layer in layers] == before


def test_drops_are_the_scores_with_and_without(ran: Path) -> None:
    some = adapter(ran, "flare", "sw")
    found = drops(some)
    assert [part.place for part in found.parts] == ["block 0", "block 1", ALL]
    gold = [example.label for example in some.split]
    blocks = {layer.block for layer in fusing_layers(some.trained.model)}
    for part, places in zip(
        found.parts, [{("bert.encoder.layer", 0)}, {("bert.encoder.layer", 1)}, blocks], strict=True
    ):
        with replaced([each for each in fusing_layers(some.trained.model) if each.block in places], silent):
            outputs = some.predict()
        assert isinstance(outputs, Choices)
        assert part.score == pytest.approx(np.mean(outputs.predicted == gold))
        assert part.drop.score == pytest.approx(found.score - part.score)
        assert part.drop.low <= part.drop.score <= part.drop.high


def test_a_pairing_by_index_has_one_source_token_for_each(ran: Path) -> None:
    some = adapter(ran, "flare")
    heat = heat_of(some, "test 3")
    example = next(each for each in some.split if each.id == "test 3")
    assert example.source is not None
    assert heat.target == ("[CLS]", *example.texts[0].split(), "[SEP]")
    assert heat.source == ("[CLS]", *example.source[0].split(), "[SEP]")
    np.testing.assert_array_equal(heat.weights, np.eye(len(heat.target)))


@pytest.mark.parametrize("method", ["soft", "cross"])
def test_weights_are_those_of_the_layer(ran: Path, method: str) -> None:
    """From them and the low source states the fused ones follow."""
    some = adapter(ran, method)
    heat = heat_of(some)
    np.testing.assert_allclose(heat.weights.sum(1), 1, atol=1e-6)
    assert heat.weights.std() > 1e-4
    if method == "cross":
        _, (target, source) = next(each_alone(some))
        width = len(heat.target)
        phi: Any = query_of(fusing_layers(some.trained.model)).variant.phi
        q, k = (getattr(phi, name).detach().double().numpy() for name in ("query", "key"))
        t, s = (low[0, :width].double().numpy() for low in (target, source))
        scores = (t @ q.T) @ (s @ k.T).T / 2  # the root of r = 4
        expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        np.testing.assert_allclose(heat.weights, expected, atol=1e-5)


def test_an_adapters_folder_says_which_it_is(ran: Path) -> None:
    step = find(ran, "cross", ["sw"])[0]
    (found,) = find(step.model.path)
    assert (found.method.name, found.language, found.seed) == ("cross", "sw", 0)
    lora = next(
        path for path in (ran / "models").iterdir() if '"kind": "lora"' in (path / "crossflare.json").read_text()
    )
    with pytest.raises(UserError, match="no method of its run fuses with this adapter"):
        find(lora)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lora"}, "unknown method that fuses 'lora'"),
        ({"method": "flaer"}, "did you mean 'flare'"),
        ({"languages": ["de"]}, "unknown language 'de'"),
        ({"seed": 7}, "unknown seed '7'"),
    ],
)
def test_what_the_run_has_not(ran: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(ran, **options)


def test_no_run_no_row(ran: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected the folder of a run, with its spec\.yaml"):
        find(tmp_path)
    with pytest.raises(UserError, match="expected a test row with the id nine; the first with a source is test 0"):
        heat_of(adapter(ran, "flare"), "nine")


@pytest.mark.parametrize("verb", ["activations", "alignment", "layers"])
def test_each_verb_draws_and_says_the_same_as_its_json(
    ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    asked = ["analyse", verb, str(ran), "--language", "sw"] + (["--rows", "5"] if verb != "alignment" else [])
    assert main([*asked, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "sw" in printed
    assert "numbers:" in printed
    assert main([*asked, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values == json.loads((tmp_path / f"{verb}-flare-0.json").read_text())
    assert list(values["languages"]) == ["sw"]
    (picture,) = tmp_path.glob("*.svg")
    text = picture.read_text()
    assert ElementTree.fromstring(text.encode()).tag.endswith("svg")
    assert "prefers-color-scheme: dark" in text
    assert "#0101" not in text  # no colour of the drawing board is left
    assert "http" not in text.replace("http://www.w3.org", "")


def test_mistakes_are_one_line(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", "layers", str(ran), "--method", "lora"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: unknown method that fuses 'lora'")
    assert "\n" not in said


def test_an_adapter_from_elsewhere_reads_the_rows_of_a_run(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name on the hub is that of a snapshot in the hub's cache here."""
    own = find(ran, "mine", ["es"])[0].model.path
    hub_snapshot(own, tmp_path / "cache", ref="v2")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    expected = mean_activations(adapter(ran, "mine"))
    (step,) = find("a/b@v2", rows_of=ran, method="mine")
    found = mean_activations(load(step))
    for name, values in expected.means.items():
        np.testing.assert_allclose(found.means[name], values, atol=1e-6)
    assert main(["analyse", "activations", "a/b@v2", "--rows-of", str(ran), "--json", "--rows", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "a--b@v2"
    with pytest.raises(UserError, match="say whose test rows it reads: --rows-of"):
        find("a/b@v2")
    lora = find(ran, "flare", ["es"])[0].context.folder / "adapters" / "lora-es-seed0"
    with pytest.raises(UserError, match=r"its kind is lora, and .* has no method of it that fuses"):
        find(lora, rows_of=ran)
    with pytest.raises(UserError, match="language"):
        find("a/b@v2", rows_of=ran, languages=["sw"])
