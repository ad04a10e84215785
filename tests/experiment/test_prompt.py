"""The method `prompt`: a language model answers the task itself, here or at an endpoint; nothing is trained."""

import json
import logging
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny_questions
from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.experiment.promise.check import check
from crossflare.experiment.prompting import endpoint as endpoints
from crossflare.experiment.running.run import StepsFailedError, run
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps
from crossflare.experiment.steps.outside import endpoint_of, shown_rows
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.read import spec_from
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.report.build import build_report
from model_server import ModelServer, serving
from reference.slow_likelihood import slow_score
from tiny_experiment import LABELS, WORDS, Lab, read_jsonl

KEY = "sk-very-secret-0123456789"
TEMPLATE = "{text} Label:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("prompt")
    Lab(made, ("sw",), seeds=(0,))
    tiny_questions.make_writer(made / "llama", "llama")
    return made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[ModelServer]:
    def patient(method: MethodSpec) -> endpoints.Endpoint:
        return replace(endpoint_of(method), tries=2, wait=lambda seconds: None)

    for place in ("making.prompted", "promise.outside"):
        monkeypatch.setattr(f"crossflare.experiment.{place}.endpoint_of", patient)
    monkeypatch.setenv("MY_KEY", KEY)
    with serving() as mine:
        yield mine


def recipe(folder: Path, name: str, targets: tuple[str, ...] = ("sw",), changes: Any = None, **options: Any) -> Spec:
    method = {"kind": "prompt", "template": TEMPLATE, **options}
    said = {"name": name, "methods": {"asked": method}, "stage1": "none", **(changes or {})}
    return Lab(folder, targets, seeds=(0,)).spec(said)


def local(folder: Path, name: str, **options: Any) -> Spec:
    return recipe(folder, name, **{"model": str(folder / "llama"), **options})


def record_of(ran: Path, language: str = "sw") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = [read_json(path) for path in (ran / "records").glob("*.json")]
    mine = next(each for each in found if each["method"]["kind"] == "prompt" and each["language"] == language)
    return mine, read_jsonl(ran / mine["predictions"])


def writer(folder: Path) -> tuple[Any, Any]:
    place = folder / "llama"
    return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(place)


# A model on this machine ------------------------------------------------------------------------------------------


def test_a_local_model_says_how_likely_each_label_is(folder: Path, tmp_path: Path) -> None:
    spec = local(folder, "likely", words={"good": "good film"})
    ran = run(spec, tmp_path, workers=1)
    record, rows = record_of(ran)
    texts = [example.texts[0] for example in Context(spec, ran).data.test("sw", "none")]
    slow = [[slow_score(*writer(folder), f"{text} Label:", word) for word in ("bad", "good film")] for text in texts]
    expected = np.array(slow) - np.logaddexp.reduce(np.array(slow), axis=1, keepdims=True)
    assert np.array([row["log_probabilities"] for row in rows]) == pytest.approx(expected, abs=1e-4)
    assert record["signature"]["answers"] == "prompt"
    assert record["method"]["shots"] == 0
    assert record["method"]["test_source"] == "none"
    assert record["calibration"]["rows"] == 6  # the dev rows
    assert [line for line in record["warnings"] if "more than one token" in line] == [
        "label words of more than one token: 'good film' (2); each counts by the sum of the log-probabilities of all "
        "of its tokens"
    ]
    results = build_report(ran).results
    assert ("asked", "sw") in results.calibrated
    assert results.cells["accuracy", "asked", "sw"].score is not None
    assert not (ran / "models").exists()


def test_examples_are_balanced_drawn_by_the_seed_and_stand_before_each_row(folder: Path, tmp_path: Path) -> None:
    spec = local(folder, "shots", shots=3)
    context = Context(spec, tmp_path)
    first, other = (shown_rows(context, spec.methods[0], seed) for seed in (0, 1))
    assert sorted(example.label or 0 for example in first) in ([0, 0, 1], [0, 1, 1])
    assert first != other
    assert first == shown_rows(Context(spec, tmp_path), spec.methods[0], 0)
    with serving(ModelServer(answer=lambda prompt: "good")) as mine:
        asked = recipe(folder, "shots-there", shots=3, endpoint=mine.address, model="m")
        record, _ = record_of(run(asked, tmp_path / "runs", workers=1))
        shown = "\n\n".join(f"{e.texts[0]} Label: {LABELS[e.label or 0]}" for e in first)
        assert {prompt.rpartition("\n\n")[0] for prompt in mine.prompts} == {shown}
        assert record["data"]["shown"] == [e.id for e in first]


def test_the_translation_is_read_in_place_of_the_text(folder: Path, tmp_path: Path) -> None:
    with serving() as mine:
        spec = recipe(folder, "translated", endpoint=mine.address, model="m", test_source="machine")
        record, _ = record_of(run(spec, tmp_path, workers=1))
        own = {word for group in WORDS["sw"].values() for word in group if word != "hiyo"}
        assert not any(word in prompt.split() for prompt in mine.prompts for word in own)
    assert record["translation"]["to_source"]["engine"] == "dictionary"


