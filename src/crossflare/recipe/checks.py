"""What is wrong with a recipe whose values all have the right type: names that do not match, parts that are missing."""

import re
from collections import Counter
from collections.abc import Sequence

from crossflare.errors import nearest
from crossflare.fusions import FUSIONS
from crossflare.recipe.fields import Reader
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.marks import field_types, shown
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.needs import ORIGINALS
from crossflare.recipe.outside_checks import check_outside
from crossflare.recipe.spec import Spec, Training
from crossflare.recipe.task import TaskSpec
from crossflare.recipe.task_checks import check_task
from crossflare.recipe.translation import ENCODERS, EngineOptions, TranslationSpec, is_translated


def check_sources(method: MethodSpec, spec: Spec, reader: Reader) -> None:
    """Check that there is an engine for every source that a method reads."""
    path, engine = ("methods", method.name), spec.translation.to_source
    if method.about.reads_source and is_translated(str(method.test_source)):
        _needs_engine(engine, path, reader)
    if method.about.reads == "latents" and spec.translation.latents is None:
        reader.wrong(path, "reads the states of a translation encoder, but translation.latents is missing; add one")
    beside = spec.translation.translates and spec.translation.has_native
    both = method.about.trains and method.about.reads == "both"
    if beside and both and str(method.train_source).startswith(ORIGINALS):
        reader.wrong((*path, "train_source"), "the target's own rows (native) have no original; say machine, or none")
    if is_translated(method.training_source):
        _needs_engine(engine, path, reader)
        if engine is not None and engine.engine in ("parallel", "precomputed") and not engine.options:
            reader.wrong(
                (*path, "train_source"),
                f"{method.train_source} needs training rows translated back, which the set's own texts "
                f"({engine.engine}) cannot do; name an engine in translation.to_source",
            )


def check_translation(translation: TranslationSpec, task: TaskSpec | None, reader: Reader) -> None:
    """Check what the routes say about each other and about the task; None: the task could not be read."""
    routes = ("to_target", "to_source", "latents", "answers")
    engines: dict[str, EngineOptions | None] = {name: getattr(translation, name) for name in routes}
    users = [name for name, engine in engines.items() if engine is not None and engine.engine == "trained"]
    if users and translation.translator is None:
        reader.wrong(("translation", users[0]), "engine: trained needs translation.translator: what it is trained on")
    if translation.translator is not None and not users:
        reader.wrong(("translation", "translator"), "no route uses it; set engine: trained, or remove it")
    if translation.native and not translation.translates:
        reader.wrong(
            ("translation", "native"),
            f"means nothing with to_target: {translation.to_target.engine}, where all rows are the target's; take it "
            "out, or name an engine in to_target",
        )
    for name, engine in engines.items():
        if engine is not None and engine.engine == "none" and name != "to_target":
            reader.wrong(("translation", name), "expected an engine; take it out to have none")
        if engine is not None and "store" in engine.options and name != "latents":
            reader.wrong(("translation", name, "store"), "only states of an encoder (latents) are stored; take it out")
        if engine is not None and engine.options.get("learn") == "set" and task and task.lexicon is None:
            reader.wrong(
                ("translation", name, "learn"),
                f"{task.set or 'a set of own files'} brings no lexicon of its own; say learn: train or lexicon: FILE",
            )
    latents = engines["latents"]
    if latents is not None and latents.engine not in ENCODERS:
        reader.wrong(
            ("translation", "latents"),
            f"expected an engine with an encoder ({' or '.join(ENCODERS)}), got {latents.engine}",
        )
    given = translation.translator
    for part in ("dev", "test") if given is not None else ():
        first, second = (getattr(given, f"{part}_{side}_file") for side in ("source", "target"))
        if (first is None) != (second is None):
            message = f"needs {part}_source_file and {part}_target_file, or neither"
            reader.wrong(("translation", "translator"), message)


def _needs_engine(engine: EngineOptions | None, path: tuple[str, ...], reader: Reader) -> None:
    if engine is None:
        reader.wrong(path, "reads translated test rows, but translation.to_source is missing; add {engine: ...}")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_METHOD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")


