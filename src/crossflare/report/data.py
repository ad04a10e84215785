"""What the look at the data found before the run, as the report's first tables."""

from crossflare.disk.files import read_json
from crossflare.experiment.running.looking import FILE
from crossflare.inspection.found import Look
from crossflare.inspection.show import Sheet, languages_sheet, pairs_sheet, parts_sheet, warnings_of
from crossflare.report.runs import RunFolder
from crossflare.report.tables import Entry, Grid

TITLE = "The data"


def data_grids(folder: RunFolder) -> tuple[list[Grid], list[str]]:
    """Return the tables of the rows that a run was made with, and its warnings; nothing of a run without a look.

    Raises:
        UserError: The file is damaged.
    """
    path = folder.path / FILE
    if not path.is_file():
        return [], []
    kept = read_json(path, "delete it and run the recipe again")
    look = Look.of(kept.get("look") if isinstance(kept, dict) else None, str(path))
    sheets = [parts_sheet(look), languages_sheet(look), pairs_sheet(look.pairs)]
    return [_grid(sheet) for sheet in sheets if sheet.rows], warnings_of(look)


def _grid(sheet: Sheet) -> Grid:
    """Return a table of the report: what names a row becomes one name."""
    keys = sheet.keys
    rows = tuple((" ".join(row[:keys]), tuple(Entry(cell) for cell in row[keys:])) for row in sheet.rows)
    return Grid(sheet.title.lower(), ("", *sheet.head[keys:]), rows, sheet.legend)
