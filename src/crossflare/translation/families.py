"""How each family of translation models is told its languages: M2M-100, NLLB and Marian (OPUS-MT)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossflare.errors import UserError
from crossflare.languages import Language, find
from crossflare.translation.codes import engine_code


@dataclass(frozen=True, slots=True)
class Direction:
    """What a tokenizer and `generate` need for a pair of languages."""

    source_code: str | None
    """For the tokenizer's `src_lang`; None where the text carries no code."""
    forced_token: int | None
    """The token that the translation starts with; None where there is none."""
    prefix: str = ""
    """Put before each text."""


class Family:
    """The codes of one tokenizer, with the stand-ins that the user has named."""

    def __init__(self, tokenizer: Any, model: str, others: Mapping[str, str]) -> None:
        """Take a transformers tokenizer, the model's name for messages, and `codes.stand_ins`."""
        self._tokenizer, self._model, self._others = tokenizer, model, others
        self._marian = type(tokenizer).__name__ == "MarianTokenizer"
        if not (self._marian or hasattr(tokenizer, "src_lang")):
            kind = type(tokenizer).__name__
            raise UserError(
                f"{model}: expected an M2M-100, NLLB or Marian model, found one with a {kind}; choose another"
            )

    def direction(self, source: str, target: str) -> Direction:
        """Return what the model needs to translate from `source` to `target`.

        Raises:
            UserError: The tokenizer lacks a language, or both are the same to it.
        """
        if self._marian:
            self._check_marian(source, "source_lang")
            tag = self._check_marian(target, "target_lang")
            return Direction(None, None, "" if tag is None else f"{tag} ")
        codes = self.source_code(source), engine_code(target, self._model, self._code, self._others)
        if codes[0] == codes[1]:
            raise UserError(f"{source} and {target} are both {codes[0]} to {self._model}: nothing to translate")
        return Direction(codes[0], self._tokenizer.convert_tokens_to_ids(self._token(codes[1])))

    def source_code(self, source: str) -> str | None:
        """Return the code of the language of a text that is read; None for Marian.

        Raises:
            UserError: The tokenizer lacks the language.
        """
        if self._marian:
            self._check_marian(source, "source_lang")
            return None
        return engine_code(source, self._model, self._code, self._others)

    def _token(self, code: str) -> str:
        tokens: Mapping[str, str] = getattr(self._tokenizer, "lang_code_to_token", {})
        return tokens.get(code, code)

    def _code(self, language: Language) -> str | None:
        """M2M-100 spells its tokens `__sw__`, NLLB `swh_Latn`; a language without a token is not there."""
        code = language.m2m if hasattr(self._tokenizer, "lang_code_to_token") else language.nllb
        if code is None:
            return None
        known = self._tokenizer.convert_tokens_to_ids(self._token(code))
        return None if known in (None, self._tokenizer.unk_token_id) else code

    def _check_marian(self, tag: str, side: str) -> str | None:
        """Return the token `>>code<<` that names a target language, None for a model of one target language."""
        language = find(self._others.get(find(tag).tag, tag))
        named: Any = getattr(self._tokenizer, side)
        try:
            only = find(str(named)) if named else None
        except UserError:
            only = None  # a group of languages
        if only is not None and only.tag.split("-")[0] != language.tag.split("-")[0]:
            raise UserError(
                f"{self._model} has {only.name} ({only.tag}) as its {side[:6]}, not {language.name} ({language.tag});"
                " choose another model, or name a language to treat it as with mt_language"
            )
        tokens: list[str] = list(self._tokenizer.supported_language_codes) if side == "target_lang" else []
        if not tokens or only is not None:
            return None
        codes = (language.tag, language.apertium, language.nllb, (language.nllb or "")[:3])
        found = [f">>{code}<<" for code in codes if f">>{code}<<" in tokens]
        if not found:
            shown = ", ".join(sorted(tokens)[:12])
            raise UserError(f"{self._model} does not have {language.name} ({language.tag}): it has {shown}")
        return found[0]
