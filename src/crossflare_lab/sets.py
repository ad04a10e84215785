"""The laboratory's tasks as data sets, fully parallel by id in all of its languages."""

import re

from crossflare.errors import UserError, choose
from crossflare.tasks.dataset import LanguageParts, Task
from crossflare.tasks.example import Answer, Example
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare_lab.grammar import write_clauses
from crossflare_lab.items import Item, draw
from crossflare_lab.languages import WordForms, tags, word_forms
from crossflare_lab.world import DOMAINS, JUDGED

SIZES = {"train": 1500, "dev": 200, "test": 500}


_TASKS: dict[str, Task] = {
    "lab-topic": TextTask("lab-topic", 1, DOMAINS),
    "lab-nli": TextTask("lab-nli", 1, JUDGED, text_count=2),
    "lab-qa": QuestionTask("lab-qa", 1),
}
NAMES = tuple(_TASKS)


def load_lab_set(
    name: str,
    seed: int = 0,
    *,
    train: int = SIZES["train"],
    dev: int = SIZES["dev"],
    test: int = SIZES["test"],
    world: int = 0,
) -> LanguageParts:
    """Return one of the laboratory's sets.

    Args:
        name: `lab-topic`, `lab-nli` or `lab-qa`.
        seed: Another seed gives other items.
        train: Number of items; a smaller part is the beginning of a larger one. 0: no such part.
        dev: As `train`.
        test: As `train`.
        world: Seed of the languages.

    Raises:
        UserError: No such set, or sizes that are not possible.
    """
    task = _TASKS[choose("set of the laboratory", name, NAMES)]
    sizes = {"train": train, "dev": dev, "test": test}
    if not any(sizes.values()):
        raise UserError(f"{name}: expected items in at least one part, got 0 in each")
    drawn = {part: draw(name.removeprefix("lab-"), part, size, seed) for part, size in sizes.items() if size}

    def read(language: str, part: str) -> tuple[Example, ...]:
        words = word_forms(language, world)
        return tuple(
            _example(item, f"{part}-{number}", f"{name} {part}:{number}", words)
            for number, item in enumerate(drawn[part])
        )

    return LanguageParts(name, task, dict.fromkeys(tags(), tuple(drawn)), read)


def _example(item: Item, name: str, origin: str, words: WordForms) -> Example:
    texts = tuple(write_clauses(text, words) for text in item.texts)
    answers: tuple[Answer, ...] = ()
    if item.answer is not None:
        text = write_clauses([item.answer], words)
        found = re.search(rf"\b{re.escape(text)}\b", texts[1])
        assert found, f"{text!r} is not in {texts[1]!r}"
        answers = (Answer(text, found.start()),)
    return Example(name, texts, item.label, None, origin, answers)