def test_questions_are_answered_in_the_models_own_words(folder: Path, tmp_path: Path) -> None:
    made = tiny_questions.recipe(tmp_path, "llama", {"prompt": {"template": "Context {context} Question {question} :"}})
    spec = spec_from(json.dumps(made | {"stage1": "none"}), tmp_path)
    record, rows = record_of(run(spec, tmp_path / "runs", workers=1), "es")
    model, tokenizer = writer(tmp_path)
    example = Context(spec, tmp_path).data.test("es", "none").examples[0]
    ids = tokenizer(f"Context {example.texts[1]} Question {example.texts[0]} :", return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=3, do_sample=False)[0, ids.input_ids.shape[1] :]
    assert rows[0]["prediction"] == tokenizer.decode(written, skip_special_tokens=True).strip()
    assert set(record["scores"]) == {"exact_match", "f1"}
    assert record["counts"]["unparsed"] == sum(not row["prediction"] for row in rows)


def test_no_stage_1_no_training_row_and_nothing_sent(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(endpoints, "build_opener", None)  # whoever opens a connection fails
    made = json.loads(Lab(folder, ("sw",), seeds=(0,)).text({"name": "alone", "stage1": "none"}))
    made["task"]["files"] = {"sw": {"test": made["task"]["files"]["sw"]["test"]}}
    made |= {"model": {"name": str(folder / "llama")}, "methods": {"prompt": {"template": TEMPLATE}}}
    spec = spec_from(json.dumps(made), folder)
    assert [step.kind for step in all_steps(Context(spec, tmp_path))] == ["predict"]
    record, _ = record_of(run(spec, tmp_path, workers=1))
    assert record["calibration"] == {}  # there is no dev row


# A model at an endpoint -------------------------------------------------------------------------------------------


def test_answers_are_parsed_counted_and_asked_for_once(folder: Path, tmp_path: Path, server: ModelServer) -> None:
    said = iter(["Good.", "that is bad, not good", "who knows", "", "GOOD", "good", "bad"])
    answers: dict[str, str] = {}
    server.answer = lambda prompt: "x" if prompt == "Hello" else answers.setdefault(prompt, next(said))
    changes = {"seeds": [0, 1]}
    spec = recipe(folder, "parsed", changes=changes, endpoint=server.address, model="m", key_env="MY_KEY", at_once=1)
    ran = run(spec, tmp_path, workers=1)
    record, rows = record_of(ran)
    assert [row["prediction"] for row in rows] == [1, 0, -1, -1, 1, 1, 0]
    assert all("log_probabilities" not in row for row in rows)
    assert record["counts"]["unparsed"] == 2
    assert record["scores"]["accuracy"] == pytest.approx(sum(r["prediction"] == r["gold"] for r in rows) / 7)
    assert record["model"]["said"] == ["m-0613"]
    assert record["model"]["endpoint"] == server.address
    assert server.firsts == 1
    assert len(server.prompts) == 7  # the second seed has the same prompts
    assert server.keys == {f"Bearer {KEY}"}
    page = build_report(ran)
    report = (ran / "report.md").read_text()
    assert "answers that name no label" in report
    assert "control" not in report.split("## Methods")[1].split("##")[0]  # no source is how it is asked by default
    assert page.results.cells["accuracy", "asked", "sw"].score is not None
    everything = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert everything
    assert not any(KEY.encode() in path.read_bytes() for path in everything)
    run(spec, tmp_path, workers=1)
    assert (server.firsts, len(server.prompts)) == (1, 7)


def test_a_run_that_fails_keeps_what_was_answered(folder: Path, tmp_path: Path, server: ModelServer) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        if len(asked) == 4:
            server.faults = [(503, "", {}), (503, "", {})]
        return "good"

    server.answer = answer
    spec = recipe(folder, "broken", endpoint=server.address, model="m", key_env="MY_KEY", at_once=1)
    with pytest.raises(StepsFailedError, match="no answer after 2 tries, at last status 503") as caught:
        run(spec, tmp_path, workers=1)
    assert KEY not in str(caught.value)
    before = list(server.prompts)
    assert len(before) == 5  # three answers, and one question that was asked twice
    run(spec, tmp_path, workers=1)
    again = server.prompts[len(before) :]
    assert len(again) == 4
    assert not set(again) & set(before[:3])
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_requests_are_made_at_the_same_time_and_no_more_than_allowed(
    folder: Path, tmp_path: Path, server: ModelServer
) -> None:
    spec = recipe(folder, "several", endpoint=server.address, model="m", at_once=3)
    _, rows = record_of(run(spec, tmp_path, workers=1))
    assert len(rows) == 7
    assert server.most_at_once <= 3


def test_an_endpoint_that_is_not_there_is_told_before_anything_is_trained(
    folder: Path, tmp_path: Path, server: ModelServer
) -> None:
    with serving() as gone:
        pass
    methods = {"lora": None, "asked": {"kind": "prompt", "endpoint": gone.address, "model": "m"}}
    stage1 = {"epochs": 1, "max_length": 16}
    spec = recipe(folder, "gone", changes={"methods": methods, "stage1": stage1})
    check([Context(spec, tmp_path / "gone")])  # makes no call
    with pytest.raises(UserError, match="no answer after 2 tries, at last no connection"):
        run(spec, tmp_path, workers=1)
    assert not (tmp_path / "gone" / "models").exists()


def test_validate_sends_nothing(folder: Path, tmp_path: Path, server: ModelServer) -> None:
    check([Context(recipe(folder, "quiet", endpoint=server.address, model="m", key_env="MY_KEY"), tmp_path)])
    assert (server.firsts, server.prompts) == (0, [])


def test_neither_the_key_nor_its_absence_changes_an_id(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ids(**options: Any) -> list[str]:
        spec = recipe(folder, "ids", endpoint="http://a.invalid/v1", model="m", **options)
        return [step.id for step in all_steps(Context(spec, tmp_path))]

    monkeypatch.setenv("MY_KEY", KEY)
    assert ids(key_env="MY_KEY") == ids(key_env="OTHER_KEY") == ids() == ids(at_once=9, timeout=3)
    assert len({*ids(), *ids(shots=1), *ids(words={"bad": "no"}), *ids(test_source="machine")}) == 4
    assert len({*ids(), *ids(template="{text} is")}) == 2


# What makes no sense ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoint": "localhost:8000", "model": "m"}, "expected an address such as http://localhost:8000/v1"),
        ({"endpoint": "http://me:pw@a/v1", "model": "m"}, "expected an address alone, which is written into records"),
        ({"endpoint": "http://a/v1?key=1", "model": "m"}, "expected an address alone, which is written into records"),
        ({"endpoint": "http://a/v1"}, "missing `model`: the name that the endpoint knows the model by"),
        ({"endpoint": "http://a/v1", "model": "m", "key_env": KEY}, "and never the key itself"),
        ({"key_env": "MY_KEY"}, "key_env: is of an endpoint; say endpoint, or take it out"),
        ({"at_once": 2}, "at_once: is of an endpoint"),
        ({"template": "{txt}"}, "unknown field {txt}: did you mean 'text'?"),
        ({"template": "{text"}, "wrong braces"),
        ({"shots": 101}, "expected at least 0 and at most 100"),
        ({"words": {"godo": "x"}}, "unknown label 'godo': did you mean 'good'?"),
        ({"lr": 1}, "lr: means nothing here: prompt takes at_once"),
    ],
)
def test_a_recipe_that_makes_no_sense(folder: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(GatheredError) as caught:
        recipe(folder, "wrong", **options)
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "llama"}, "methods.asked: max_length: the model reads at most 64 tokens, got"),
        ({"model": "llama", "shots": 0, "words": {"good": "bad film"}}, "(bad) and 'bad film' (good) have the same"),
        ({"model": "llama", "shots": 0, "words": {"good": "Bad"}}, "expected a word of its own for each label, got"),
        ({"model": "llama", "shots": 0, "template": "{labels}"}, "with {text}, but it lacks {text}"),
        ({"model": "llama", "shots": 0, "template": "{text} {context}"}, "but the rows have no {context}"),
        ({"model": "base"}, "cannot answer in words"),
        ({"model": "nowhere"}, "there is no such folder"),
        ({"model": "m", "endpoint": "http://a.invalid/v1", "key_env": "UNSET_KEY"}, "UNSET_KEY is not set"),
    ],
)  # fmt: skip
def test_what_validate_finds(folder: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    place = options["model"] if "endpoint" in options else str(folder / options["model"])
    spec = recipe(folder, "found", **{"shots": 5, **options, "model": place})
    with pytest.raises(GatheredError) as caught:
        check([Context(spec, tmp_path)])
    assert said in str(caught.value)
    assert len(caught.value.lines) == 1


def test_control_and_upper_bound_are_told_from_the_baseline(folder: Path) -> None:
    groups = {
        source: local(folder, "groups", test_source=source).methods[0].group
        for source in ("none", "machine", "oracle", "shuffled")
    }
    assert groups == {"none": "baseline", "machine": "baseline", "oracle": "upper bound", "shuffled": "control"}


def test_a_damaged_answer_is_asked_again(
    folder: Path, tmp_path: Path, server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    spec = recipe(folder, "damaged", endpoint=server.address, model="m")
    ran = run(spec, tmp_path, workers=1)
    (kept,) = (ran / "answers").glob("*/*.jsonl")
    kept.write_text(kept.read_text().replace("good", "evil", 1))
    for path in (ran / "records").glob("*.json"):
        path.unlink()
    with caplog.at_level(logging.WARNING):
        run(spec, tmp_path, workers=1)
    assert len(server.prompts) == 8
    assert "a damaged row is ignored, and made again" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"model": "m", "endpoint": "http://a.invalid/v1", "key_env": "MY_KEY", "at_once": 2, "timeout": 3, "shots": 5},
        {"model": "./m", "revision": "v1", "words": {"bad": "no"}, "template": "A:\n{{}} {text} $x\n"},
        {},
    ],
)
def test_what_is_written_out_reads_back_equal(folder: Path, options: dict[str, Any]) -> None:
    spec = recipe(folder, "again", **options)
    assert spec_from(spec.to_yaml(), folder) == spec
