"""An adapter travels through the hub whole, or not at all: pushed, fetched and read, against a hub on this machine."""

import errno
import json
import re
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

import crossflare
from crossflare.cli import main
from crossflare.disk.files import CARD, MANIFEST, read_json
from crossflare.errors import UserError
from crossflare.fusion.saved.adapter_check import README, WEIGHTS
from crossflare.fusion.saved.adapter_files import save_adapter
from crossflare.fusion.saved.tensor_files import MODEL, SETTINGS, save_tensors
from crossflare.serving.push import parcel_of
from crossflare.tasks.kinds import TextTask
from crossflare.training.bases.load import load_base
from crossflare.training.loop.checkpoints import trained
from hub_cache import hub_snapshot
from hub_server import Hub, serving
from tiny_adapters import LABELS, make_adapters, write

KINDS = ("flare", "lora", "pairs", "staged", "full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter of each kind, one on a stage 1, and a model that was trained whole."""
    place = make_adapters(tmp_path_factory.mktemp("models"))
    base = load_base(str(place / "base"), TextTask("opinions", 1, tuple(LABELS)), seed=0)
    card = read_json(place / "lora" / CARD)
    settings = base.model.config.to_json_string(use_diff=False)
    weights = trained(base.model.requires_grad_(True))
    save_tensors(weights, place / "full", MODEL, base=base.identity, card=card | {"kind": "full"}, settings=settings)
    staged: Any = get_peft_model(base.model, crossflare.FlareConfig(r=2, task_type="SEQ_CLS"))
    card = card | {"kind": "flare"}
    save_adapter(staged, place / "staged", base=base.identity, source_task=place / "lora", card=card)
    return place


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Hub]:
    with serving(Hub(), tmp_path / "cache", monkeypatch) as one:
        yield one


def said_by(place: str | Path, name: str, **options: Any) -> Any:
    text = ("w1 w2", "w3") if name == "pairs" else "w1 w2"
    return crossflare.open_adapter(place, **options).predict(
        [text], [text] if name in ("flare", "pairs", "staged") else None
    )


