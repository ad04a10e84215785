"""The items of the three tasks, as clauses: the same facts for every language."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from crossflare.errors import UserError
from crossflare_lab.world import DOMAINS, Clause, Phrase, of_kind, opposites, pick, pick_several

_QA_VERBS = of_kind("verb")
FACTS = 3
"""How many sentences a context has."""
_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class Item:
    """One item without a language."""

    texts: tuple[tuple[Clause, ...], ...]
    label: int | None = None
    answer: Clause | None = None
    """The answer, a fragment that occurs in the second text."""

    @property
    def facts(self) -> frozenset[Clause]:
        """Every clause of the item: a text that has all of them reveals it."""
        return frozenset(clause for text in self.texts for clause in text)


def draw(kind: str, part: str, size: int, seed: int) -> list[Item]:
    """Return `size` distinct items of a part; a smaller part is the beginning of a larger one.

    Args:
        kind: `topic`, `nli` or `qa`.
        part: `train`, `dev` or `test`; parts share no item.
        size: Number of items.
        seed: Another seed gives other items.

    Raises:
        UserError: `size` is negative.
    """
    if size < 0:
        raise UserError(f"lab-{kind}: expected a number of {part} items of 0 or more, got {size}")
    source = Random(f"lab {kind} {seed} {part}")
    own = ("train", "dev", "test").index(part)
    make, labels = _MAKERS[kind]
    found: dict[frozenset[Clause], Item] = {}
    waiting: list[int] = []
    while len(found) < size:
        waiting = waiting or pick_several(source, range(labels), labels)  # every label once before any occurs again
        for _ in range(_ATTEMPTS):
            item = make(source, waiting[0])
            if item.facts not in found and _part(item) == own:
                break
        else:
            raise UserError(f"lab-{kind}: only {len(found)} different {part} items found; ask for fewer")
        found[item.facts] = item
        waiting.pop(0)
    return list(found.values())


def _part(item: Item) -> int:
    """Return the part to which an item belongs: 0 train (half of all), 1 dev, 2 test; it depends on the item alone."""
    return (0, 0, 1, 2)[Random(repr(sorted(map(repr, item.facts)))).randrange(4)]


def event(source: Random, domains: list[str]) -> Clause:
    """Return an event with person, verb, thing and place from the four given domains."""
    person, verb, thing, place = domains
    return Clause(
        Phrase(pick(source, of_kind("person", person)), plural=source.randrange(4) == 0),
        pick(source, of_kind("verb", verb)),
        Phrase(pick(source, of_kind("thing", thing)), plural=source.randrange(4) == 0),
        Phrase(pick(source, of_kind("place", place))),
        past=source.randrange(2) == 0,
    )


def topic(source: Random, label: int) -> Item:
    """Return two events; of their eight words five or six are from one domain and at most two from any other."""
    count = 5 + source.randrange(2)
    others = [d for d in DOMAINS if d != DOMAINS[label]]
    slots = pick_several(source, [DOMAINS[label]] * count + pick_several(source, others * 2, 8 - count), 8)
    return Item(((event(source, slots[:4]), event(source, slots[4:])),), label)


def described(source: Random) -> Clause:
    """Return an event with a quality of the person or the thing."""
    clause = event(source, [pick(source, DOMAINS) for _ in range(4)])
    quality = (pick(source, of_kind("adjective")),)
    assert clause.subject
    assert clause.object
    first, second = ((quality, ()), ((), quality))[source.randrange(2)]
    return Clause(Phrase(clause.subject.head, first), clause.verb, Phrase(clause.object.head, second), past=clause.past)


def claims(source: Random, count: int) -> tuple[Clause, list[tuple[Clause, int]]]:
    """Return an event, and claims about what it describes with their labels (places in `JUDGED`)."""
    premise = described(source)
    return premise, [claim(source, premise, source.randrange(3)) for _ in range(count)]


def claim(source: Random, premise: Clause, label: int) -> tuple[Clause, int]:
    """Return a claim about what an event describes: 0 it follows, 1 it is open, 2 its opposite follows.

    Claims that follow repeat what was said, and those whose opposite follows deny it; open claims say or deny something
    else.
    So neither the claim alone nor its words alone tell the label.
    """
    assert premise.subject
    assert premise.object
    about = premise.subject if premise.subject.adjectives else premise.object
    (told,) = about.adjectives
    other = pick(source, [q for q in of_kind("adjective") if q not in (told, opposites()[told])])
    denied = (False, source.randrange(2) == 0, True)[label]
    return Clause(Phrase(about.head), "be", Phrase(other if label == 1 else told), negated=denied), label


def nli(source: Random, label: int) -> Item:
    """Return an event and a claim about it."""
    premise = described(source)
    return Item(((premise,), (claim(source, premise, label)[0],)), label)


def story(source: Random, count: int) -> list[Clause]:
    """Return facts about different people: what they did, with which thing or in which town; nothing occurs twice."""
    things = [thing for domain in DOMAINS for thing in of_kind("thing", domain)]
    names = pick_several(source, of_kind("name"), count)
    found: list[Clause] = []
    for who, what, where in zip(
        names, pick_several(source, things, count), pick_several(source, of_kind("town"), count), strict=True
    ):
        told = Clause(Phrase(who), pick(source, _QA_VERBS), past=True)
        found.append(replace(told, **({"object": Phrase(what)} if source.randrange(2) else {"place": Phrase(where)})))
    return found


def ask(fact: Clause) -> tuple[Clause, Clause]:
    """Return the question about a fact, and the fragment of the fact that answers it."""
    if fact.place is None:
        return replace(fact, object=Phrase("what"), end="?"), Clause(object=fact.object, end="")
    return replace(fact, place=Phrase("where"), end="?"), Clause(place=fact.place, end="")


def qa(source: Random, _: int) -> Item:
    """Return a question and a context of `FACTS` sentences, one of which answers it."""
    context = story(source, FACTS)
    question, answer = ask(pick(source, context))
    return Item(((question,), tuple(context)), None, answer)


_MAKERS: dict[str, tuple[Callable[[Random, int], Item], int]] = {"topic": (topic, 5), "nli": (nli, 3), "qa": (qa, 1)}
