"""What is wrong with a recipe's translation: engines that are missing, or asked for what they cannot do."""

from crossflare.experiment.fields import Reader
from crossflare.experiment.method_spec import MethodSpec
from crossflare.experiment.named import ENCODERS, is_translated
from crossflare.experiment.spec import Spec, TaskSpec
from crossflare.experiment.translation_spec import EngineOptions, TranslationSpec


def check_sources(method: MethodSpec, spec: Spec, reader: Reader) -> None:
    """Check that there is an engine for every source that a method reads."""
    path, engine = ("methods", method.name), spec.translation.to_source
    if method.about.reads_source and is_translated(method.test_source):
        _needs_engine(engine, path, reader)
    if is_translated(method.training_source):
        _needs_engine(engine, path, reader)
        if engine is not None and engine.engine in ("parallel", "precomputed") and not engine.options:
            reader.wrong(
                (*path, "train_source"),
                f"{method.train_source} needs training rows translated back, which the set's own texts "
                f"({engine.engine}) cannot do; name an engine in translation.to_source",
            )


def check_translation(translation: TranslationSpec, task: TaskSpec | None, reader: Reader) -> None:
    """Check what the routes say of each other and of the task; None: it could not be read."""
    routes = ("to_target", "to_source", "latents", "answers")
    engines: dict[str, EngineOptions | None] = {name: getattr(translation, name) for name in routes}
    users = [name for name, engine in engines.items() if engine is not None and engine.engine == "trained"]
    if users and translation.translator is None:
        reader.wrong(("translation", users[0]), "engine: trained needs translation.translator: what it is trained on")
    if translation.translator is not None and not users:
        reader.wrong(("translation", "translator"), "is trained for nobody; name engine: trained, or take it out")
    for name, engine in engines.items():
        if engine is not None and "store" in engine.options and name != "latents":
            reader.wrong(("translation", name, "store"), "only states of an encoder (latents) are stored; take it out")
        if engine is not None and engine.options.get("learn") == "set" and task and task.set != "phrasebook":
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
