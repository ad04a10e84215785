"""Links in the documentation lead somewhere: to a file of the repository, and to a heading in it."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def anchors(text: str) -> set[str]:
    """Return the anchors that Markdown hosts make of headings."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def broken(page: Path, text: str) -> list[str]:
    wrong = []
    for groups in LINK.findall(FENCE.sub("", text)):
        link = "".join(groups)
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            wrong.append(f"{page.relative_to(ROOT)}: {link}")
    return wrong


def test_links_lead_somewhere():
    if not (ROOT / "docs").is_dir():
        pytest.skip("no documentation around the tests")
    assert [line for page in pages() for line in broken(page, page.read_text())] == []


def test_control_broken_links_are_seen():
    page = ROOT / "docs" / "page.md"
    text = "# A `b` c\n[ok](#a-b-c) [web](https://x.org) [a](nowhere.md) [b](#nothing)\n```\n[c](no.md)\n```\n"
    page_like = Path(__file__).with_name("nothing.md")
    assert anchors(text) == {"a-b-c"}
    assert broken(page, text.replace("#a-b-c", "")) != []
    assert [line.split(": ")[1] for line in broken(page_like, "[a](nowhere.md) [w](https://x.org)")] == ["nowhere.md"]


def test_nothing_names_a_machine():
    """No tracked text holds a path of somebody's home or an address of a package host."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    if not listed[0]:
        pytest.skip("no repository around the tests")
    pattern = re.compile(r"/(?:home|Users)/\w+/|/root/|index-url|file:///")
    own = Path(__file__).resolve()
    wrong = []
    for name in listed:
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".txt", ""}
            and path.is_file()
            and path != own
        ):
            wrong += [f"{name}: {found}" for found in pattern.findall(path.read_text(errors="replace"))]
    assert wrong == []