def check(spec: Spec, reader: Reader) -> None:
    """Note in `reader` every contradiction; parts that could not be read are skipped."""
    if reader.sound("name") and not _NAME.fullmatch(spec.name):
        reader.wrong(
            ("name",), f"expected letters, digits and . _ + - only (it names a folder), got {shown(spec.name)}"
        )
    _languages(spec, reader)
    if reader.sound("seeds"):
        _unique("seeds", spec.seeds, reader)
    if reader.sound("task"):
        check_task(spec.task, spec, reader)
    for stage in ("stage1", "stage2"):
        training: Training = getattr(spec, stage)
        if reader.sound(stage, "lr"):
            _rates(training.lr, (stage, "lr"), reader)
        if stage == "stage2" and reader.sound(stage, "epochs") and not training.epochs:
            reader.wrong((stage, "epochs"), "expected at least 1: stage 1 can be left out, not stage 2")
        sound = reader.sound(stage, "patience") and reader.sound(stage, "evaluations")
        if sound and training.patience is not None and training.patience >= training.evaluations:
            message = f"{training.patience} can never stop a run of {training.evaluations} evaluations; lower it"
            reader.wrong((stage, "patience"), message)
        if reader.sound("task") and spec.task.asks and training.balance != "none":
            reader.wrong((stage, "balance"), "is for labels, and questions have none; take it out")
    if reader.sound("stage1", "lr") and isinstance(spec.stage1.lr, tuple) and len(spec.stage1.lr) > 1:
        reader.wrong(
            ("stage1", "lr"), "expected one learning rate: every method starts from the same stage 1; pick one"
        )
    if reader.sound("translation"):
        check_translation(spec.translation, spec.task if reader.sound("task") else None, reader)
    _methods(spec.methods or (), spec, reader)  # None where it could not be read


def _languages(spec: Spec, reader: Reader) -> None:
    if reader.sound("targets"):
        _unique("targets", spec.targets, reader)
        if reader.sound("source") and spec.source in spec.targets:
            _source_as_target(spec, reader)


def _source_as_target(spec: Spec, reader: Reader) -> None:
    """Refuse the source language as a target of methods that train in it or translate from it."""
    known = tuple(method for method in spec.methods or () if method.kind in KINDS)
    for method in known or (None,):
        why = "" if method is None else _uses_source_language(method, spec.source)
        if method is None or why:
            message = f"the source language {shown(spec.source)} is among the targets" + (why and f", but {why}")
            advice = "; take it out" + (", or say `languages` of the method" if why else "")
            reader.wrong(("targets", spec.targets.index(spec.source)), message + advice)
            return


def _uses_source_language(method: MethodSpec, source: str) -> str:
    """Return what a method would do with the source language as a target, where that is impossible; empty: nothing."""
    if method.languages and source not in method.languages:
        return ""
    if method.about.reads_source and method.test_source != "none":
        return f"{method.name} would translate it into itself"
    own_rows = method.about.learns == "probe"  # it reads them as they are
    trains = method.about.adapted and method.trained_in in ((None,) if own_rows else (None, source))
    return f"{method.name} would train an adapter in it" if trains else ""


def _unique(name: str, values: Sequence[object], reader: Reader) -> None:
    if not values:
        reader.wrong((name,), "expected at least one, got an empty list")
    for value, count in Counter(values).items():
        if count > 1:
            reader.wrong((name, values.index(value)), f"{shown(value)} stands here {count} times; keep one")


def _rates(lr: object, path: tuple[str, ...], reader: Reader) -> None:
    if lr == ():
        reader.wrong(path, "expected at least one learning rate, got an empty list")
    elif isinstance(lr, tuple) and len(set(lr)) < len(lr):  # pyright: ignore[reportUnknownArgumentType]
        reader.wrong(path, "a learning rate stands here twice; keep one")


def _methods(methods: tuple[MethodSpec, ...], spec: Spec, reader: Reader) -> None:
    if not methods and reader.sound("methods"):
        reader.wrong(("methods",), f"expected at least one of: {', '.join(KINDS)}")
    for method in methods:
        path = ("methods", method.name)
        if not _METHOD.fullmatch(method.name):
            reader.wrong(path, "expected a name of letters, digits, _ + and - only")
        if reader.sound(*path, "kind"):
            _of(method, spec, reader)
            _options(method, reader)
            check_outside(method, spec, reader)
            _through(method, spec, reader)
            if reader.sound("translation"):
                check_sources(method, spec, reader)
            if reader.sound("task"):
                _form(method, spec, reader)
            if reader.sound("task") and spec.task.asks:
                _answers(method, spec, reader)
        _rates(method.lr, (*path, "lr"), reader)
        for name, tags in (
            ("trained_in", [method.trained_in] if method.trained_in else []),
            ("languages", method.languages),
        ):
            for tag in tags:
                probe = method.kind in KINDS and method.about.learns == "probe"
                in_source = name == "trained_in" and tag == spec.source and probe
                if reader.sound("targets") and tag not in spec.targets and not in_source:
                    reader.wrong((*path, name), f"{shown(tag)} is no target: {nearest(tag, spec.targets)}")


