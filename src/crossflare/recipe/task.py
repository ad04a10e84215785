"""What a recipe says about its data: a named set, a repository on the hub, or own files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from crossflare.errors import UserError
from crossflare.recipe.marks import Bounds, Checked, Label, LanguageTag, Names, PathMark, PathText
from crossflare.recipe.translation import Count, Limit
from crossflare.tasks.hub import HUB_NAME, is_on_hub
from crossflare.tasks.kinds import Metric, QuestionMetric
from crossflare.tasks.layout import Align, FileLayout, FilePart, paths_of
from crossflare.tasks.sets import KNOWN_SETS, KnownSet

Part = Literal["train", "dev", "test"]
Answering = Literal["head", "text"]
Long = Literal["cut", "windows"]
"""How a text longer than the model's window is read: its end is left out, or it is read piece by piece."""


@dataclass(frozen=True)
class PartSpec(FilePart):
    """The files of one part, where their options differ from the task's."""

    path: PathText | tuple[PathText, ...] = ()
    """A file, a pattern such as `train-*.csv`, or a list of them."""


_NAME_OR_FOLDER = PathMark(maybe_name=True)


def _check_hub(place: str) -> None:
    if not _NAME_OR_FOLDER.takes(place) and not HUB_NAME.fullmatch(place):
        raise UserError(f"expected owner/name, or a folder that starts with . or /, got {place!r:.60}")


@dataclass(frozen=True)
class TaskSpec(FileLayout):
    """Where the labelled rows come from: a named set, a repository on the hub, or the user's own files."""

    set: Annotated[str, Names("set", lambda: tuple(KNOWN_SETS))] | None = None
    """A named set; None: `files` says where the rows are."""
    folder: PathText | None = None
    """The folder of the named set on this machine."""
    hub: Annotated[str, Checked(_check_hub), _NAME_OR_FOLDER] | None = None
    """A repository of data on the hub, `owner/name`, or a folder (starting with `.`, `~`, `$` or `/`) that is a copy of
    one. Its card says which files it has; crossflare runs no code from it. `texts`, `label` etc. work as for own
    files."""
    revision: str | None = None
    """The commit, tag or branch of `hub`; None: the newest."""
    language_names: dict[LanguageTag, str] = field(default_factory=dict[str, str])
    """Language -> its configuration in `hub`, or its name in `language_column`, if this is no name of the language."""
    language_column: str | None = None
    """The column that says the language, where one configuration of `hub` holds all languages; None: each language has
    a configuration of its own."""
    dev_from_train: Count | None = None
    """How many rows of train become dev instead; None: the set has a dev part."""
    limit: Limit = field(default_factory=Limit)
    """Most rows of each part, for quick trials."""
    draw: Annotated[int, Bounds(0, 2**32 - 1)] | None = None
    """A seed by which `limit` draws its rows, the same ids in every language; None: `limit` takes the first rows."""
    form: Answering = "head"
    """How the model answers: `head`, by a new head over its states, or `text`, in its own words (models that write)."""
    words: dict[str, str] = field(default_factory=dict[str, str])
    """With form `text`: label -> the word that the model writes for it, where that is not the label itself."""
    long: Long = "cut"
    """How a text of more than max_length tokens is read (one text, by a head): `cut`, without its end, or in `windows`
    of max_length tokens, with the mean of the windows' log-probabilities as the answer. A model trains on the first
    window. Questions have windows of their own."""
    questions: bool = False
    """The own files hold questions with a context and answers, in SQuAD's layout or as flat rows."""
    labels: tuple[Label, ...] = ()
    """The label names, in the order of the classifier's outputs; numbers and truth values are read as their text."""
    aliases: dict[str, Label] = field(default_factory=dict[str, str])
    """Other spellings of labels found in the files: spelling -> label."""
    files: dict[LanguageTag, dict[Part, PathText | tuple[PathText, ...] | PartSpec]] = field(
        default_factory=dict[str, dict[Part, str | tuple[str, ...] | PartSpec]]
    )
    """Language -> part -> its file, a pattern such as `train-*.csv`, a list of them, or `path` with own options."""
    align: Align | None = None
    """How the own files of two languages correspond: by the rows' ids, by their places, or not at all. None: by id
    where `id` names a column or the rows are questions, else by place (`row`)."""
    main_metric: Literal[Metric, QuestionMetric] | None = None
    """The metric by which models are chosen; None: that of the named set, else accuracy for labels, f1 for answers."""

    @property
    def asks(self) -> bool:
        """Whether the task is to answer questions."""
        return self.questions or (self._known is not None and self._known.asks)

    @property
    def fetched(self) -> bool:
        """Whether rows come from the hub."""
        if self.set is not None:
            return self.folder is None and self._known is not None and self._known.on_hub
        files = [path for parts in self.files.values() for given in parts.values() for path in paths_of(given)]
        return (self.hub is not None and not Path(self.hub).is_absolute()) or any(map(is_on_hub, files))

    @property
    def lexicon(self) -> Callable[[str], Mapping[str, str]] | None:
        """The dictionary that the named set brings; None: it has none."""
        return None if self._known is None else self._known.lexicon

    @property
    def _known(self) -> KnownSet | None:
        return KNOWN_SETS.get(self.set or "")

    def choosing(self) -> dict[str, Any]:
        """Return what else identifies a trained model: metric and `long`, where they are not the default."""
        usual = "f1" if self.asks else "accuracy" if self.set is None else None  # a named set of labels has its own
        named = self.main_metric not in (None, usual)
        return ({"main_metric": self.main_metric} if named else {}) | (
            {} if self.long == "cut" else {"long": self.long}
        )
