"""The answers of another system to a recipe's test rows, from the file that a method of kind `predictions` names."""

from dataclasses import replace
from pathlib import Path

from crossflare.errors import UserError
from crossflare.experiment.data.rows import Data
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.task import PartSpec
from crossflare.tasks.predicted import Given, read_given


def answers_file(method: MethodSpec, language: str, seed: int) -> PartSpec:
    """Return the file of a method's answers for one language and seed, with its options."""
    given = method.file if isinstance(method.file, PartSpec) else PartSpec(path=str(method.file))

    def named(text: str) -> str:
        return text.replace("{language}", language).replace("{seed}", str(seed))

    where = {name: named(value) if isinstance(value, str) else value for name, value in given.where.items()}
    return replace(given, path=named(str(given.path)), where=where)


def answers_of(data: Data, method: MethodSpec, language: str, seed: int) -> list[Given]:
    """Read and check the answers to all test rows that the recipe takes.

    Raises:
        UserError: See `read_given`; or there is no such file.
    """
    part = answers_file(method, language, seed)
    path = Path(str(part.path))
    if not path.is_file():
        raise UserError(f"methods.{method.name}.file: expected a file at {path}, found none; check the path", "data")
    rows, known = data.test(language, "none"), data.set.split(language, "test")
    return read_given(path, part, data.task, rows.examples, known.examples, language)
