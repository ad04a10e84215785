"""peft's own tests, with FlareConfig in the place of LoraConfig: what passes, what is refused by design, what fails.

    make peft-suite PEFT_TESTS=FOLDER [ARGS="-k decoder"]

FOLDER is the folder `tests` of peft's repository, of the release that is installed. They are run once as they are, the
control, once with FLARE without a source, and once with one (the text itself, backwards). A case counts as failed where
LoRA passes. Models that they would download are built from their configuration instead; what else needs a download (a
tokenizer, a data set) is counted as skipped.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

KINDS = {
    "optfor": "opt", "gpt2": "gpt2", "neox": "gpt_neox", "gptj": "gptj", "bloom": "bloom", "llama": "llama",
    "mistral": "mistral", "gemma": "gemma2", "qwen2": "qwen2", "distilbert": "distilbert", "roberta": "roberta",
    "deberta": "deberta-v2", "bert": "bert", "mt5": "mt5", "t5": "t5", "bart": "bart",
}  # fmt: skip
"""Part of a model's name -> the type of model that is built for it."""
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 1024}
FEED = {"intermediate_size": 24, "ffn_dim": 24, "d_ff": 24, "word_embed_proj_dim": 16, "num_layers": 2, "d_kv": 4}
DOWNLOADS = (
    "LocalEntryNotFound",
    "OfflineMode",
    "couldn't connect",
    "offline mode",
    "Couldn't reach",
    "HF_HUB_OFFLINE",
)
RUNS = ("lora", "flare", "flare with a source")


def build(cls: Any, name: str, **_: Any) -> Any:
    """Return a small model of the type that a name tells, with the same weights each time."""
    import torch
    from transformers import AutoConfig

    kind = next((kind for part, kind in KINDS.items() if part in name.lower()), None)
    if kind is None:
        pytest.skip(f"{name} would be downloaded")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = cls.from_config(AutoConfig.for_model(kind, **SIZES, **FEED))
    model.name_or_path = model.config._name_or_path = name
    return model.eval()


def _built_unless_here(plain: Any) -> Any:
    """Return a `from_pretrained` that loads a folder as `plain` does, and builds what has another name."""

    def load(cls: Any, name: Any, *args: Any, **kwargs: Any) -> Any:
        return plain(cls, name, *args, **kwargs) if os.path.isdir(str(name)) else build(cls, str(name), **kwargs)

    return classmethod(load)


class Plugin:
    """Replaces the configuration and the models, and counts."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.outcomes: dict[str, str] = {}
        """Case -> passed, skipped, failed, or refused and why."""
        self.check: Any = None
        """What refuses a configuration, while the cases are collected."""

    def pytest_configure(self, config: pytest.Config) -> None:
        """Put FLARE and the small models in their places."""
        import peft

        from crossflare.libraries.guard import name

        if importlib.util.find_spec("diffusers") is None:
            stand_in: Any = types.ModuleType("diffusers")
            stand_in.StableDiffusionPipeline, stand_in.__version__ = object, "0.0"
            sys.modules.setdefault("diffusers", stand_in)
        auto: Any = name("transformers.models.auto.auto_factory:_BaseAutoModelClass")
        name("transformers.models.auto.modeling_auto:AutoModel")  # all of them are there now
        for each in (auto, *auto.__subclasses__()):
            if "from_pretrained" in vars(each):
                each.from_pretrained = _built_unless_here(each.from_pretrained.__func__)
        if self.run == "lora":
            return
        import crossflare
        from crossflare.fusion.inputs import Inputs

        peft.LoraConfig = config_class = crossflare.FlareConfig
        # Some files make configurations while pytest collects them: a refusal there would take all their cases along.
        # It waits for the case, which meets it when the adapter is put on a model.
        self.check, config_class.check = config_class.check, lambda _: None  # type: ignore[method-assign]
        if self.run == "flare with a source":
            inputs: Any = Inputs
            take = inputs.take.__func__

            def with_source(cls: Any, model: Any, args: Any, kwargs: dict[str, Any]) -> Any:
                if kwargs.get("input_ids") is not None and kwargs.get("source_input_ids") is None:
                    kwargs = kwargs | {"source_input_ids": kwargs["input_ids"].flip(1)}
                return take(cls, model, args, kwargs)

            inputs.take = classmethod(with_source)

    def pytest_collection_finish(self) -> None:
        """Check configurations again, and keep the tests offline.

        Those of peft go online for what their cache lacks, and then wait for a network.
        """
        if self.check is not None:
            import crossflare

            crossflare.FlareConfig.check = self.check
        for module in list(sys.modules.values()):
            if "hub_online_once" in vars(module):
                vars(module)["hub_online_once"] = lambda *_, **__: nullcontext()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file whose cases cannot be collected as one that fails."""
        if report.failed:
            self.outcomes[report.nodeid] = f"failed: not collected ({str(report.longrepr).splitlines()[-1]:.90})"

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
        """Sort the outcome of a case."""
        report = (yield).get_result()
        if report.skipped:
            self.outcomes[item.nodeid] = "skipped"
        elif report.passed and call.when == "call":
            self.outcomes.setdefault(item.nodeid, "passed")
        elif report.failed and call.excinfo is not None:
            self.outcomes[item.nodeid] = _sort(call.excinfo)


