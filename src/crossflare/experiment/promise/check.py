"""The errors and warnings of a recipe before anything is made, in the same words everywhere.

Everything that depends on rows, languages, translators or a model's configuration is checked here. A recipe that passes
fails later only for reasons that cannot be known before (a full disk, damaged weights, a loss that is not a number).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossflare.errors import Kind, UserError
from crossflare.experiment.data.opening import open_set
from crossflare.experiment.data.rows import Data
from crossflare.experiment.promise.engines import check_engines
from crossflare.experiment.promise.models import check_models
from crossflare.experiment.promise.outside import check_answers
from crossflare.experiment.promise.sizes import large_models
from crossflare.experiment.steps.context import Context
from crossflare.recipe.allowed import allowed
from crossflare.recipe.spec import Spec, Training
from crossflare.recipe.strict_yaml import GatheredError
from crossflare.tasks.dataset import LanguageParts
from crossflare.tasks.hub import is_on_hub
from crossflare.tasks.layout import files_of, is_pattern, paths_of
from crossflare.training.loop.curves import missing_tracker
from crossflare.training.loop.settings import few_steps


def cautions(data: Data) -> list[str]:
    """Return the warnings, one line each: about the rows as they are in the set, and about the disk space needed."""
    return list(dict.fromkeys([*_unanswered(data), *_labels(data), *_steps(data), *large_models(data.spec)]))


def _labels(data: Data) -> Iterator[str]:
    for (language, part), known in data.check().items():
        if known.label is None:
            continue
        why = f"; task.limit takes the first of {known.rows} rows, which are sorted: raise it, or set task.draw: 0"
        said = f"{language} {part}: all {known.used} rows have the label {known.label}, so that {_SO[part]}"
        yield said + (why if known.mixed else "")


def _unanswered(data: Data) -> Iterator[str]:
    for (language, part), known in data.check().items():
        if known.left_out:
            of = f"{known.left_out} of {known.left_out + known.rows} questions"
            why = "only answers that stand in the context are learnt and scored"
            yield f"{language} {part}: {of} have no answer and are left out: {why}"


_SO = {
    "train": "nothing is learnt from them",
    "dev": "they choose nothing",
    "test": "scores there show nothing",
}


def _steps(data: Data) -> Iterator[str]:
    spec, parts = data.spec, data.check()
    trainings = {"stage1": (spec.stage1, spec.source)} if spec.has_stage1 else {}
    for method in spec.methods:
        if method.about.trains and method.about.learns != "probe" and method.of is None:
            own = (spec.targets[0], "train") in parts
            trainings[method.name] = (spec.training(method), spec.targets[0] if own else spec.source)
    few: dict[str, list[str]] = {}
    for name, (training, language) in trainings.items():
        if (language, "train") in parts and (said := few_steps(_count(training, parts[language, "train"].used))):
            few.setdefault(said, []).append(name)
    yield from (f"{', '.join(names)}: {said}" for said, names in few.items())


def _count(training: Training, rows: int) -> int:
    return math.ceil(training.epochs * math.ceil(math.ceil(rows / training.batch_size) / training.accumulation))


class _Wrong:
    """Mistakes, each with the cells that have it."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._kinds: list[Kind] = []

    def add(self, context: Context, error: UserError | str) -> None:
        self._kinds.append(error.kind if isinstance(error, UserError) else "usage")
        lines = error.lines if isinstance(error, GatheredError) else (str(error),)
        for line in lines:
            names = self._found.setdefault(line, [])
            if (name := context.cell) not in names:
                names.append(name)

    def stop(self) -> None:
        if self._found:
            raise GatheredError((line + self._named(names) for line, names in self._found.items()), self._kinds[0])

    def _named(self, names: list[str]) -> str:
        if names == [""]:
            return ""
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f" (cells {'; '.join(names[:3])}{more})"


def check(contexts: Sequence[Context], *, fetch: bool = True) -> None:
    """Refuse recipes that cannot run to their end.

    Args:
        contexts: One for each cell.
        fetch: Whether rows, configurations and tokenizers on the hub may be fetched; otherwise only things on this
            machine are checked.

    Raises:
        GatheredError: One line for each mistake, with the cells that have it.
    """
    wrong = _Wrong()
    for context in contexts:
        for line in [*missing_paths(context.spec), *filter(None, [missing_tracker(context.spec.track)])]:
            wrong.add(context, line)
    wrong.stop()
    there = [context for context in contexts if fetch or not context.data.fetched]
    for context in there:
        try:
            context.data.check()  # rows first: the memory of their outlines is free again when models are checked
        except UserError as error:
            wrong.add(context, error)
    wrong.stop()
    for context in contexts:
        for line in check_engines(context.data, fetch=fetch):
            wrong.add(context, line)
    for context, line in [*check_models(there, fetch=fetch), *check_answers(there, fetch=fetch)]:
        wrong.add(context, line)
    wrong.stop()


def methods_allowed(spec: Spec) -> list[str]:
    """Return lines that say which kinds of method a recipe's data allow, and why not the others; no row is read.

    Raises:
        UserError: The set cannot be opened.
    """
    cut = spec.task.dev_from_train is not None
    absent = {(language, part) for language, part, _ in _absent_files(spec)}
    files = {
        language: {part: given for part, given in parts.items() if (language, part) not in absent}
        for language, parts in spec.task.files.items()
    }
    spec = replace(spec, task=replace(spec.task, files=files))
    data = open_set(replace(spec, task=replace(spec.task, dev_from_train=None)))
    parts = {each: set(data.parts(each)) for each in data.languages}
    parts = {each: there | ({"dev"} if cut and "train" in there else set()) for each, there in parts.items()}

    def paired(language: str, part: str) -> bool:
        part = "train" if cut and part == "dev" else part
        return not isinstance(data, LanguageParts) or data.has_sources(language, part, spec.source)

    reasons: dict[str, list[str]] = {}
    for kind, reason in allowed(spec, parts, paired).items():
        reasons.setdefault(reason, []).append(kind)
    possible = ", ".join(reasons.pop("", ["none"]))
    return [f"methods that the data allow: {possible}"] + [f"not {', '.join(k)}: {why}" for why, k in reasons.items()]


def missing_paths(spec: Spec) -> list[str]:
    """Return a line for each local file or folder that a recipe names and that does not exist."""
    found: dict[str, Any] = {"task.folder": spec.task.folder}
    if spec.model.name.startswith("/"):
        found["model.name"] = spec.model.name
    if (spec.task.hub or "").startswith("/"):
        found["task.hub"] = spec.task.hub
    missing: list[str] = []
    for language, part, path in _absent_files(spec):
        what = "files of such names" if is_pattern(path) else "a file or folder"
        missing.append(f"task.files.{language}.{part}: expected {what} at {path}, found none")
    return missing + [
        f"{name}: expected a file or folder at {path}, found none"
        for name, path in found.items()
        if path is not None and not Path(path).exists()
    ]


def _absent_files(spec: Spec) -> Iterator[tuple[str, str, Path]]:
    """Yield (language, part, path) of each of the user's own files that does not exist."""
    for language, parts in spec.task.files.items():
        for part, given in parts.items():
            yield from (
                (language, part, path) for path in paths_of(given) if not is_on_hub(path) and not files_of(path)
            )
