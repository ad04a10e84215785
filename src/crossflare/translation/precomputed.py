"""Translations that the user brings: made elsewhere, given as aligned texts."""

from collections.abc import Iterable, Sequence
from typing import Any

from crossflare.errors import UserError
from crossflare.files import content_id
from crossflare.languages import tag_of
from crossflare.translation.pairs import Pair
from crossflare.translation.translator import translate_filled


class Precomputed:
    """Looks each text up among the given pairs of one direction."""

    def __init__(self, pairs: Iterable[Pair], source: str, target: str, licence: str = "that of the files") -> None:
        """Take (text in `source`, its translation into `target`) pairs; of equal texts the first counts."""
        self._translations: dict[str, str] = {}
        for text, translation in pairs:
            self._translations.setdefault(text, translation)
        self._pair = (tag_of(source), tag_of(target))
        self.identity: dict[str, Any] = {
            "engine": "precomputed",
            "content": content_id(list(self._translations.items())),
            "source": self._pair[0],
            "target": self._pair[1],
            "licence": licence,
        }

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """See `Translator.translate`.

        Raises:
            UserError: The files go between other languages, or lack a text; the count of missing texts is named.
        """
        pair = (tag_of(source), tag_of(target))
        if source != target and pair != self._pair:
            raise UserError(f"the files translate {' to '.join(self._pair)}, not {source} to {target}; give others")
        return translate_filled(texts, source, target, self._look_up)

    def _look_up(self, texts: list[str]) -> list[str]:
        missing = [text for text in texts if text not in self._translations]
        if missing:
            raise UserError(
                f"the files give no translation for {len(missing)} of {len(texts)} texts, the first is"
                f" {missing[0][:60]!r}; a text must be written exactly as in the files"
            )
        return [self._translations[text] for text in texts]
