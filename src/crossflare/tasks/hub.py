"""Named sets from the Hugging Face Hub: Parquet files only, at a fixed revision, checked before use.

The Parquet files are addressed one by one through the `parquet` builder of `datasets`, never through the repository's
own configuration, so that nothing in a repository is run and a folder of the same layout reads alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossflare.errors import UserError
from crossflare.tasks.dataset import PARTS, LanguageParts, Task
from crossflare.tasks.example import Example
from crossflare.tasks.kinds import QuestionTask, TextTask
from crossflare.tasks.question_sets import LANGUAGES as XQUAD_LANGUAGES
from crossflare.tasks.question_sets import NAMES as TYDIQA_NAMES
from crossflare.tasks.squad import checked_questions, paired_answers


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a set lies on the hub, and how its files are named."""

    repository: str
    """`namespace/name`."""
    revision: str
    configs: Mapping[str, str]
    """Language -> the repository's name for it."""
    files: str
    """Pattern of the Parquet files, with {config} and {split}."""
    texts: tuple[str, ...]
    id: str | None
    """The column of ids; None: rows are numbered from 0."""
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "dev": "validation", "test": "test"})
    """Part -> the repository's name for it."""
    prefixes: Mapping[str, str] | None = None
    """Language -> what its ids start with, where one file holds all languages."""

    @property
    def root(self) -> str:
        """The address under which `files` lie."""
        return f"hf://datasets/{self.repository}@{self.revision}"


_XNLI = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")

XNLI_HUB = HubSource(
    "facebook/xnli",
    "b8dd5d7af51114dbda02c0e3f6133f332186418e",
    {language: language for language in _XNLI},
    "{config}/{split}-*.parquet",
    ("premise", "hypothesis"),
    None,
)
NUSAX_HUB = HubSource(
    "indonlp/NusaX-senti",
    # The repository itself holds a loading script; the hub keeps this conversion beside it.
    "refs/convert/parquet",
    {language: language for language in ("ace", "ban", "bbc", "bjn", "bug", "mad", "min", "nij")}
    | {"en": "eng", "id": "ind", "jv": "jav", "su": "sun"},
    "{config}/{split}/*.parquet",
    ("text",),
    "id",
)
TYDIQA_HUB = HubSource(
    "google-research-datasets/tydiqa",
    "da78f23f9119363459acbaf46bf89426ff26c259",
    dict.fromkeys(TYDIQA_NAMES, "secondary_task"),
    "{config}/{split}-*.parquet",
    ("question", "context"),
    "id",
    {"train": "train", "test": "validation"},
    {language: f"{name}-" for language, name in TYDIQA_NAMES.items()},
)
XQUAD_HUB = HubSource(
    "google/xquad",
    "51adfef1c1287aab1d2d91b5bead9bcfb9c68583",
    {language: f"xquad.{language}" for language in XQUAD_LANGUAGES},
    "{config}/{split}-*.parquet",
    ("question", "context"),
    "id",
    {"test": "validation"},
)


def hub_set(task: Task, source: HubSource, root: str | None = None) -> LanguageParts:
    """Open a set on the hub; each part in each language is fetched when it is first asked for, then cached.

    Args:
        task: Names the labels; those of the files must be among them. Files of questions hold `answers` instead.
        source: Where the set lies.
        root: A folder of the same layout instead of the hub.

    Raises:
        UserError: (when a part is read) The hub cannot be reached, or the files are not as expected.
    """

    def read(language: str, part: str) -> tuple[Example, ...]:
        split = source.splits[part]
        pattern = source.files.format(config=source.configs[language], split=split)
        place = f"{root or source.root}/{pattern}"
        table = _load(place, split, task.name)
        if isinstance(task, QuestionTask):
            return _questions(source, table, place, source.prefixes[language] if source.prefixes else "")
        return _examples(task, source, table, place)

    align = "none" if source.prefixes else "id" if source.id else "row"
    parts = tuple(part for part in PARTS if part in source.splits)
    return LanguageParts(task.name, task, dict.fromkeys(source.configs, parts), read, align=align)


def _load(place: str, split: str, name: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset("parquet", data_files={split: place}, split=split)
    except Exception as error:  # the hub's client raises what its transport raises: no common class
        raise UserError(
            f"{place}: could not be fetched ({type(error).__name__}: {str(error)[:200]}); check the network, or"
            f" pass the folder that holds {name}"
        ) from error


def _examples(task: TextTask, source: HubSource, table: Any, place: str) -> tuple[Example, ...]:
    from datasets import ClassLabel

    columns = _columns(source, "label", table, place)
    kind: Any = table.features["label"]
    names: list[str] | None = kind.names if isinstance(kind, ClassLabel) else None
    examples: list[Example] = []
    seen: set[str] = set()
    for number, row in enumerate(table.select_columns(columns)):
        origin = f"{place}:{number + 1}"
        label = row["label"]
        if names is not None:
            # A number means what this file says it means, not what the task's order would make of it.
            label = names[label] if isinstance(label, int) and 0 <= label < len(names) else None
        texts = _texts(source, row, origin)
        identity = str(row[source.id]) if source.id else str(number)
        if identity in seen:
            raise UserError(f"{origin}: the id '{identity}' occurs twice; the set is damaged")
        seen.add(identity)
        examples.append(Example(identity, texts, task.label_index(label, origin), None, origin))
    return tuple(examples)


def _questions(source: HubSource, table: Any, place: str, prefix: str) -> tuple[Example, ...]:
    columns = _columns(source, "answers", table, place)
    ids = [str(key) for key in table[source.id]]
    numbers = [number for number, key in enumerate(ids) if key.startswith(prefix)]
    questions: list[tuple[str, Example]] = []
    for number, row in zip(numbers, table.select(numbers).select_columns(columns), strict=True):
        where = f"{place}: question '{ids[number]}'"
        origin = f"{place}:{number + 1}"
        answers = paired_answers(row["answers"], where)
        questions.append((where, Example(ids[number], _texts(source, row, origin), origin=origin, answers=answers)))
    return checked_questions(place, questions)


def _columns(source: HubSource, last: str, table: Any, place: str) -> list[str]:
    columns = [*source.texts, last, *([source.id] if source.id else [])]
    if any(column not in table.column_names for column in columns):
        raise UserError(f"{place}: expected columns {', '.join(columns)}, found {', '.join(table.column_names)}")
    return columns


def _texts(source: HubSource, row: Any, origin: str) -> tuple[str, ...]:
    texts = tuple(row[column] for column in source.texts)
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{origin}: expected text in {', '.join(source.texts)}, found {texts!s:.80}")
    return texts