def only_line(caught: "pytest.ExceptionInfo[UserError]") -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_pushed_is_opened_and_says_the_same(
    folder: Path, hub: Hub, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossflare.open_adapter(folder / kind).push_to_hub("me/one", private=True)
    files = hub.files("me/one")
    assert files.keys() - {".gitattributes"} == {MANIFEST, *read_json(folder / kind / MANIFEST)["sha256"]}
    assert [path for verb, path in hub.requests if "/commit/" in path] == ["/api/models/me/one/commit/main"]
    assert hub.private == {"me/one"}
    assert said_by("me/one", kind) == said_by(folder / kind, kind)
    for name in files.keys() - {README, MANIFEST, ".gitattributes"}:
        assert files[name] == (folder / kind / name).read_bytes(), name
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert said_by("me/one@main", kind) == said_by(folder / kind, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_in_a_readme_runs(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder / kind)
    (code,) = re.findall(r"```python\n(.*?)```", Path(README).read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 10
    exec(code, {})
    assert capsys.readouterr().out.startswith(tuple(LABELS))


def test_the_code_for_an_adapter_without_a_kind_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, identity = fresh(folder)
    save_adapter(model, tmp_path / "mine", base=identity)
    monkeypatch.chdir(tmp_path / "mine")
    (code,) = re.findall(r"```python\n(.*?)```", Path(README).read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace('"BASE"', repr(str(folder / "base"))), names)
    assert isinstance(names["model"], PeftModel)


def fresh(folder: Path) -> tuple[PeftModel, Any]:
    """A FLARE model as a user of peft makes it, and the identity of its base."""
    base = AutoModelForSequenceClassification.from_pretrained(folder / "base")
    identity = crossflare.identify(base)
    model: Any = get_peft_model(base, crossflare.FlareConfig(task_type="SEQ_CLS", r=2))
    return model, identity


def test_pefts_own_push_is_whole_for_a_model_of_peft(folder: Path, hub: Hub) -> None:
    model, _ = fresh(folder)
    model.push_to_hub("mine")
    base = AutoModelForSequenceClassification.from_pretrained(folder / "base")
    loaded = crossflare.load_adapter(base, "me/mine@main")
    expected = {name: each for name, each in model.state_dict().items() if "lora_" in name}
    assert expected
    assert all(torch.equal(loaded.state_dict()[name], each) for name, each in expected.items())
    assert "# An adapter of base" in hub.files("me/mine")[README].decode()


def test_pefts_own_push_keeps_card_and_stage_1(folder: Path, hub: Hub) -> None:
    adapter = crossflare.open_adapter(folder / "staged")
    adapter.model.push_to_hub("me/staged", commit_message="again", revision="v2")
    assert said_by("me/staged", "staged", revision="v2") == said_by(folder / "staged", "staged")
    assert MANIFEST not in hub.files("me/staged", "main")
    assert json.loads(hub.files("me/staged", "v2")[CARD]) == read_json(folder / "staged" / CARD)


def test_what_is_no_more_true_of_an_adapter_that_was_trained_on_is_left_out(folder: Path, hub: Hub) -> None:
    base = load_base(str(folder / "base"), TextTask("opinions", 1, tuple(LABELS)), seed=0)
    card = read_json(folder / "lora" / CARD) | {"training": {"dev_score": 0.9}}
    model = crossflare.load_adapter(base.model, folder / "lora")
    save_adapter(model, folder / "scored", base=base.identity, card=card)
    again = crossflare.open_adapter(folder / "scored")
    again.model.push_to_hub("me/same")
    assert json.loads(hub.files("me/same")[CARD])["training"] == {"dev_score": 0.9}
    with torch.no_grad():
        next(each for name, each in again.model.named_parameters() if "lora_A" in name).add_(1)
    again.model.push_to_hub("me/other")
    assert "training" not in json.loads(hub.files("me/other")[CARD])
    assert "0.900" not in hub.files("me/other")[README].decode()


def test_a_model_whose_folder_is_gone_is_not_pushed_without_its_stage_1(folder: Path, hub: Hub, tmp_path: Path) -> None:
    shutil.copytree(folder / "staged", tmp_path / "mine")
    adapter = crossflare.open_adapter(tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(UserError, match="which it was loaded from, is gone or another one; load it again") as caught:
        adapter.model.push_to_hub("me/one")
    only_line(caught)
    shutil.copytree(folder / "full", tmp_path / "mine")
    with pytest.raises(UserError, match="expected"):
        adapter.model.push_to_hub("me/one")
    assert hub.requests == []


def test_a_second_adapter_of_a_model_gets_the_stage_1_below_it_and_not_the_card_of_the_first(
    folder: Path, hub: Hub
) -> None:
    model = crossflare.open_adapter(folder / "staged").model
    model.add_adapter("mine", crossflare.FlareConfig(task_type="SEQ_CLS", r=2))
    model.set_adapter("mine")
    model.push_to_hub("me/mine")
    said = json.loads(hub.files("me/mine")[CARD])
    assert said == {name: read_json(folder / "staged" / CARD)[name] for name in ("base", "format")}
    base = load_base(str(folder / "base"), TextTask("opinions", 1, tuple(LABELS)), seed=0).model
    loaded, expected = crossflare.load_adapter(base, "me/mine").state_dict(), model.state_dict()
    weights = [name for name in loaded if name.endswith("query.base_layer.weight")]
    assert weights
    assert all(torch.equal(loaded[name], expected[name]) for name in weights)


def test_peft_saves_our_readme_and_leaves_one_that_is_there(folder: Path, tmp_path: Path) -> None:
    model, _ = fresh(folder)
    model.save_pretrained(tmp_path / "peft")
    assert "## What it was made from" in (tmp_path / "peft" / README).read_text()
    (tmp_path / "peft" / README).write_text("mine")
    model.save_pretrained(tmp_path / "peft")
    assert (tmp_path / "peft" / README).read_text() == "mine"


def test_a_plain_lora_of_peft_is_pefts_affair(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(folder / "base")
    model: Any = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    monkeypatch.setattr("transformers.utils.hub.hf_api", huggingface_hub.HfApi)  # theirs keeps its first address
    model.push_to_hub("me/plain")
    assert MANIFEST not in hub.files("me/plain")
    assert WEIGHTS in hub.files("me/plain")


def test_a_second_push_replaces_the_first_and_leaves_what_is_not_ours(folder: Path, hub: Hub) -> None:
    parcel_of(folder / "staged", "me/one").push("me/one")
    hub.add("me/one", "main", {**hub.files("me/one"), "picture.png": b"x"})
    parcel_of(folder / "flare", "me/one").push("me/one")
    assert "picture.png" in hub.files("me/one")
    assert not [name for name in hub.files("me/one") if name.startswith("source_task/")]
    assert said_by("me/one", "flare") == said_by(folder / "flare", "flare")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda place: (place / WEIGHTS).unlink(), "which is missing"),
        (lambda place: (place / MANIFEST).unlink(), "saved by peft"),
        (lambda place: (place / CARD).write_text("{}"), "is not the file that was saved"),
        (lambda place: (place / "x.py").touch(), "its manifest does not name 'x.py'"),
    ],
)
def test_what_is_not_whole_is_refused_before_the_hub_hears_of_it(
    folder: Path, hub: Hub, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    shutil.copytree(folder / "flare", tmp_path / "damaged")
    damage(tmp_path / "damaged")
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        parcel_of(tmp_path / "damaged", "me/one").push("me/one")
    only_line(caught)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "log in with `hf auth login`"),
        (403, "the hub does not let you write there; check the owner's name"),
        (412, "someone else changed the repository meanwhile; push again"),
        (400, "check the name and the network, and push again"),
    ],
)
def test_a_commit_that_is_refused_changes_nothing(folder: Path, hub: Hub, status: int, said: str) -> None:
    hub.make("me/one")
    before, hub.refuse_commits = dict(hub.files("me/one")), status
    with pytest.raises(UserError, match=r"^me/one: nothing was pushed: ") as caught:
        parcel_of(folder / "flare", "me/one").push("me/one")
    assert said in only_line(caught)
    assert hub.files("me/one") == before


