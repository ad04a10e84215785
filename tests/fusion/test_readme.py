"""The README of a saved adapter: metadata that the hub accepts, licences, scores, and code that runs."""

from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from crossflare.fusion.identity import BaseIdentity
from crossflare.fusion.saved.readme import UNKNOWN, About, Score, readme

BASE = BaseIdentity("a/model", "0" * 64, 8, 2)
RUN: dict[str, Any] = {
    "kind": "flare",
    "task": {"name": "topics", "labels": ["a", "b"], "texts": 1, "main_metric": "macro_f1"},
    "source": "en",
    "language": "no+zh-Hant",
    "model": {"name": "a/model", "revision": "v2", "licence": "MIT"},
    "data": {"n_train": 9, "n_dev": 4, "set": {"name": "Topics", "hub": "o/topics", "licence": "CC BY 4.0"}},
    "training": {"dev_score": 0.5},
}
SCORES = (
    Score("macro_f1", "no", 0.7123, 0.61, 0.8, 200, "flare, source nllb"),
    Score("accuracy", "no", 0.75, 0.65, 0.83, 200, "flare, source none"),
)


def front(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---")[1])


def test_the_hub_reads_the_metadata_as_they_are_meant() -> None:
    data = ModelCard(readme(BASE, RUN, About(scores=SCORES, licence="apache-2.0", reads="both"))).data
    assert (data.language, data.language_bcp47) == (["en", "no", "zh"], ["en", "no", "zh-Hant"])
    assert (data.license, data.base_model, data.base_model_revision) == ("apache-2.0", "a/model", "v2")
    named = data.to_dict()
    assert (named["library_name"], data.pipeline_tag, data.datasets) == ("peft", "text-classification", ["o/topics"])
    assert data.tags == ["crossflare", "flare"]
    said = {each.metric_type: each for each in data.eval_results or ()}
    assert said.keys() == {"f1", "accuracy"}
    assert (said["f1"].metric_value, said["f1"].dataset_config, said["f1"].dataset_split) == (0.7123, "no", "test")
    assert said["f1"].metric_name == "macro f1, flare, source nllb, 95 % interval 0.610 to 0.800"
    assert said["f1"].metric_args == {"low": 0.61, "high": 0.8, "level": 0.95, "rows": 200}


def test_what_is_not_known_is_not_invented() -> None:
    bare = {"kind": "lora", "task": {"labels": ["a", "b"]}, "language": "sw"}
    text = readme(BASE, bare, About())
    said = front(text)
    assert not {"license", "model-index", "datasets", "base_model_revision", "language_bcp47"} & said.keys()
    assert f"| base model | a/model, revision not named, weights {'0' * 12} | {UNKNOWN} |" in text
    assert f"| data | own files | {UNKNOWN} |" in text
    assert f"This adapter itself: {UNKNOWN}." in text
    assert "No scores on test rows are known." in text
    assert "language" not in front(readme(BASE, {}, About()))


def test_scores_limits_and_licences_are_told() -> None:
    text = readme(BASE, RUN, About(scores=SCORES, reads="both"))
    assert "| no | macro f1 | 0.712 | 0.610 to 0.800 | 200 | flare, source nllb |" in text
    assert "On its dev rows, by which it was chosen, so that this flatters it: macro f1 0.500." in text
    assert "| data | Topics, o/topics, 9 rows (train), 4 rows (dev) | CC BY 4.0 |" in text
    assert "trained for no, zh-Hant; nothing is known of other languages" in text
    assert "worse translations, or none, cost accuracy" in text
    assert "worse translations" not in readme(BASE, RUN, About())


def test_the_folders_of_this_machine_stay_here() -> None:
    text = readme(BaseIdentity("/place/of/mine/base", "0" * 64, 8, 2), RUN, About())
    assert "/place" not in text
    assert "base_model" not in front(text)


@pytest.mark.parametrize(("licence", "binds"), [("CC-BY-NC-4.0", True), ("CC BY-NC 4.0", True), ("MIT", False)])
def test_a_licence_that_forbids_commerce_is_told(licence: str, binds: bool) -> None:
    engine = {"engine": "transformers", "model": "nllb", "licence": licence}
    for card in ({"train_source": engine}, {"train_source": {"sw": engine, "yo": engine}}, {"to_target": engine}):
        text = readme(BASE, card, About())
        assert f"transformers (nllb) | {licence} |" in text
        assert ("Not for commercial use" in text) is binds


def test_a_source_that_nobody_translated_has_no_licence() -> None:
    assert "sources by" not in readme(BASE, {"train_source": "original"}, About())
