"""What makes a number of labels mean less than it seems: labels that no test row has, and models that say one thing."""

from crossflare.evaluation.predictions import Predictions
from crossflare.report.runs import RunFolder
from crossflare.training.settings import few_steps

RULES = {
    "met": "macro-F1 is the mean over the labels that occur there or were predicted",
    "all": "macro-F1 counts each such label as 0, by the rule of these older records",
}
"""`Record.labels` -> what it means for labels that do not occur."""


def label_warnings(folder: RunFolder) -> list[str]:
    """Return a line for each language and method whose scores need one; of questions those that are left out."""
    return [*_unanswerable(folder), *_absent(folder), *_barely_trained(folder), *_collapsed(folder)]


def _unanswerable(folder: RunFolder) -> list[str]:
    found: list[str] = []
    for language in folder.languages:
        records = [run.record for method in folder.methods for run in folder.of(method, language)]
        count = max((int(record.counts.get("unanswerable", 0)) for record in records), default=0)
        if count:
            found.append(f"{language}: {count} test questions have no answer and are left out of the scores.")
    return found


def _absent(folder: RunFolder) -> list[str]:
    found: list[str] = []
    for language in folder.languages:
        runs = [run for method in folder.methods for run in folder.of(method, language)]
        seen = next((run.predictions for run in runs if isinstance(run.predictions, Predictions)), None)
        if seen is None:
            continue
        names = [str(label) for label in runs[0].record.task["labels"]]
        there = set(seen.gold.tolist())
        absent = [name for place, name in enumerate(names) if place not in there]
        if len(there) == 1:
            only = names[there.pop()]
            found.append(
                f"{language}: every test row has the label {only}: a model that says nothing else scores 100 there, so "
                "its scores show nothing."
            )
        elif absent:
            rules = "; ".join(RULES[rule] for rule in dict.fromkeys(run.record.labels for run in runs))
            found.append(f"{language}: no test row has the label {' or '.join(absent)}; {rules}.")
    return found


def _barely_trained(folder: RunFolder) -> list[str]:
    found: list[str] = []
    for method in folder.methods:
        records = [run.record for language in folder.languages for run in folder.of(method, language)]
        said = {few_steps(int(record.training.get("steps", 0))) for record in records}
        only = {f"all {part} rows had the label {label}" for record in records
                for part, label in dict(record.data.get("one_label") or {}).items()}  # fmt: skip
        found += [f"{method}: {line}." for line in sorted({*said, *only} - {""})]
    return found


def _collapsed(folder: RunFolder) -> list[str]:
    found: list[str] = []
    for method in folder.methods:
        places: list[str] = []
        for language in folder.languages:
            seeds = [run.record.seed for run in folder.of(method, language) if _says_one_thing(run.predictions)]
            places += [f"{language} (seed {', '.join(map(str, seeds))})"] if seeds else []
        if places:
            found.append(
                f"{method} gave every test row the same label in {'; '.join(places)}: it learnt nothing to tell them"
                " apart."
            )
    return found


def _says_one_thing(predictions: object) -> bool:
    """Whether all rows got one label, though they have more than one."""
    if not isinstance(predictions, Predictions):
        return False
    return len(set(predictions.predicted.tolist())) == 1 < len(set(predictions.gold.tolist()))
