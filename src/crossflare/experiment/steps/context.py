"""The context that the steps of one experiment share: recipe, folders, data and the base model's identity."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from crossflare.disk.files import content_id, digest_file
from crossflare.experiment.data.controls import digest
from crossflare.experiment.data.rows import Data
from crossflare.recipe.engines import model_place
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import ModelSpec, Spec
from crossflare.tasks.example import Split


class Context:
    """One recipe in one folder."""

    def __init__(self, spec: Spec, folder: Path, shared: Path | None = None, data: Data | None = None) -> None:
        """Set the recipe and its folders.

        Args:
            spec: The recipe.
            folder: The recipe's own folder, for its records, predictions and report.
            shared: The folder that recipes share, for models, checkpoints, translations, states and locks. Steps are
                named by their content there, so different work cannot collide. None: `folder`.
            data: The rows, if another recipe over the same rows has opened them; None: opened when needed.
        """
        self.spec = spec
        self.folder = folder
        self.shared = folder if shared is None else shared
        self.data = data or Data(spec, self.shared)
        self._ids: dict[Hashable, str] = {}
        self._models: dict[ModelSpec, dict[str, Any]] = {}

    @property
    def cell(self) -> str:
        """The name of the recipe's cell; empty for a plain recipe."""
        return "" if self.folder == self.shared else self.folder.name

    def remember(self, step: Hashable, make: Callable[[], str]) -> str:
        """Return the id of a step, computed once; if it cannot be computed yet, `make` raises and nothing is kept."""
        if step not in self._ids:
            self._ids[step] = make()
        return self._ids[step]

    @cached_property
    def base_key(self) -> dict[str, Any]:
        """The base model's `model_key`, with the words in which it answers."""
        written = {} if self.spec.task.form == "head" else {"form": "text", "words": self.spec.task.words}
        return self.model_key(self.spec.model) | written

    def model_key(self, model: ModelSpec) -> dict[str, Any]:
        """Return a model's name and revision, and the hashes of its files if they are on this machine.

        For a model from a package, its weights stand for all files: they are known, and the package has one version.
        """
        if model not in self._models:
            self._models[model] = _model_key(model)
        return self._models[model]

    @staticmethod
    def training_source(reads: str) -> str:
        """Return the source of the training rows of an adapter that reads the source `reads`."""
        return "original" if reads in ("none", "latents") else reads

    def training_rows(self, languages: Sequence[str], reads: str, seed: int = 0) -> tuple[Split, Split]:
        """Return the train and dev rows in the target languages for an adapter that reads the source `reads`."""
        made = self.training_source(reads)
        return self.data.joint(languages, "train", made, seed), self.data.joint(languages, "dev", made, seed)

    def training_key(self, languages: Sequence[str], reads: str) -> str:
        """Return a content id of these rows that needs no translation: the set's rows, and the engine for them."""
        if len(languages) > 1:
            return content_id([self.training_key((each,), reads) for each in languages])
        (language,) = languages
        engine = self.data.translations.identity_to_target(language)
        own: list[Any] = []
        if engine is None:
            rows = [digest(self.data.training(language, part, "original")) for part in ("train", "dev")]
        else:
            rows = [self.data.source_task(part).digest for part in ("train", "dev")]
            native = [self.data.native(language, part) for part in ("train", "dev")]
            if any(native):
                own = [self.spec.translation.native, *(part and part.digest for part in native)]
        kind = "original" if reads == "none" else reads
        drop = self.spec.translation.drop
        dropped = [list(drop)] if drop else []
        return content_id([rows, engine, kind, dict(self.data.identity(language, kind) or {}), *dropped, *own])

    def dev_key(self, language: str, test_source: str) -> str:
        """Return a content id of the dev rows that are read like test rows."""
        return content_id(["dev", self.training_key((language,), self.data.dev_source(test_source))])

    def test_key(self, language: str, test_source: str) -> str:
        """Return a content id of the test rows and of the engine that translates them."""
        rows = self.data.test(language, test_source if self.data.brings(test_source) else "none").digest
        return content_id([rows, test_source, dict(self.data.identity(language, test_source) or {})])

    def mt_dim(self, method: MethodSpec, language: str) -> int | None:
        """Return the size of the translation encoder's states that a method fuses with; None: it fuses with text."""
        return self.data.translations.encoder(language).encoder_size if method.about.reads == "latents" else None


def _model_key(model: ModelSpec) -> dict[str, Any]:
    from crossflare.training.bases.packaged import BASES

    folder, packaged = Path(model_place(model.name)), BASES.get(model.name)
    weights = [digest_file(path) for path in sorted(folder.glob("*.safetensors"))] if folder.is_dir() else []
    weights = weights if packaged is None else packaged.content
    key: dict[str, Any] = {"name": model.name, "revision": model.revision, "weights": weights}
    key |= {} if model.quantise == "none" else {"quantise": model.quantise}
    if weights and packaged is None:
        rest = [path for suffix in ("json", "txt", "model") for path in sorted(folder.glob(f"*.{suffix}"))]
        key |= {"name": folder.name, "files": {path.name: digest_file(path) for path in rest}}
    return key


def by_language(languages: tuple[str, ...], one: Callable[[str], Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Return what `one` returns for a single language; for several, a dict by tag; None if it returns None for all."""
    found = {each: dict(said) for each in languages if (said := one(each)) is not None}
    return found.get(languages[0]) if len(languages) == 1 else found or None
