"""Named sets from the Hugging Face Hub: Parquet files only, at a fixed revision, checked before use.

The Parquet files are addressed one by one through the `parquet` builder of `datasets`, never through the repository's
own configuration, so that nothing in a repository is run and a folder of the same layout reads alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossflare.errors import UserError
from crossflare.tasks.classification import TextTask
from crossflare.tasks.dataset import PARTS, LanguageParts
from crossflare.tasks.example import Example


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

    @property
    def root(self) -> str:
        """The address under which `files` lie."""
        return f"hf://datasets/{self.repository}@{self.revision}"


_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
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


def hub_set(task: TextTask, source: HubSource, root: str | None = None) -> LanguageParts:
    """Open a set on the hub; each part in each language is fetched when it is first asked for, then cached.

    Args:
        task: Names the labels; those of the files must be among them.
        source: Where the set lies.
        root: A folder of the same layout instead of the hub.

    Raises:
        UserError: (when a part is read) The hub cannot be reached, or the files are not as expected.
    """

    def read(language: str, part: str) -> tuple[Example, ...]:
        split = _SPLITS[part]
        pattern = source.files.format(config=source.configs[language], split=split)
        place = f"{root or source.root}/{pattern}"
        return _examples(task, source, _load(place, split, task.name), place)

    align = "id" if source.id else "row"
    return LanguageParts(task.name, task, dict.fromkeys(source.configs, PARTS), read, align=align)


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
    columns = (*source.texts, "label", *([source.id] if source.id else []))
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise UserError(f"{place}: expected columns {', '.join(columns)}, found {', '.join(table.column_names)}")
    names: list[str] | None = getattr(table.features["label"], "names", None)
    examples: list[Example] = []
    seen: set[str] = set()
    for number, row in enumerate(table.select_columns(list(columns))):
        origin = f"{place}:{number + 1}"
        label = row["label"]
        if names is not None:
            # A number means what this file says it means, not what the task's order would make of it.
            label = names[label] if isinstance(label, int) and 0 <= label < len(names) else None
        texts = tuple(row[column] for column in source.texts)
        if not all(isinstance(text, str) for text in texts):
            raise UserError(f"{origin}: expected text in {', '.join(source.texts)}, found {texts!s:.80}")
        identity = str(row[source.id]) if source.id else str(number)
        if identity in seen:
            raise UserError(f"{origin}: the id '{identity}' occurs twice; the set is damaged")
        seen.add(identity)
        examples.append(Example(identity, texts, task.label_index(label, origin), None, origin))
    return tuple(examples)
