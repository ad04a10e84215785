"""Experiments in every form: words, spans and written answers, with controls and transfer between languages."""

import json
from pathlib import Path
from typing import Any

import pytest

import crossflare
from crossflare.cli import main
from crossflare.disk.files import read_json
from crossflare.experiment.running.run import run
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.models import Stage2
from crossflare.recipe.read import spec_from
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError
from tiny_experiment import LABELS, Lab, read_jsonl
from tiny_questions import make_writer, recipe

METHODS: dict[str, Any] = {
    "zero-shot": None,
    "translate-test": None,
    "lora": None,
    "flare": None,
    "flare-no-source": {"of": "flare"},
    "shuffled": {"kind": "flare", "train_source": "shuffled", "test_source": "shuffled"},
    "none": {"kind": "flare", "train_source": "none", "test_source": "none"},
    "xmixup-lora": None,
}


def spec_of(folder: Path, model: str, methods: dict[str, Any] | None = None, **changes: Any) -> Spec:
    made = recipe(folder, model, methods or METHODS) | changes
    return spec_from(json.dumps(made), folder)


def records(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = [read_json(path) for path in (folder / "records").glob("*.json")]
    return {(record["method"]["name"], record["language"]): record for record in found}


@pytest.fixture(scope="module", params=["bert", "mt5"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """The model's kind, the folder of files, and that of the finished run."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, run(spec_of(folder, request.param), folder / "runs", workers=1)


def test_only_a_source_that_is_a_labelled_row_has_answers(tmp_path: Path) -> None:
    sources = {"xmixup": "original", "wrong": "shuffled"}
    methods = {name: {"kind": "xmixup", "train_source": source} for name, source in sources.items()} | {"flare": None}
    context = Context(spec_of(tmp_path, "bert", methods), tmp_path / "runs")
    adapters = {step.method.name: step for step in all_steps(context) if isinstance(step, Stage2)}
    labelled, rows = adapters["xmixup"].stage1.splits[0], adapters["xmixup"].splits[0]
    assert [e.source for e in rows] == [e.texts for e in labelled]
    assert [e.source_answers for e in rows] == [e.answers for e in labelled]
    wrong = adapters["wrong"].splits[0]
    others = [own.answers if e.source == own.texts else () for e, own in zip(wrong, labelled, strict=True)]
    assert [e.source_answers for e in wrong] == others
    assert () in others
    assert not any(e.source_answers for e in adapters["flare"].splits[0])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bert", "mt5", "llama"])
def test_a_loss_on_both_languages_is_one_on_both_answers(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told no answers of its sources, the same method learns another adapter."""
    weights: list[bytes] = []
    for known in (True, False):
        if not known:
            monkeypatch.setattr("crossflare.experiment.steps.models.with_labelled_sources", lambda split, _: split)
        ran = run(spec_of(tmp_path, model, {"xmixup": {"train_source": "original"}}), tmp_path / str(known), workers=1)
        weights += [path.read_bytes() for path in (ran / "adapters").glob("*/adapter_model.safetensors")]
    assert len(weights) == 2
    assert weights[0] != weights[1]


def test_every_method_answers_every_question(asked: tuple[str, Path, Path]) -> None:
    kind, _, ran = asked
    found = records(ran)
    assert {name for name, _ in found} == set(METHODS)
    for record in found.values():
        rows = read_jsonl(ran / record["predictions"])
        assert [row["id"] for row in rows] == [f"test{n}" for n in range(5)]
        assert set(rows[0]) >= {"gold", "prediction", "exact_match", "f1", "score"}
        assert record["scores"]["f1"] == pytest.approx(sum(row["f1"] for row in rows) / 5, abs=1e-5)
        assert record["task"]["form"] == ("head" if kind == "bert" else "text")
        assert record["task"]["normalisation"] == "mlqa"
        assert ("position_match" in record["scores"]) == (
            kind == "bert" and record["method"]["name"] != "translate-test"
        )


def test_the_controls_are_named_in_their_records(asked: tuple[str, Path, Path]) -> None:
    _, _, ran = asked
    found = {name: record for (name, _), record in records(ran).items()}
    assert found["shuffled"]["signature"]["source"].startswith("shuffled-dictionary-")
    assert found["flare"]["signature"]["source"].startswith("dictionary-")
    assert {found[name]["signature"]["source"] for name in ("none", "flare-no-source", "lora")} == {"none"}
    assert found["none"]["method"]["train_source"] == "none"
    assert found["flare-no-source"]["model"]["id"] == found["flare"]["model"]["id"]
    assert len({found[name]["model"]["id"] for name in ("flare", "shuffled", "none", "lora")}) == 4
    assert [found[name]["counts"]["no_source"] for name in ("flare", "shuffled", "none")] == [0, 0, 5]


def test_translated_answers_come_back_in_the_language_of_the_question(asked: tuple[str, Path, Path]) -> None:
    """Spans of the English translation, each word of it put back by the dictionary of `translation.answers`."""
    kind, folder, ran = asked
    english = {line.split("\t")[0] for line in (folder / "back.tsv").read_text().splitlines()}
    spanish = {line.split("\t")[1] for line in (folder / "back.tsv").read_text().splitlines()}
    told = [row["prediction"] for row in read_jsonl(ran / records(ran)["translate-test", "es"]["predictions"])]
    assert not any(set(text.split()) & (english - spanish) for text in told)
    if kind == "bert":
        assert all(set(text.split()) <= spanish for text in told)


def test_a_question_adapter_answers_a_file(asked: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, folder, ran = asked
    record = records(ran)["flare", "es"]
    questions = json.loads((folder / "questions" / "es-test.json").read_text())["data"][0]["paragraphs"]
    rows = [{"id": q["qas"][0]["id"], "question": q["qas"][0]["question"], "context": q["context"]} for q in questions]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    words += ["--translate", "dictionary", "--option", f"lexicon={folder / 'there.tsv'}"]
    assert main(["predict", "--adapter", str(ran / "models" / record["model"]["id"]), *words]) == 0
    there = read_jsonl(ran / record["predictions"])
    out = read_jsonl(tmp_path / "out.jsonl")
    assert [(row["id"], row["prediction"]) for row in out] == [(row["id"], row["prediction"]) for row in there]
    assert [row["score"] for row in out] == pytest.approx([row["score"] for row in there], abs=1e-4)


@pytest.mark.parametrize("method", ["lora", "flare"])
def test_a_question_adapter_answers_in_python(asked: tuple[str, Path, Path], method: str) -> None:
    """Pairs are (question, context), and the answers those of the run."""
    kind, folder, ran = asked
    rows = Context(spec_of(folder, kind), ran).data.test("es", "machine" if method == "flare" else "none")
    adapter = crossflare.open_adapter(ran / "adapters" / f"{method}-es-seed0")
    sources = None if method == "lora" else [each.source for each in rows]
    said = adapter.predict([each.texts for each in rows], sources)
    expected = read_jsonl(ran / records(ran)[method, "es"]["predictions"])
    assert [each.label for each in said] == [row["prediction"] for row in expected]
    assert [each.score for each in said] == pytest.approx([row["score"] for row in expected], abs=1e-5)
    assert all(each.probabilities == {} for each in said)
    assert [each.source for each in said] == (sources or [None] * len(rows))


def test_how_answers_are_read_makes_other_predictions(tmp_path: Path) -> None:
    """What only predictions depend on: longest answer, stride, and who translates answers back."""

    def ids(**stage: Any) -> dict[str, str]:
        made = recipe(tmp_path, "bert", {"zero-shot": None, "translate-test": None})
        made["stage2"] |= {name: value for name, value in stage.items() if name != "answers"}
        if "answers" in stage:
            made["translation"]["answers"]["lexicon"] = stage["answers"]
        return {step.label: step.id for step in all_steps(Context(spec_from(json.dumps(made), tmp_path), tmp_path))}

    plain = ids()
    assert len(plain) == 3
    for name in ("answer_tokens", "stride"):
        other = ids(**{name: 5})
        assert {label for label in plain if plain[label] != other[label]} == {
            "zero-shot, es, seed 0",
            "translate-test, es, seed 0",
        }
    other = ids(answers=str(tmp_path / "there.tsv"))
    assert {label for label in plain if plain[label] != other[label]} == {"translate-test, es, seed 0"}


@pytest.fixture(scope="module")
def words_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("words"), seeds=(0,))
    lab.recipe["model"]["name"] = str(make_writer(lab.folder / "llama", "llama"))
    lab.recipe["task"] |= {"form": "text", "words": {"bad": "dull"}}
    for stage in ("stage1", "stage2"):
        lab.recipe[stage] |= {"epochs": 1, "evaluations": 1}
    return lab


def test_labels_in_words_with_transfer_between_languages(words_lab: Lab, tmp_path: Path) -> None:
    files = words_lab.recipe["task"]["files"]
    methods = {
        "zero-shot": None,
        "lora": None,
        "flare": {"trained_in": "es"},
        "flare+source": {"of": "flare", "trained_in": "es"},
        "ensemble": {"of": "lora", "languages": ["sw"]},
        "elsewhere": {"kind": "lora", "trained_in": "sw", "languages": ["es"]},
    }
    for name in ("lora", "flare", "flare+source"):
        methods[name] = (methods[name] or {}) | {"languages": ["es", "sw"]}
    changes = {"targets": ["es", "sw", "en"], "task.files": files, "methods": methods}
    ran = run(words_lab.spec(changes), tmp_path, workers=1)
    found = records(ran)
    assert set(found) == {
        *((name, language) for name in ("zero-shot", "lora", "flare", "flare+source") for language in ("es", "sw")),
        ("zero-shot", "en"),
        ("ensemble", "sw"),
        ("elsewhere", "es"),
    }
    assert found["flare", "sw"]["model"]["id"] == found["flare", "es"]["model"]["id"]
    assert found["elsewhere", "es"]["model"]["id"] == found["lora", "sw"]["model"]["id"]
    assert found["lora", "es"]["model"]["id"] != found["lora", "sw"]["model"]["id"]
    for record in found.values():
        rows = read_jsonl(ran / record["predictions"])
        assert len(rows) == 7
        assert record["task"] | {"form": "text", "words": {"bad": "dull"}, "labels": LABELS} == record["task"]
        if record["method"]["name"] == "flare":
            assert all(row["source_log_probabilities"] for row in rows)


def test_a_method_that_a_language_lacks_leaves_no_record_there(words_lab: Lab, tmp_path: Path) -> None:
    """`ensemble` needs translate-test in both languages; the recipe asks for it in one."""
    methods = {"lora": None, "translate-test": {"languages": ["es"]}, "ensemble": {"of": "lora"}}
    steps = all_steps(Context(words_lab.spec({"methods": methods}), tmp_path))
    shown = {step.label for step in steps if step.kind == "predict" and not getattr(step, "hidden", False)}
    assert {label for label in shown if label.startswith("translate-test")} == {"translate-test, es, seed 0"}


def mistakes(folder: Path, **changes: Any) -> str:
    (folder / "mt5").mkdir()  # none is loaded
    made = recipe(folder, "mt5", {"zero-shot": None, "translate-test": None, "lora": None, "flare": None})
    for path, value in changes.items():
        tree = made
        *way, last = path.split("__")
        for key in way:
            tree[key] = tree.get(key) or {}
            tree = tree[key]
        tree[last] = value
    with pytest.raises(GatheredError) as caught:
        spec_from(json.dumps(made), folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task__labels": ["a", "b"]}, "questions are answered from a context and have no labels; take it out"),
        ({"task__words": {"a": "b"}}, "questions are answered from a context and have no labels; take it out"),
        ({"task__set": "xquad"}, "the set 'xquad' says this itself; take it out"),
        ({"task__files": {}}, "missing; expected language -> part -> file"),
        ({"methods__lora": {"joint": True}, "task__form": "head"}, "a joint adapter keeps whole items in a batch"),
        ({"methods__translate-test-roundtrip": None}, "no span of a round trip is labelled"),
        ({"methods__flare-released": None, "task__form": "head"}, "flare-released is not for spans"),
        ({"methods__xmixup": None}, "annealed sources are for labels by a head; say train_source"),
        ({"methods__ensemble": {"of": "lora"}}, "ensemble combines probabilities of labels"),
        ({"translation__answers": None}, "its answers are in the source language, but translation.answers is missing"),
        (
            {"targets": ["es", "en"]},
            "the source language 'en' is among the targets, but translate-test would translate it into itself",
        ),
        ({"methods__lora": {"trained_in": "fr"}}, "'fr' is no target"),
        ({"methods__lora": {"languages": ["ess"]}}, "'ess' is no target: did you mean 'es'?"),
        ({"methods__zero-shot": {"trained_in": "es"}}, "means nothing here: zero-shot takes languages"),
        ({"methods__flare": {"train_source": "oracle"}}, "train_source"),
        (
            {"methods__flare": {"train_source": "shuffled"}, "translation__to_source": {"engine": "parallel"}},
            "shuffled needs training rows translated back",
        ),
        (
            {"methods__flare": {"test_source": "shuffled"}, "translation__to_source": None},
            "reads translated test rows, but translation.to_source is missing",
        ),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    assert says in mistakes(tmp_path, **changes)


def test_words_for_a_head_are_refused(words_lab: Lab) -> None:
    with pytest.raises(GatheredError, match="means nothing with form: head, which writes no words; take it out"):
        words_lab.spec({"task.form": "head"})


def test_a_method_may_leave_the_source_language_out(tmp_path: Path) -> None:
    made = recipe(tmp_path, "mt5", {"zero-shot": None, "lora": {"languages": ["es"]}}, ("es", "en"))
    assert spec_from(json.dumps(made), tmp_path).targets == ("es", "en")
