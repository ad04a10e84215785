"""Opening the data that a recipe names: a set, or the user's own files."""

from dataclasses import asdict, replace
from typing import Any, cast

from crossflare.errors import UserError
from crossflare.recipe.spec import Spec
from crossflare.recipe.task import TaskSpec
from crossflare.tasks.dataset import DataSet, LanguageParts
from crossflare.tasks.kinds import Metric, QuestionMetric
from crossflare.tasks.own import Files

SEED_OF_DEV = 0
"""The seed for cutting dev rows: one for all seeds of an experiment, since their scores are compared."""


def open_set(spec: Spec) -> DataSet:
    """Open the recipe's data: a named set or the user's own files; cut dev from train if the recipe says so."""
    from crossflare.tasks.cutting import with_dev, with_draw
    from crossflare.tasks.own import own_questions, own_set
    from crossflare.tasks.sets import load_set

    task = _of_repository(spec)
    if task.set is not None:
        sizes = {part: n for part, n in asdict(task.limit).items() if n}
        data: DataSet = load_set(task.set, task.folder, **sizes)
        if task.main_metric is not None:
            assert isinstance(data, LanguageParts), "every named set is made of such parts"
            data = data.chosen_by(task.main_metric)
    elif task.questions:
        data = own_questions(
            spec.name,
            _files(task),
            layout=task,
            align=task.align,
            source_language=spec.source,
            main_metric=cast(QuestionMetric, task.main_metric or "f1"),
        )
    else:
        data = own_set(
            spec.name,
            _files(task),
            task.labels,
            layout=task,
            aliases=task.aliases,
            align=task.align,
            source_language=spec.source,
            main_metric=cast(Metric, task.main_metric or "accuracy"),
        )
    data = with_dev(data, task.dev_from_train, SEED_OF_DEV) if task.dev_from_train else data
    limited = [part for part, rows in asdict(task.limit).items() if rows]
    return data if task.draw is None else with_draw(data, task.draw, limited)


def _of_repository(spec: Spec) -> TaskSpec:
    """Return the task with the files of its repository on the hub, and its labels if the task names none."""
    from crossflare.tasks.hub import open_repository

    task = spec.task
    if task.hub is None:
        return task
    repository = open_repository(task.hub, task.revision)
    files = repository.files((spec.source, *spec.targets), task.language_names, task.language_column)
    names, in_files = ((), True) if task.questions else repository.labels(str(task.named("label")), files)
    labels = task.labels or names
    if not labels and not task.questions:
        raise UserError(f"{task.hub}: says no names of its labels; say task.labels, in the order that the model has")
    numbered = {} if in_files else {str(n): name for n, name in enumerate(names) if name in labels}
    aliases = {number: name for number, name in numbered.items() if number not in labels} | task.aliases
    return replace(task, files=cast(Any, files), labels=labels, aliases=aliases)


def _files(task: TaskSpec) -> Files:
    return {language: {str(part): given for part, given in parts.items()} for language, parts in task.files.items()}
