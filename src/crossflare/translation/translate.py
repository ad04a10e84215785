"""Texts through an engine and the store: each different one is translated once, and never again."""

import time
from collections.abc import Callable, Sequence

from crossflare.progress import Advance, bar
from crossflare.translation.store import Shelf, Store
from crossflare.translation.translator import Translator, check_pair, counted

BLOCK = 4096
"""Texts looked up together."""
QUICK = 0.5
"""Seconds: after a call of the engine that took less, the next one gets twice as many texts."""


def translate_all(
    store: Store, translator: Translator, texts: Sequence[str], source: str, target: str, batch: int = 256
) -> list[str]:
    """Translate `texts`, each different one once, and only those the store lacks.

    Args:
        store: Where translations are looked up and kept.
        translator: The engine.
        texts: In the language `source`.
        source: BCP-47 tag of the language translated from.
        target: BCP-47 tag of the language translated to.
        batch: Texts in the first call of the engine; more in later ones if it is quick. A call is kept whole or not.

    Returns:
        One translation per text, in order; blank texts as they are.
    """
    check_pair(source, target)
    done: list[str] = []
    label = f"{translator.identity.get('engine', 'translate')}: {source} to {target}"
    with store.shelf(translator.identity, source, target) as shelf, bar(label, len(texts)) as advance:
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            known = translate_block(shelf, translator, block, source, target, batch, advance)
            done += [known.get(text, text) for text in block]
    return done


def translate_block(
    shelf: Shelf,
    translator: Translator,
    texts: Sequence[str],
    source: str,
    target: str,
    batch: int = 256,
    advance: Advance | None = None,
) -> dict[str, str]:
    """Return the translation of each text that is not blank; those that `shelf` lacks are translated and kept."""
    wanted = dict.fromkeys(text for text in texts if text.strip())
    known = shelf.find(wanted)
    missing = [text for text in wanted if text not in known]
    tell: Callable[[int], None] = advance or (lambda rows: None)
    tell(len(texts) - len(missing))
    start = 0
    while start < len(missing):
        now = missing[start : start + batch]
        known |= shelf.find(now) if start else {}  # another writer's are taken
        ours = [text for text in now if text not in known]
        begin = time.monotonic()
        if ours:
            done = counted(translator.translate(ours, source=source, target=target), len(ours))
            pairs = list(zip(ours, done, strict=True))
            shelf.append(pairs)
            known |= dict(pairs)
        start += len(now)
        tell(len(now))
        if time.monotonic() - begin < QUICK:
            batch = min(2 * batch, BLOCK)
    return known
