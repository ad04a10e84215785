"""What is wrong with the task of a recipe: options of own files that contradict each other, or are missing."""

from collections.abc import Sequence
from typing import get_args

from crossflare.errors import nearest
from crossflare.recipe.fields import Reader
from crossflare.recipe.marks import shown
from crossflare.recipe.needs import needs
from crossflare.recipe.spec import Spec
from crossflare.recipe.task import PartSpec, TaskSpec
from crossflare.recipe.translation import Limit
from crossflare.tasks.kinds import Metric, QuestionMetric
from crossflare.tasks.layout import QUESTION_COLUMNS, FileLayout


def check_task(task: TaskSpec, spec: Spec, reader: Reader) -> None:
    """Note in `reader` what the task of a recipe contradicts or lacks."""
    _hub(task, reader)
    if task.words and task.form == "head":
        reader.wrong(("task", "words"), "means nothing with form: head, which writes no words; take it out")
    if task.long == "windows":
        _windows(task, reader)
    if task.draw is not None and task.limit == Limit():
        reader.wrong(("task", "draw"), "draws nothing without task.limit; say how many rows, or take it out")
    if task.questions:
        _questions(task, spec, reader)
        return
    own = {"labels": task.labels, "texts": task.texts, "label": task.label, "files": task.files}
    if task.set is not None:
        more = {name: getattr(task, name) for name in ("aliases", "align", "hub")}
        for name, value in {**own, **more, **task.given()}.items():
            if value or value is False:
                reader.wrong(("task", name), f"the set {shown(task.set)} says this itself; take out set or {name}")
        _main_metric(task, get_args(QuestionMetric if task.asks else Metric), reader)
        return
    missing = [name for name, value in own.items() if not value and not _said_by_parts(task, name)]
    if len(missing) == len(own) and task.hub is None:
        reader.wrong(("task",), "expected a named `set`, or your own `files` with `labels`, `texts` and `label`")
        return
    if task.hub is not None:
        missing = [name for name in missing if name in ("texts", "label")]
    for name in missing:
        reader.wrong(("task", name), "missing; own files need labels, texts (columns), label (column) and files")
    if len(task.texts) > 2:
        reader.wrong(("task", "texts"), f"expected one column or two, got {len(task.texts)}")
    if len(set(task.labels)) < max(2 if task.hub is None or task.labels else 0, len(task.labels)):
        reader.wrong(("task", "labels"), "expected at least two labels, each once")
    for alias, label in task.aliases.items():
        if label not in task.labels and (task.labels or task.hub is None):
            reader.wrong(("task", "aliases", alias), f"unknown label {shown(label)}: {nearest(label, task.labels)}")
    for path, layout in _layouts(task):
        if layout.source_texts and layout.texts and len(layout.source_texts) != len(layout.texts):
            reader.wrong((*path, "source_texts"), f"expected as many columns as texts ({len(layout.texts)})")
        for name in QUESTION_COLUMNS:
            if getattr(layout, name):
                reader.wrong((*path, name), "is a column of questions; say questions: true, or take it out")
    _options_of_files(task, get_args(Metric), reader)
    if task.files and reader.sound("source") and reader.sound("targets"):
        _files(task, spec, reader)


def _windows(task: TaskSpec, reader: Reader) -> None:
    """Check that long texts can be read in windows; the texts of a named set are checked with the model."""
    why = ""
    if task.asks:
        why = "questions have windows of their own (max_length and stride of the stages); take it out"
    elif task.form == "text":
        why = "windows are for a head over the text; set form: head, or long: cut"
    elif any(len(layout.texts) > 1 for _, layout in _layouts(task)):
        why = "a pair of texts is read as one and is not for windows; set long: cut"
    if why:
        reader.wrong(("task", "long"), why)


def _hub(task: TaskSpec, reader: Reader) -> None:
    """Check the options of a repository on the hub."""
    if task.hub is None:
        for name in ("revision", "language_names", "language_column"):
            if getattr(task, name):
                reader.wrong(("task", name), "is of a repository on the hub; say hub, or take it out")
    elif task.files:
        reader.wrong(
            ("task", "files"), "hub has files of its own; write hf://datasets/OWNER/NAME/PATH here, without hub"
        )


