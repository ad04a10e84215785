"""Opening the data of a recipe: a named set, one of the laboratory's, or the user's own files."""

from crossflare.experiment.spec import Spec
from crossflare.tasks.dataset import DataSet

SEED_OF_DEV = 0
"""The dev rows are cut alike for every seed of an experiment: their scores are compared."""


def open_set(spec: Spec) -> DataSet:
    """Open the recipe's data: a named set or the user's own files; cut dev from train if it says so."""
    from crossflare.tasks.cutting import with_dev
    from crossflare.tasks.own import own_questions, own_set
    from crossflare.tasks.reading import Columns
    from crossflare.tasks.sets import load_set

    task = spec.task
    if task.set == "phrasebook":
        from crossflare.tasks.phrasebook import phrasebook

        limit = task.limit
        data: DataSet = phrasebook(0, **{part: n for part in ("train", "dev", "test") if (n := getattr(limit, part))})
    elif task.set is not None and task.set.startswith("lab-"):
        from crossflare.lab.sets import load

        limit = task.limit
        data = load(task.set, **{part: n for part in ("train", "dev", "test") if (n := getattr(limit, part))})
    elif task.set is not None:
        data = load_set(task.set, task.folder)
    elif task.questions:
        files = {language: {str(part): path for part, path in given.items()} for language, given in task.files.items()}
        data = own_questions(
            spec.name, files, align=task.align or "id", source_language=spec.source, quotes=task.quotes
        )
    else:
        columns = Columns(
            texts=task.texts, label=task.label or "label", id=task.id, source_texts=task.source_texts or None
        )
        files = {language: {str(part): path for part, path in given.items()} for language, given in task.files.items()}
        data = own_set(
            spec.name,
            files,
            task.labels,
            columns=columns,
            aliases=task.aliases,
            align=task.align,
            source_language=spec.source,
            quotes=task.quotes,
        )
    return with_dev(data, task.dev_from_train, SEED_OF_DEV) if task.dev_from_train else data
