"""Aligned texts from files: two files line by line, or two columns of one file."""

from pathlib import Path

from crossflare.errors import UserError
from crossflare.tasks.files import read_rows

Pair = tuple[str, str]


def read_lines(path: Path | str) -> list[str]:
    """Return the lines of a UTF-8 file, ended by the line feed alone: texts hold U+2028, U+0085 and the like."""
    path = Path(path)
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: expected a text file with one text per line, found none; check the path") from error
    except OSError as error:
        raise UserError(f"{path}: expected a text file that can be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8, found other bytes at byte {error.start}; save it as UTF-8") from error
    lines = content.split("\n")
    if lines[-1] == "":
        lines.pop()
    if lines and all(line.endswith("\r") for line in lines):
        lines = [line[:-1] for line in lines]
    return lines


def read_pairs(
    *,
    source_file: str | None = None,
    target_file: str | None = None,
    pairs_file: str | None = None,
    source_column: str = "source",
    target_column: str = "target",
) -> list[Pair]:
    """Return (source text, target text) pairs.

    Args:
        source_file: One text per line.
        target_file: Its translation, line by line.
        pairs_file: Instead of both: CSV, TSV, JSONL or Parquet.
        source_column: Column of `pairs_file` with the source texts.
        target_column: Column of `pairs_file` with their translations.

    Raises:
        UserError: Neither form is given, or both; files of unequal length (both counts are named); no pairs at all.
    """
    if pairs_file is not None and source_file is None and target_file is None:
        rows = read_rows(pairs_file)
        return [(row.text(source_column), row.text(target_column)) for row in rows]
    if pairs_file is not None or source_file is None or target_file is None:
        raise UserError("expected aligned texts: give source_file and target_file, or pairs_file alone")
    sources, targets = read_lines(source_file), read_lines(target_file)
    if len(sources) != len(targets):
        raise UserError(
            f"{source_file} holds {len(sources)} lines and {target_file} {len(targets)}: line i of one should translate"
            " line i of the other; align the files"
        )
    if not sources:
        raise UserError(f"{source_file}: expected one text per line, found an empty file; check the path")
    return list(zip(sources, targets, strict=True))
