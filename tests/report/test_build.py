import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from crossflare.errors import UserError
from crossflare.report import build_report, console_table
from crossflare.report.contents import contents_of
from crossflare.report.results import collect

Make = Callable[..., Path]
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Checker(HTMLParser):
    """Collects ids and loads, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href", "action") and value]
        assert tag not in ("script", "link", "iframe", "object", "form")
        assert not any(name.startswith("on") for name in values)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def built(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "run"
    shutil.copytree(run_dir, folder)
    build_report(folder)
    return folder


def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_same_files_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere"
    shutil.copytree(built, again, ignore=shutil.ignore_patterns("report.*", "results.*"))
    build_report(again)
    for name in ("results.json", "results.csv", "report.md", "report.html"):
        assert (again / name).read_bytes() == (built / name).read_bytes(), name


def test_the_page_is_well_formed_and_needs_nothing_else(built: Path) -> None:
    checker = Checker()
    checker.feed(page(built))
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert all(link.startswith("#") and link[1:] in checker.ids for link in checker.links)
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page(built))
    assert not re.search(r"https?://|@import|url\((?!#)", without_names)


def test_every_clip_path_is_on_the_page(built: Path) -> None:
    text = page(built)
    used = set(re.findall(r"url\(#([^)]*)\)", text))
    assert used
    assert all(f'id="{name}"' in text for name in used)


def test_figures_take_their_colours_and_type_from_the_page(built: Path) -> None:
    svg = "".join(re.findall(r"<svg.*?</svg>", page(built), flags=re.DOTALL))
    assert not re.findall(r"#0[12]0[12]0\d", svg), "a placeholder colour was left"
    assert "DejaVu" not in svg
    style = page(built).split("</style>")[0]
    assert {f"{name}:" in style for name in re.findall(r"var\((--[\w-]+)\)", page(built))} == {True}


def test_every_number_of_the_results_has_interval_and_signature(built: Path) -> None:
    found = json.loads((built / "results.json").read_text())
    assert len(found["scores"]) == 2 * 3 * 4
    for entry in found["scores"]:
        assert entry["low"] <= entry["score"] <= entry["high"]
        assert entry["signature"].startswith("task:nusax|")
        assert entry["signature"] in page(built)
        assert entry["signature"] in (built / "report.md").read_text()
    for entry in found["differences"]:
        assert entry["low"] <= entry["score"] <= entry["high"]
        assert all(entry["signatures"])


def test_recipe_versions_and_figures_are_on_the_page(built: Path) -> None:
    text = page(built)
    for words in (
        "targets: [ace, ban, min]",
        "torch: 2.13.0",
        "device: cpu",
        r"\begin{tabular}",
        "prefers-color-scheme",
    ):
        assert words in text
    assert text.count('class="drawing"') == 4 + 4 + 3 + 3 + 1 + 2, "scores, differences, curves, headline, cost"


def test_missing_runs_are_marked_everywhere(make: Make) -> None:
    folder = make()
    for seed in (1, 2, 3):
        (folder / "records" / f"lora-min-{seed}.json").unlink()
    (folder / "records" / "flare-ace-1.json").unlink()
    build_report(folder)
    for text in (page(folder), (folder / "report.md").read_text()):
        assert "lora in min: seeds 1, 2, 3" in text
        assert "flare in ace: seed 1" in text
        assert "2 of 3 seeds" in text
        assert "missing" in text
        assert "23 of 27" in text
        assert "cannot be compared yet" in text
    missing = json.loads((folder / "results.json").read_text())["missing"]
    assert {"method": "flare", "language": "ace", "seed": 1} in missing
    assert len(missing) == 4


def test_names_cannot_break_the_page(make: Make) -> None:
    folder = make(seeds=1, languages={"ace": 0.0})
    spec = folder / "spec.yaml"
    spec.write_text(spec.read_text().replace("nusax-minilm", "'<script>alert(1)</script>'"))
    build_report(folder)
    assert "<script" not in page(folder)
    assert "&lt;script&gt;" in page(folder)


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_without_the_extra_all_but_the_page_is_written(
    make: Make, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    folder = make(seeds=1, languages={"ace": 0.0})
    (folder / "report.html").write_text("old numbers")
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    paths = build_report(folder)
    assert paths.html is None
    assert 'pip install "crossflare[report]"' in paths.note
    assert library in paths.note
    assert paths.markdown.is_file()
    assert paths.json.is_file()
    assert not (folder / "report.html").exists(), "a stale page would contradict the tables"


def test_nothing_is_written_for_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found none; run the recipe first"):
        build_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_console_table_shows_scores_and_intervals(run_dir: Path) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(console_table(contents_of(collect(run_dir))))
    text = console.export_text()
    for words in ("flare", "macro-F1", "mean", "–", "▼"):
        assert words in text


def test_a_narrow_terminal_shows_whole_numbers_or_says_where_they_are(make: Make) -> None:
    folder = make(seeds=2, languages=dict.fromkeys(("ace", "ban", "bjn", "bug", "min", "su"), 0.0))
    report = build_report(folder)
    table = console_table(report.contents)
    scores = json.loads(report.json.read_text())["scores"]
    found = [each for each in scores if each["metric"] == "macro_f1" and each["score"] is not None]
    numbers = {f"{100 * each[name]:.1f}" for each in found for name in ("score", "low", "high")}
    for width, whole in ((200, True), (80, True), (40, False)):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(table)
        text = console.export_text()
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width
        assert (numbers <= set(re.findall(r"[0-9]+\.[0-9]", text))) == whole
        assert ("see report.md" in text) != whole


def test_one_language_has_no_other_columns_to_look_for(make: Make) -> None:
    console = Console(width=12, record=True, file=io.StringIO())
    console.print(console_table(contents_of(collect(make(seeds=1, languages={"ace": 0.0})))))
    assert "narrow" not in console.export_text()


def test_a_run_without_training_or_recipe_still_has_a_page(make: Make) -> None:
    folder = make(methods={"zero-shot": 0.5}, seeds=1, languages={"ace": 0.0})
    (folder / "spec.yaml").unlink()
    build_report(folder)
    assert "Learning curves" not in page(folder)
    assert "<summary>Recipe</summary>" not in page(folder)
    assert "Differences" not in page(folder)