def _sort(found: pytest.ExceptionInfo[BaseException]) -> str:
    from crossflare.errors import UserError

    error: BaseException | None = found.value
    while error is not None:
        if isinstance(error, UserError):
            words = ["FOLDER" if word.startswith(os.sep) else word for word in str(error).split()[:6]]
            return f"refused: {' '.join(words)} ..."
        if any(sign in f"{type(error).__name__} {error}" for sign in DOWNLOADS):
            return "skipped"
        error = error.__cause__ or error.__context__
    return f"failed: {found.typename}: {str(found.value).strip().partition(chr(10))[0][:90]}"


def _place(case: str) -> str:
    """Return what a case is called in the control: a name may hold its configuration's."""
    return case.replace("FlareConfig", "LoraConfig").replace("Flare", "Lora").replace("flare", "lora")


def one(run: str, arguments: list[str], place: Path) -> None:
    """Run the tests once, and write down case and outcome."""
    plugin = Plugin(run)
    pytest.main(
        ["-q", "--tb=no", "-p", "no:cacheprovider", "-W", "ignore", "--continue-on-collection-errors", *arguments],
        plugins=[plugin],
    )
    place.write_text("".join(f"{case}\t{outcome}\n" for case, outcome in plugin.outcomes.items()))


def main() -> None:
    """Run all three, each in a process of its own, and print the counts."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).exists():
        sys.exit(
            "usage: peft_suite.py FOLDER [arguments of pytest]; FOLDER: `tests` of peft's repository, or a file of it"
        )
    if (run := os.environ.get("PEFT_SUITE_RUN")) is not None:
        one(run, sys.argv[1:], Path(os.environ["PEFT_SUITE_PLACE"]))
        return
    outcomes: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run in RUNS:
            place = Path(folder) / run
            more = {"PEFT_SUITE_RUN": run, "PEFT_SUITE_PLACE": str(place), "HF_HUB_OFFLINE": "1"}
            subprocess.run([sys.executable, __file__, *sys.argv[1:]], env=os.environ | more, stdout=subprocess.DEVNULL)
            lines = place.read_text().splitlines() if place.is_file() else []
            outcomes[run] = dict(line.split("\t", 1) for line in lines if "\t" in line)
    control = {_place(case): kind for case, kind in outcomes["lora"].items()}
    for run, cases in outcomes.items():
        rows = [
            kind
            for case, kind in cases.items()
            if not (kind.startswith("failed") and control.get(_place(case), "passed") != "passed")
        ]
        counts = Counter(kind.partition(":")[0] for kind in rows)
        print(f"{run}: {len(cases)} cases, {dict(counts)}, {len(cases) - len(rows)} fail with LoRA, too")
        for kind, count in Counter(kind for kind in rows if ":" in kind).most_common(30):
            print(f"  {count:5} {kind}")


if __name__ == "__main__":
    main()
