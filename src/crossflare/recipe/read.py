"""A recipe from its file or text: read strictly, then checked, with every mistake shown at once."""

from collections.abc import Sequence
from pathlib import Path

from crossflare.recipe import strict_yaml
from crossflare.recipe.fields import Reader
from crossflare.recipe.spec import Spec
from crossflare.recipe.strict_yaml import GatheredError


def load_spec(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """Read a recipe and set `overrides` (each `a.b=c`) in it.

    Raises:
        GatheredError: One line for each mistake, with the line of the file it stands on.
    """
    path = Path(path)
    document = strict_yaml.read(path)
    strict_yaml.override(document, overrides)
    return build_spec(document, path.resolve().parent)


def spec_from(text: str, folder: Path, origin: str = "recipe") -> Spec:
    """Read a recipe from YAML text; relative paths in it start at `folder`."""
    return build_spec(strict_yaml.parse(text, origin), folder)


def build_spec(document: strict_yaml.Document, folder: Path) -> Spec:
    """Read a recipe from a document instead of a file; relative paths in it start at `folder`."""
    from crossflare.recipe.checks import check  # it needs the classes above

    reader = Reader(document, folder)
    spec = reader.dataclass(Spec, document.value, ())
    if spec is not None:
        spec = spec.without_originals(lambda name: "train_source" not in reader.given("methods", name))
        check(spec, reader)
    if spec is None or document.problems:
        raise GatheredError(document.report())
    return spec