def _questions(task: TaskSpec, spec: Spec, reader: Reader) -> None:
    """Check own files of questions, whose layout itself says which field is which."""
    if task.set is not None:
        reader.wrong(("task", "questions"), f"the set {shown(task.set)} says this itself; take it out")
    none = "questions are answered from a context and have no labels; take it out"
    for name in ("labels", "aliases", "words"):
        if getattr(task, name):
            reader.wrong(("task", name), none)
    for path, layout in _layouts(task):
        for name in ("texts", "label"):
            if getattr(layout, name):
                reader.wrong((*path, name), none)
        if len(layout.source_texts) not in (0, 2):
            reader.wrong((*path, "source_texts"), "expected two columns: of the question, and of its context")
    _options_of_files(task, get_args(QuestionMetric), reader)
    if not task.files and task.hub is None:
        reader.wrong(("task", "files"), "missing; expected language -> part -> file")
    elif task.files and reader.sound("source") and reader.sound("targets"):
        _files(task, spec, reader)


def _layouts(task: TaskSpec) -> list[tuple[tuple[str, ...], FileLayout]]:
    """Return the options of the task, and of each part that has its own: (where they stand, the options)."""
    parts: list[tuple[tuple[str, ...], FileLayout]] = [(("task",), task)]
    for language, given in task.files.items():
        for part, files in given.items():
            if isinstance(files, PartSpec):
                parts.append((("task", "files", language, part), files.over(task)))
    return parts


def _said_by_parts(task: TaskSpec, name: str) -> bool:
    """Whether every part itself names an option that the task does not name."""
    parts = [files for given in task.files.values() for files in given.values()]
    return bool(parts) and all(isinstance(files, PartSpec) and getattr(files, name, None) for files in parts)


def _main_metric(task: TaskSpec, metrics: Sequence[str], reader: Reader) -> None:
    if task.main_metric is not None and task.main_metric not in metrics:
        wanted = f"{', '.join(metrics[:-1])} or {metrics[-1]}"
        reader.wrong(("task", "main_metric"), f"expected {wanted}, got {task.main_metric}")


def _options_of_files(task: TaskSpec, metrics: Sequence[str], reader: Reader) -> None:
    """Check what texts and questions have in common."""
    _main_metric(task, metrics, reader)
    said: set[str] = set()
    for path, layout in _layouts(task):
        for name, mistake in layout.mistakes():
            if f"{name} {mistake}" not in said:
                said.add(f"{name} {mistake}")
                reader.wrong((*path, name), mistake)
    for language, given in task.files.items():
        for part, files in given.items():
            if not (files.path if isinstance(files, PartSpec) else files):
                reader.wrong(("task", "files", language, part), "expected `path`: a file, or a list of them")


def _files(task: TaskSpec, spec: Spec, reader: Reader) -> None:
    needed: dict[str, set[str]] = {}
    names = {each.name for each in spec.methods or ()}
    # What reads a method that is not there is told so with the methods, after the task.
    methods = (
        reader.sound("methods") and reader.sound("translation") and {each.of for each in spec.methods} <= {None, *names}
    )
    for need in needs(spec) if methods else ():
        cut = task.dev_from_train and need.part == "dev"
        needed.setdefault(need.language, set()).add("train" if cut else need.part)
    known = {spec.source, *spec.targets, *(each.through for each in spec.methods or () if each.through)}
    for language, parts in needed.items():
        given = task.files.get(language, {})
        for part in sorted(parts - set(given)):
            advice = " (or set dev_from_train)" if part == "dev" else ""
            reader.wrong(("task", "files", language, part), f"missing; expected a file{advice}")
    for language in task.files.keys() - known:
        reader.wrong(("task", "files", language), f"neither the source nor a target: {nearest(language, known)}")
