"""What each method of a run is, in words: its kind and the options that set it apart."""

from collections.abc import Mapping
from typing import Any

from crossflare.experiment.kinds import KINDS
from crossflare.report.collect import Results

TRAIN_SOURCES = {
    "machine": "its training sources are translations, as at test time",
    "shuffled": "control: in training each row has the translation of another row as source",
    "none": "control: trained without any source",
}
TEST_SOURCES = {
    "oracle": "upper bound: it reads the set's own source text at test time",
    "shuffled": "control: at test time each row has the translation of another row as source",
    "none": "control: it reads no source at test time",
}
"""Option -> what it means; the usual ones go without saying."""


def descriptions(results: Results) -> tuple[tuple[str, str], ...]:
    """Return each method's name with a sentence on it; what the records and the recipe leave open is left out."""
    said = {str(run.record.method["name"]): run.record.method for run in results.folder.runs.values()}
    found = (
        (name, _describe({**results.folder.options(name), **said.get(name, {})})) for name in results.folder.methods
    )
    return tuple((name, text) for name, text in found if text)


def _describe(options: Mapping[str, Any]) -> str:
    kind = str(options.get("kind"))
    about = [KINDS[kind].about] if kind in KINDS else []
    about += [f"reads the adapters of {options['of']}"] if options.get("of") else []
    if options.get("trained_in"):
        about.append(f"one adapter, trained in {options['trained_in']}, for all languages")
    about += [TRAIN_SOURCES[name] for name in [str(options.get("train_source"))] if name in TRAIN_SOURCES]
    if kind != "flare-no-source":  # the kind itself says so
        about += [TEST_SOURCES[name] for name in [str(options.get("test_source"))] if name in TEST_SOURCES]
    if options.get("languages"):
        about.append(f"run only in {', '.join(map(str, options['languages']))}")
    return "; ".join(about)
