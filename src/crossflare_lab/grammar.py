"""Clauses into text and back: word order, endings and function words of each language."""

import re
from collections.abc import Sequence

from crossflare_lab.languages import WordForms, WordReading
from crossflare_lab.world import Clause, Phrase, concepts

_PIECES = re.compile(r"\w+|[^\w\s]")
_ORDERS = {"SVO": "SVOLT", "SOV": "STLOV", "VSO": "VSOLT"}
"""Word orders: S subject, V verb, O object, L place, T time."""


def write_clauses(clauses: Sequence[Clause], words: WordForms) -> str:
    """Return the text of some clauses in one language."""
    return " ".join(" ".join(linearise(clause, words)) + clause.end for clause in clauses)


def linearise(clause: Clause, words: WordForms) -> list[str]:
    """Return the words of one clause, in order, without its final stop."""
    marked = words.spec.endings
    verb: list[str] = []
    if clause.verb is not None:
        verb = [_form(words, WordReading(clause.verb, past=clause.past, negated=clause.negated and marked))]
    if clause.negated and not marked:
        verb = [words.stems["not"], *verb]
    place = _phrase(clause.place, words, "place")
    if place and not marked:
        place = [words.stems["in"], *place]
    parts = {
        "S": _phrase(clause.subject, words, ""),
        "V": verb,
        "O": _phrase(clause.object, words, "" if clause.verb == "be" else "object"),
        "L": place,
        "T": [] if clause.time is None else [_form(words, WordReading(clause.time))],
    }
    return [word for role in _ORDERS[words.spec.order] for word in parts[role]]


def read_clauses(text: str, words: WordForms) -> list[Clause]:
    """Return the clauses of a text: the inverse of `write_clauses`.

    A word that the language does not have stands for itself, as a name would. Text that no grammar made also gives
    clauses, but they may lose some of its content: write the clauses again and compare with the text.
    """
    found: list[Clause] = []
    sentence: list[str] = []
    for piece in _PIECES.findall(text):
        if piece in ".?!":
            found.append(_clause(sentence, words, piece))
            sentence = []
        else:
            sentence.append(piece)
    return [*found, _clause(sentence, words, "")] if sentence else found


def carry(word: str, origin: WordForms, goal: WordForms) -> str:
    """Return one word of a text in the same form of the other language, with its stops; an unknown word as it is."""
    bare = word.strip(".,;:?!")
    reading = origin.readings.get(bare)
    return word if reading is None else word.replace(bare, _form(goal, reading))


def _clause(sentence: Sequence[str], words: WordForms, end: str) -> Clause:
    phrases: dict[str, Phrase] = {}
    verb: WordReading | None = None
    time: str | None = None
    negated, waiting = False, ""
    adjectives: list[str] = []
    last = ""  # the role of the phrase that a following adjective belongs to
    for word in sentence:
        reading = words.readings.get(word, WordReading(word))
        concept = concepts().get(reading.concept)
        kind = "name" if concept is None else concept.kind
        if kind in ("verb", "be"):
            verb, negated, last = reading, negated or reading.negated, ""
        elif reading.concept == "not":
            negated = True
        elif reading.concept == "in":
            waiting = "place"
        elif kind == "time":
            time = reading.concept
        elif kind == "adjective":
            if words.spec.adjective_first or not last:
                adjectives.append(reading.concept)
            else:
                old = phrases[last]
                phrases[last] = Phrase(old.head, (*old.adjectives, reading.concept), old.plural)
        else:
            last = waiting or reading.case or ("object" if "subject" in phrases else "subject")
            phrases[last] = Phrase(reading.concept, tuple(adjectives), reading.plural)
            adjectives, waiting = [], ""
    subject = phrases.get("subject")
    if verb is not None and verb.concept == "be" and "object" not in phrases:
        if adjectives:
            phrases["object"] = Phrase(adjectives[-1])
        elif subject is not None and subject.adjectives:  # "be cup small cold": the last one is the stated quality
            phrases["object"] = Phrase(subject.adjectives[-1])
            subject = Phrase(subject.head, subject.adjectives[:-1], subject.plural)
    return Clause(
        subject,
        None if verb is None else verb.concept,
        phrases.get("object"),
        phrases.get("place"),
        time,
        verb is not None and verb.past,
        negated,
        end,
    )


def _phrase(phrase: Phrase | None, words: WordForms, case: str) -> list[str]:
    if phrase is None:
        return []
    concept = concepts().get(phrase.head)
    if concept is not None and concept.kind in ("adjective", "word"):
        case = ""
    head = _form(words, WordReading(phrase.head, phrase.plural, case if words.spec.endings else ""))  # type: ignore[arg-type]
    adjectives = [_form(words, WordReading(adjective)) for adjective in phrase.adjectives]
    return [*adjectives, head] if words.spec.adjective_first else [head, *adjectives]


def _form(words: WordForms, reading: WordReading) -> str:
    return words.forms.get(reading, words.stems.get(reading.concept, reading.concept))