def _of(method: MethodSpec, spec: Spec, reader: Reader) -> None:
    path = ("methods", method.name)
    about = method.about
    usable = {other.name: other for other in spec.methods if other.of is None and other.kind in about.of}
    if method.of is None:
        if about.needs_of:
            reader.wrong(
                path, f"missing `of`: the trained method that {method.kind} reads ({_known(usable, about.of)})"
            )
    elif not about.of:
        reader.wrong((*path, "of"), f"{method.kind} is made of no other method; take it out")
    elif method.of not in usable:
        reader.wrong(
            (*path, "of"), f"no trained method {shown(method.of)} to read: {_known(usable, about.of, method.of)}"
        )


def _known(usable: dict[str, MethodSpec], kinds: frozenset[str], name: str = "") -> str:
    return nearest(name, usable) if usable else f"this recipe trains none of kind {' or '.join(sorted(kinds))}"


def _options(method: MethodSpec, reader: Reader) -> None:
    path = ("methods", method.name)
    given = reader.given(*path) & (field_types(MethodSpec).keys() - {"name", "kind", "of"})
    for name in sorted(given - method.options):
        elsewhere = (
            f"say it at methods.{method.of}, which trains the adapter"
            if name in method.about.options
            else (f"{method.kind} takes {', '.join(sorted(method.options)) or 'no options'}")
        )
        reader.wrong((*path, name), f"means nothing here: {elsewhere}")
    fusion = FUSIONS[method.fusion]
    if {"fusion", "alignment"} & given and fusion.aligned == (method.alignment == "none"):
        expected = fusion.alignments + ("" if fusion.aligned else " (it aligns by itself)")
        reader.wrong((*path, "alignment"), f"expected {expected} with fusion {method.fusion}, got {method.alignment}")


def _through(method: MethodSpec, spec: Spec, reader: Reader) -> None:
    path = ("methods", method.name)
    if method.through is None:
        if method.kind == "pivot" and reader.sound(*path, "through"):
            reader.wrong(path, "missing `through`: the related language in which it is trained first")
    elif method.through == spec.source:
        reader.wrong(
            (*path, "through"), f"{shown(method.through)} is the source, where stage 1 is trained; name another"
        )
    elif reader.sound("targets") and method.through in spec.languages(method):
        reader.wrong(
            (*path, "through"),
            f"{shown(method.through)} is one of its own languages; name another, or say `languages` without it",
        )


def _form(method: MethodSpec, spec: Spec, reader: Reader) -> None:
    """Check that the form of the task has what a method needs: a head, or labels."""
    path, written = ("methods", method.name), spec.task.form == "text"
    if method.about.learns == "probe" and written:
        reader.wrong(path, "a probe puts its own regression in place of words; set task.form: head, or take it out")
    if method.about.mixes == "filter" and written:
        reader.wrong(path, f"{method.kind} is for heads, not for written answers; set task.form: head, or take it out")
    quantise = spec.model.quantise if reader.sound("model") else "none"
    if method.about.learns == "model" and quantise != "none":
        reader.wrong(path, f"all weights are trained, and those in {quantise} cannot be; set model.quantise: none")
    if method.about.joins and spec.task.long == "windows":
        reader.wrong(path, "both texts are one sequence, which is not for windows; take it out, or set task.long: cut")
    annealed = str(method.train_source).startswith("annealed(") and "train_source" in method.options
    if annealed and (written or spec.task.asks):
        advice = "annealed sources are for labels by a head; say train_source: original, machine or mixed(p)"
        reader.wrong((*path, "train_source"), advice)


def _answers(method: MethodSpec, spec: Spec, reader: Reader) -> None:
    path = ("methods", method.name)
    if method.about.learns == "probe":
        reader.wrong(path, "a probe chooses labels, and finds no spans; take it out")
    if method.about.combines:
        reader.wrong(path, f"{method.kind} combines probabilities of labels, which questions have none of; take it out")
    if method.about.reads == "source" and method.about.trains:
        reader.wrong(path, "no span of a round trip is labelled, so it is not for questions; take it out")
    elif (
        method.about.reads == "source"
        and method.test_source != "none"
        and reader.sound("translation")
        and spec.translation.answers is None
    ):
        reader.wrong(
            path, "its answers are in the source language, but translation.answers is missing; add {engine: ...}"
        )
    if method.joint and spec.task.form == "head":
        reader.wrong((*path, "joint"), "a joint adapter keeps whole items in a batch, not windows; set task.form: text")
    if method.about.padded and spec.task.form == "head":
        reader.wrong(path, f"{method.kind} is not for spans; set task.form: text")