def test_a_repository_that_holds_another_model_is_refused(folder: Path, hub: Hub) -> None:
    hub.make("me/base")
    hub.add("me/base", "main", {MODEL: b"", README: b"mine"})
    with pytest.raises(
        UserError, match=re.escape(f"found another model there ({MODEL}); nothing was pushed")
    ) as caught:
        parcel_of(folder / "flare", "me/base").push("me/base")
    only_line(caught)
    assert hub.files("me/base")[README] == b"mine"


def test_metadata_that_the_hub_refuses_make_no_repository(folder: Path, hub: Hub) -> None:
    with pytest.raises(UserError, match=r"the hub refuses the metadata of README\.md .* check --licence") as caught:
        parcel_of(folder / "flare", "me/one", licence="nonsense").push("me/one")
    only_line(caught)
    assert hub.commits == {}


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "me/one@v2", "me/o ne"])
def test_a_name_that_is_none_is_refused(folder: Path, hub: Hub, name: str) -> None:
    with pytest.raises(UserError, match="expected a name on the hub as owner/name") as caught:
        parcel_of(folder / "flare", name).push(name)
    only_line(caught)
    assert hub.requests == []


def test_a_push_offline_is_one_line(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="nothing was pushed: the hub's client is set to work offline") as caught:
        parcel_of(folder / "flare", "me/one").push("me/one")
    only_line(caught)
    assert hub.requests == []


