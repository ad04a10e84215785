"""The engines by name, and how one is built from a recipe's `{engine: name, ...options}`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_origin

from crossflare.errors import UserError, choose, nearest
from crossflare.languages import find_language
from crossflare.translation.engines import apertium, bergamot
from crossflare.translation.engines.ct2 import CTranslate2
from crossflare.translation.engines.dictionary import Dictionary
from crossflare.translation.engines.hf import Transformers
from crossflare.translation.engines.lexicon import Lexicon, learn
from crossflare.translation.engines.precomputed import Precomputed, check_pairs, read_pairs
from crossflare.translation.engines.protocol import Translator, check_pair


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that a recipe can name."""

    make: Callable[..., Translator]
    """Its keyword parameters are the options."""
    description: str
    licence: str

    @property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """Options by name; one without a default must be given."""
        return inspect.signature(self.make, eval_str=True).parameters


def make_engine(options: Mapping[str, Any]) -> Translator:
    """Return the engine that a recipe describes.

    Args:
        options: `engine` names one of `ENGINES`; the rest are its options.

    Raises:
        UserError: No such engine, an unknown option (the message names the nearest), a missing one, or one of a wrong
            type.
    """
    names = ", ".join(ENGINES)
    if "engine" not in options:
        raise UserError(f"expected `engine:` with one of {names}, found {', '.join(map(str, options)) or 'nothing'}")
    name = choose("translation engine", options["engine"], ENGINES)
    known = ENGINES[name].options
    given = {str(key): value for key, value in options.items() if key != "engine"}
    for key, value in given.items():
        if key not in known:
            raise UserError(f"unknown option '{key}' of the engine {name}: {nearest(key, known)}")
        wanted = known[key].annotation
        if not _fits(value, wanted):
            kind = getattr(wanted, "__name__", str(wanted))
            raise UserError(f"option '{key}' of the engine {name}: expected {kind}, found {value!r}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in given:
            raise UserError(f"the engine {name} needs the option '{key}'; its options are {', '.join(known)}")
    return ENGINES[name].make(**given)


def _fits(value: object, wanted: Any) -> bool:
    kinds = [get_origin(kind) or kind for kind in (get_args(wanted) if isinstance(wanted, UnionType) else (wanted,))]
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, (*kinds, int) if float in kinds else tuple(kinds))


def _pair(source: str, target: str) -> tuple[str, str]:
    pair = find_language(source).tag, find_language(target).tag
    check_pair(*pair)
    return pair


def named(paths: Sequence[str | None], pair: tuple[str, str]) -> list[str | None]:
    """Return paths with `{source}`, `{target}` and `{language}` filled in, so that one recipe serves many languages.

    Args:
        paths: The paths as the recipe has them; other braces stay.
        pair: Source and target tags; `{language}` is the one that is not English.

    Raises:
        UserError: `{language}` could be either; write `{source}` or `{target}`.
    """
    others = [tag for tag in pair if tag.split("-")[0] != "en"]
    filled: list[str | None] = []
    for path in paths:
        if path is not None and "{language}" in path:
            if len(others) != 1:
                raise UserError(
                    f"{path}: {{language}} could be {' or '.join(pair)}; write {{source}} or {{target}} instead"
                )
            path = path.replace("{language}", others[0])
        filled.append(path and path.replace("{source}", pair[0]).replace("{target}", pair[1]))
    return filled


def _dictionary(
    *,
    source: str,
    target: str,
    lexicon: str | None = None,
    source_file: str | None = None,
    target_file: str | None = None,
    pairs_file: str | None = None,
    source_column: str = "source",
    target_column: str = "target",
    iterations: int = 10,
    minimum: float = 0.0,
    licence: str = "that of the lexicon",
) -> Translator:
    pair = _pair(source, target)
    lexicon, source_file, target_file, pairs_file = named((lexicon, source_file, target_file, pairs_file), pair)
    if lexicon is not None:
        if (source_file or target_file or pairs_file) is not None:
            raise UserError("expected a lexicon, or aligned texts to learn one from, found both; leave one out")
        return Dictionary({pair: Lexicon.load(lexicon)}, licence)
    pairs = read_pairs(
        source_file=source_file,
        target_file=target_file,
        pairs_file=pairs_file,
        source_column=source_column,
        target_column=target_column,
    )
    there = learn(pairs, iterations, minimum)
    back = learn([(text, other) for other, text in pairs], iterations, minimum)
    return Dictionary({pair: there, (pair[1], pair[0]): back}, licence)


def _apertium(
    *,
    source: str,
    target: str,
    modes: str = apertium.MODES,
    via: str | list[str] | None = None,
) -> Translator:
    stops = [via] if isinstance(via, str) else [str(tag) for tag in via or ()]
    return apertium.Apertium(source, target, modes, stops)


def _precomputed(
    *,
    source: str,
    target: str,
    source_file: str | None = None,
    target_file: str | None = None,
    pairs_file: str | None = None,
    source_column: str = "source",
    target_column: str = "target",
    check: bool = True,
    licence: str = "that of the files",
) -> Translator:
    pair = _pair(source, target)
    source_file, target_file, pairs_file = named((source_file, target_file, pairs_file), pair)
    pairs = read_pairs(
        source_file=source_file,
        target_file=target_file,
        pairs_file=pairs_file,
        source_column=source_column,
        target_column=target_column,
    )
    if check:
        check_pairs(pairs, pairs_file or f"{source_file} and {target_file}")
    return Precomputed(pairs, *pair, licence=licence)


MODEL_LICENCES = (
    "the model's: NLLB CC-BY-NC-4.0 (not for commercial use), M2M-100 and mBART-50 MIT, MADLAD Apache-2.0, OPUS-MT"
    " CC-BY-4.0"
)

ENGINES: Mapping[str, Engine] = {
    "transformers": Engine(
        Transformers,
        "NLLB-200 (202 languages), M2M-100 (100), MADLAD-400 (450), mBART-50 and Marian (OPUS-MT) models, from the hub"
        " or a folder",
        MODEL_LICENCES,
    ),
    "ctranslate2": Engine(
        CTranslate2,
        "the same models in CTranslate2's form, several times faster on a processor (extra ct2)",
        MODEL_LICENCES,
    ),
    "dictionary": Engine(
        _dictionary,
        "word by word through a lexicon, given or learnt from aligned texts; for languages no other engine has",
        "that of the lexicon or the texts",
    ),
    "bergamot": Engine(
        bergamot.Bergamot,
        "small neural models for English and Portuguese, both ways, inside a package; no download (extra bergamot)",
        bergamot.LICENCE,
    ),
    "apertium": Engine(
        _apertium,
        "rules of Apertium, a separate program, for pairs of related languages; fast, no graphics card, no download",
        apertium.LICENCE,
    ),
    "precomputed": Engine(
        _precomputed,
        "translations made elsewhere, given as two aligned files or two columns",
        "that of the files",
    ),
}
"""The engines, in the order in which users see them."""
