"""How each family of translation models takes its languages: M2M-100, NLLB, mBART-50, MADLAD, Marian (OPUS-MT)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from crossflare.errors import UserError
from crossflare.languages import Language, find_language
from crossflare.libraries.transformers import marian_language, marian_targets
from crossflare.translation.engines.protocol import engine_code

Kind = Literal["m2m", "nllb", "mbart", "madlad", "marian"]
PREFIX_TOKENS = 4
"""The most tokens that a code in front of the text takes."""


@dataclass(frozen=True, slots=True)
class Direction:
    """What a tokenizer and the search need for a pair of languages."""

    source_code: str | None
    """The code for the tokenizer's `src_lang`; None where the text carries no code."""
    forced_token: int | None
    """The token that the translation starts with; None where there is none."""
    prefix: str = ""
    """The text to put before each text."""


class Family:
    """The codes of one tokenizer, and the stand-ins that the user has named."""

    def __init__(self, tokenizer: Any, model: str, others: Mapping[str, str]) -> None:
        """Take a transformers tokenizer, the model's name for messages, and the result of `stand_ins`.

        Raises:
            UserError: The tokenizer is of no family that crossflare knows.
        """
        self._tokenizer, self._model, self._others = tokenizer, model, others
        kind = self._find_kind()
        if kind is None:
            raise UserError(
                f"{model}: expected an M2M-100, NLLB, mBART-50, MADLAD or Marian model, found one with a"
                f" {type(tokenizer).__name__}; choose another"
            )
        self.kind: Kind = kind

    @property
    def prefix_tokens(self) -> int:
        """How many tokens a language code in front of a text may take."""
        return PREFIX_TOKENS if self.kind in ("madlad", "marian") else 0

    def direction(self, source: str, target: str) -> Direction:
        """Return what the model needs to translate from `source` to `target`.

        Raises:
            UserError: The tokenizer lacks a language, or both are the same to it.
        """
        if self.kind == "marian":
            self._check_marian(source, "source_lang")
            tag = self._check_marian(target, "target_lang")
            return Direction(None, None, "" if tag is None else f"{tag} ")
        codes = self._code(source), self._code(target)
        if codes[0] == codes[1]:
            raise UserError(f"{source} and {target} are both {codes[0]} to {self._model}: nothing to translate")
        token = self._token(codes[1])
        number = self._tokenizer.convert_tokens_to_ids(token)
        if self.kind != "madlad":
            return Direction(codes[0], number)
        if number not in self._tokenizer(f"{token} a")["input_ids"]:
            raise UserError(f"{self._model}: its tokenizer splits {token} in pieces; convert the model again")
        return Direction(None, None, f"{token} ")

    def source_code(self, source: str) -> str | None:
        """Return the code of the language of a text that is read; None where texts carry no code.

        Raises:
            UserError: The tokenizer lacks the language.
        """
        if self.kind == "marian":
            self._check_marian(source, "source_lang")
            return None
        code = self._code(source)
        return None if self.kind == "madlad" else code

    def _find_kind(self) -> Kind | None:
        from transformers import MarianTokenizer

        if isinstance(self._tokenizer, MarianTokenizer):
            return "marian"
        if self._known("<2en>"):
            return "madlad"
        if self._known("__en__"):
            return "m2m"
        if not hasattr(self._tokenizer, "src_lang"):  # the tokenizer of a model that reads one language
            return None
        return "mbart" if self._known("en_XX") else "nllb"

    def _known(self, token: str) -> bool:
        return self._tokenizer.convert_tokens_to_ids(token) not in (None, self._tokenizer.unk_token_id)

    def _token(self, code: str) -> str:
        """M2M-100 spells its tokens `__sw__`, NLLB `swh_Latn`, mBART-50 `sw_KE` and MADLAD `<2sw>`."""
        if self.kind == "madlad":
            return f"<2{code}>"
        return f"__{code}__" if self.kind == "m2m" else code

    def _code(self, tag: str) -> str:
        """Return the code of a language or of its stand-in; a language without a token counts as missing."""

        def code(language: Language) -> str | None:
            found = _codes(language)[self.kind]
            return found if found is not None and self._known(self._token(found)) else None

        return engine_code(tag, self._model, code, self._others)

    def _check_marian(self, tag: str, side: Literal["source_lang", "target_lang"]) -> str | None:
        """Return the token `>>code<<` that names a target language; None for a model of one target language."""
        language = find_language(self._others.get(find_language(tag).tag, tag))
        named = marian_language(self._tokenizer, side)
        try:
            only = find_language(named) if named else None
        except UserError:
            only = None  # the code of a group of languages
        if only is not None and only.tag.split("-")[0] != language.tag.split("-")[0]:
            raise UserError(
                f"{self._model} has {only.name} ({only.tag}) as its {side[:6]}, not {language.name} ({language.tag});"
                " choose another model, or name a language to treat it as with mt_language"
            )
        tokens = marian_targets(self._tokenizer) if side == "target_lang" else []
        if not tokens or only is not None:
            return None
        found = [f">>{code}<<" for code in language.marian if f">>{code}<<" in tokens]
        if not found:
            shown = ", ".join(sorted(tokens)[:12])
            raise UserError(f"{self._model} does not have {language.name} ({language.tag}): it has {shown}")
        return found[0]


PUBLISHED: tuple[tuple[str, Kind], ...] = (
    ("facebook/nllb-", "nllb"),
    ("facebook/m2m100_", "m2m"),
    ("facebook/mbart-large-50", "mbart"),
    ("google/madlad400-", "madlad"),
)
"""Beginning of a published model's name on the hub -> its family; other models of a family may have more languages."""


def check_named(model: str, others: Mapping[str, str], *languages: str) -> None:
    """Refuse languages that a model lacks, as far as its name shows its family; nothing is opened or fetched.

    Args:
        model: A name on the hub.
        others: The result of `stand_ins`.
        languages: BCP-47 tags.

    Raises:
        UserError: The model's family lacks one of them.
    """
    for start, kind in PUBLISHED:
        for tag in languages if model.startswith(start) else ():
            engine_code(tag, model, partial(_code_in, kind), others)


def _code_in(kind: Kind, language: Language) -> str | None:
    """Return a family's code for a language."""
    return language.nllb if kind == "nllb" else _codes(language)[kind]


def _codes(language: Language) -> dict[Kind, str | None]:
    """Return the name of a language in each family that has a code for every language."""
    return {"m2m": language.m2m, "nllb": language.flores, "mbart": language.mbart, "madlad": language.madlad}
