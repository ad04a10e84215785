"""The time that is left is what was measured in the same place, and for what never ran it is unknown."""

from pathlib import Path

import pytest

import crossflare.experiment.making.make as making
from crossflare.experiment.running.plan import measured, plan
from crossflare.experiment.running.worker import work
from crossflare.experiment.steps.context import Context
from crossflare.experiment.steps.graph import all_steps, build_graph
from crossflare.experiment.steps.models import Stage1, Stage2
from crossflare.progress import spoken
from fake_steps import FakeMake
from tiny_experiment import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


def test_seconds_by_model_kind_and_length(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "make", FakeMake())  # 2 s for an optimizer step, 2 s for a row
    files = {language: lab.recipe["task"]["files"][language] for language in ("en", "es")}
    small = {"targets": ["es"], "task.files": files}
    spec = lab.spec({**small, "seeds": [0]}, ("zero-shot", "lora"))
    assert not any(step.seconds for step in plan(spec, tmp_path))
    assert {step.like for step in plan(spec, tmp_path)} == {
        "stage 1 on base", "predict of zero-shot on base", "stage 2 of lora on base", "predict of lora on base",
    }  # fmt: skip
    work(build_graph([Context(spec, tmp_path / "tiny")]))
    more = lab.spec({**small, "seeds": [0, 1], "methods.lora.epochs": 5}, ("zero-shot", "lora", "flare"))
    found = {(step.kind, step.label): (step.done, step.seconds, step.like) for step in plan(more, tmp_path)}
    # 12 rows in batches of 4: 3 steps an epoch; 7 test rows
    assert found == {
        ("stage 1", "en, seed 0"): (True, None, ""),
        ("stage 1", "en, seed 1"): (False, 2 * 3 * 2, ""),
        ("predict", "zero-shot, es, seed 0"): (True, None, ""),
        ("predict", "zero-shot, es, seed 1"): (False, 7 * 2.0, ""),
        **{("stage 2", f"lora, es, seed {seed}"): (False, 5 * 3 * 2.0, "") for seed in (0, 1)},
        **{("predict", f"lora, es, seed {seed}"): (False, 7 * 2.0, "") for seed in (0, 1)},
        **{("stage 2", f"flare, es, seed {seed}"): (False, None, "stage 2 of flare on base") for seed in (0, 1)},
        **{("predict", f"flare, es, seed {seed}"): (False, None, "predict of flare on base") for seed in (0, 1)},
    }
    longer = Context(lab.spec({**small, "stage2.max_length": 30}, ("lora",)), tmp_path / "tiny")
    speeds = measured(tmp_path / "tiny")
    assert [speeds.seconds(step) is None for step in all_steps(longer) if isinstance(step, Stage1 | Stage2)] == [
        False, True, False, True,
    ]  # fmt: skip  # another length is another speed


def test_what_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"training": {"steps": 0}}')):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "crossflare.json").write_text(text)
    assert measured(tmp_path).per_step == {}


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (59, "59 s"), (61, "2 min"), (3600, "1 h 0 min"), (7.3e6, "2,027 h 47 min")]
)
def test_times_as_people_say_them(seconds: float, said: str) -> None:
    assert spoken(seconds) == said
