"""What is wrong with a method whose answers come from a file or from a prompted model, as the recipe alone tells."""

import re

from crossflare.errors import nearest
from crossflare.recipe.fields import Reader
from crossflare.recipe.marks import shown
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import Spec
from crossflare.recipe.task import PartSpec

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_outside(method: MethodSpec, spec: Spec, reader: Reader) -> None:
    """Note in `reader` what a method of kind `predictions` or `prompt` contradicts or lacks."""
    path = ("methods", method.name)
    if method.about.outside == "file":
        _file(method, spec, reader)
    elif method.about.outside == "prompt":
        given = reader.given(*path)
        if method.endpoint is None:
            usual = MethodSpec(method.name, method.kind)
            for name in ("at_once", "key_env", "timeout"):
                if name not in given or getattr(method, name) == getattr(usual, name):
                    continue
                reader.wrong((*path, name), "is of an endpoint; say endpoint, or take it out")
        else:
            if method.model is None and reader.sound(*path, "model"):
                reader.wrong(path, "missing `model`: the name that the endpoint knows the model by")
            if method.revision is not None:
                reader.wrong((*path, "revision"), "is of a model on the hub, not of an endpoint's; take it out")
        if method.revision is not None and method.model is None:
            reader.wrong((*path, "revision"), "is of `model`, which is missing; name it, or take it out")
        if method.key_env is not None and not _VARIABLE.fullmatch(method.key_env):
            said = "expected the name of an environment variable, such as MY_KEY, and never the key itself"
            reader.wrong((*path, "key_env"), said)  # what came is not shown: it may be the key
        labels = spec.task.labels if reader.sound("task") else ()
        for label in method.words if labels else ():
            if label not in labels:
                reader.wrong((*path, "words", label), f"unknown label {shown(label)}: {nearest(label, labels)}")
        if method.words and reader.sound("task") and spec.task.asks:
            reader.wrong((*path, "words"), "is for labels, and questions have none; take it out")


def _file(method: MethodSpec, spec: Spec, reader: Reader) -> None:
    path = ("methods", method.name)
    if method.file is None:
        if reader.sound(*path, "file"):
            reader.wrong(path, "missing `file`: where the answers are, such as answers-{language}.jsonl")
        return
    if not reader.sound(*path, "file"):
        return
    part = method.file if isinstance(method.file, PartSpec) else PartSpec(path=method.file)
    if not isinstance(part.path, str) or not part.path:
        reader.wrong((*path, "file"), "expected one path, with {language} where there are several languages")
        return
    for name, mistake in part.mistakes():
        reader.wrong((*path, "file", name), mistake)
    for name in sorted(
        part.given().keys() & {"texts", "source_texts", "question", "context", "answers", "answer_start"}
    ):
        reader.wrong((*path, "file", name), "means nothing for answers; take it out")
    texts = [part.path, *(value for value in part.where.values() if isinstance(value, str))]
    languages = spec.languages(method) if reader.sound("targets") else ()
    if len(languages) > 1 and not any("{language}" in text for text in texts):
        said = "names one file for several languages; write {language} in it, or say `languages` of the method"
        reader.wrong((*path, "file"), said)