def pushed(folder: Path, hub: Hub, kind: str = "flare", **more: bytes) -> None:
    """Lay a folder on the hub as it is, with further files."""
    hub.make("a/b")
    files = {path.relative_to(folder / kind).as_posix(): path.read_bytes() for path in (folder / kind).rglob("*.*")}
    hub.add("a/b", "main", {**hub.files("a/b"), **files, **more})


def without(hub: Hub, *names: str) -> None:
    hub.add("a/b", "main", {name: each for name, each in hub.files("a/b").items() if name not in names})


def test_only_what_the_manifest_names_is_fetched_and_no_code_runs(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = b'import pathlib; pathlib.Path("ran").touch()'
    settings = json.dumps({"auto_map": {"AutoModel": "modeling.Other"}, "model_type": "bert"}).encode()
    pushed(folder, hub, **{"modeling.py": code, SETTINGS: settings, MODEL: b"x", "pytorch_model.bin": b"x"})
    monkeypatch.chdir(folder)
    assert said_by("a/b", "flare") == said_by(folder / "flare", "flare")
    assert hub.fetched("a/b") == {MANIFEST, *read_json(folder / "flare" / MANIFEST)["sha256"]}
    assert not Path("ran").exists()


def test_all_weights_of_a_model_come_only_where_the_card_says_that_all_were_trained(folder: Path, hub: Hub) -> None:
    card = json.dumps(read_json(folder / "full" / CARD) | {"kind": "lora"}).encode()
    pushed(folder, hub, "full", **{CARD: card})
    with pytest.raises(
        UserError, match=r"a/b: expected an adapter, as its card says \(lora\), found all weights"
    ) as caught:
        crossflare.open_adapter("a/b")
    only_line(caught)
    with pytest.raises(UserError, match="not fetched"):
        crossflare.load_adapter(torch.nn.Linear(1, 1), "a/b")
    assert hub.fetched("a/b") == {MANIFEST, CARD}


def test_a_card_of_another_schema_is_refused_before_the_weights_are_fetched(folder: Path, hub: Hub) -> None:
    card = json.dumps(read_json(folder / "flare" / CARD) | {"format": 99}).encode()
    pushed(folder, hub, **{CARD: card})
    with pytest.raises(UserError, match="expected a card of format 1, got 99; upgrade crossflare") as caught:
        crossflare.open_adapter("a/b")
    only_line(caught)
    assert WEIGHTS not in hub.fetched("a/b")


@pytest.mark.parametrize("place", ["a/b@gone", "a/c", "a/b@main@main", "a/b"])
def test_what_cannot_be_fetched_is_one_line(folder: Path, hub: Hub, place: str) -> None:
    pushed(folder, hub)
    if place == "a/b":
        hub.gated.add("a/b")
    said = {
        "a/b@gone": "a/b: the hub has it, but not its revision 'gone'; check the revision",
        "a/c": "a/c: no such folder, and no such public model on the hub; check it",
        "a/b@main@main": "a/b: the hub has it, but not its revision 'main@main'",
        "a/b": "a/b: its owner gives it to those who accept its terms; do so on its page",
    }[place]
    with pytest.raises(UserError, match=f"^{re.escape(said)}") as caught:
        crossflare.open_adapter(place)
    only_line(caught)


def test_two_revisions_are_refused(hub: Hub) -> None:
    with pytest.raises(UserError, match="a/b@v1: the name says a revision, and revision 'v2' another; give one"):
        crossflare.open_adapter("a/b@v1", revision="v2")
    assert hub.requests == []


def test_sharded_weights_and_foreign_repositories_are_one_line(folder: Path, hub: Hub) -> None:
    pushed(folder, hub)
    hashes = read_json(folder / "flare" / MANIFEST)
    shards = {f"adapter_model-0000{n}-of-00002.safetensors": b"x" for n in (1, 2)}
    digests = {name: each for name, each in hashes["sha256"].items() if name != WEIGHTS} | dict.fromkeys(
        shards, "0" * 64
    )
    without(hub, WEIGHTS)
    whole = {**hub.files("a/b"), **shards, MANIFEST: json.dumps({**hashes, "sha256": digests}).encode()}
    hub.add("a/b", "main", whole)
    with pytest.raises(UserError, match=f"{WEIGHTS} is missing; expected an adapter saved by crossflare") as caught:
        crossflare.open_adapter("a/b")
    only_line(caught)
    without(hub, MANIFEST)
    with pytest.raises(UserError, match=f"a/b: the hub has it, but no {MANIFEST} in it") as caught:
        crossflare.open_adapter("a/b")
    assert "crossflare push" in only_line(caught)
    assert not any(name in hub.fetched("a/b") for name in shards)


def test_a_disk_that_fills_leaves_nothing_that_is_taken_for_whole(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(folder, hub)
    own = huggingface_hub.snapshot_download

    def full(*given: Any, **options: Any) -> str:
        if WEIGHTS in options["allow_patterns"]:
            own(*given, **options | {"allow_patterns": ["adapter_config.json"]})
            raise OSError(errno.ENOSPC, "No space left on device")
        return own(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.snapshot_download", full)
        with pytest.raises(UserError, match=r"could not be written \(No space left on device\); free space") as caught:
            crossflare.open_adapter("a/b")
    assert caught.value.kind == "disk"
    only_line(caught)
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(UserError, match="not whole in the hub's cache"):
            crossflare.open_adapter("a/b")
    assert said_by("a/b", "flare") == said_by(folder / "flare", "flare")  # with space, the rest is fetched


def test_a_disk_that_fills_in_a_push_leaves_nothing(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = crossflare.open_adapter(folder / "flare")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("crossflare.disk.files.os.replace", full)
    with pytest.raises(UserError, match="could not be written") as caught:
        adapter.model.push_to_hub("me/one")
    assert caught.value.kind == "disk"
    assert hub.requests == []


def command(*words: str | Path) -> int:
    return main([str(word) for word in words])


def test_the_commands_take_names_of_the_hub(
    folder: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("push", folder / "flare", "me/one", "--dry-run") == 0
    assert 'crossflare.open_adapter("me/one")' in capsys.readouterr().out
    assert hub.requests == []
    assert command("push", folder / "flare", "me/one", "--private", "--branch", "v2", "--licence", "mit") == 0
    assert "https://huggingface.co/me/one/commit/" in capsys.readouterr().out
    assert "license: mit" in hub.files("me/one", "v2")[README].decode()
    assert command("validate", "me/one@v2") == 0
    assert "every file is the one that was saved" in capsys.readouterr().out
    rows = write(tmp_path / "in.jsonl", [{"text": "w1 w2", "en": "w3"}])
    for name, place in (("hub", "me/one@v2"), ("here", folder / "flare")):
        asked = ("--input", rows, "--output", tmp_path / f"{name}.jsonl", "--source", "en")
        assert command("predict", "--adapter", place, *asked) == 0
    assert (tmp_path / "hub.jsonl").read_text() == (tmp_path / "here.jsonl").read_text()
    capsys.readouterr()
    assert command("validate", "me/one@gone") == 2
    assert "not its revision 'gone'" in capsys.readouterr().err
    assert command("analyse", "layers", "me/one@v2", "--json") == 2
    assert "say whose test rows it reads: --rows-of" in capsys.readouterr().err


def test_an_adapter_in_the_cache_can_be_pushed_under_another_name(folder: Path, hub: Hub, tmp_path: Path) -> None:
    snapshot = hub_snapshot(folder / "lora", tmp_path / "other")
    parcel_of(snapshot, "me/copy").push("me/copy")
    assert said_by("me/copy", "lora") == said_by(folder / "lora", "lora")
