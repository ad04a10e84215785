"""Exact match and F1 sign by sign and word by word, from the published definitions, with no regular expression."""

import string
import unicodedata

ARTICLES = {
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "vi": "của là cái chiếc những",
    "de": "ein eine einen einem eines einer der die das den dem des",
}


def words_of(text: str) -> list[tuple[str, bool]]:
    """Return runs of letters, digits and underscores (True), and of everything else (False), in order."""
    runs: list[tuple[str, bool]] = []
    for sign in text:
        inside = sign.isalnum() or sign == "_"
        if runs and runs[-1][1] == inside:
            runs[-1] = (runs[-1][0] + sign, inside)
        else:
            runs.append((sign, inside))
    return runs


def normal(text: str, style: str, language: str) -> str:
    kept = ""
    for sign in text.lower():
        ascii_only = sign in string.punctuation
        if not (ascii_only or (style == "mlqa" and unicodedata.category(sign)[0] == "P")):
            kept += sign
    articles = ARTICLES["en"] if style == "squad" else ARTICLES.get(language, "")
    kept = "".join(" " if inside and run in articles.split() else run for run, inside in words_of(kept))
    if style == "mlqa" and language == "ar":
        while "ال" in kept:
            at = kept.index("ال")
            kept = kept[:at] + " " + kept[at + 2 :]
    if style == "mlqa" and language == "zh":
        kept = "".join(f" {sign} " if 0x4E00 <= ord(sign) <= 0x9FA5 else sign for sign in kept)
    return " ".join(kept.split())


def scores(prediction: str, golds: list[str], style: str, language: str) -> tuple[float, float]:
    """Return (exact match, F1), each the best over the gold answers."""
    match, best = 0.0, 0.0
    for gold in golds:
        one, other = normal(prediction, style, language), normal(gold, style, language)
        match = max(match, float(one == other))
        left, common = other.split(), 0
        for word in one.split():
            if word in left:
                left.remove(word)
                common += 1
        if common:
            precision, recall = common / len(one.split()), common / len(other.split())
            best = max(best, 2 * precision * recall / (precision + recall))
    return match, best
