"""The examples of the documentation run as they stand.

A block fenced as ```python run or ```bash run is executed. All blocks of a page share one empty folder, in their order;
Python blocks with no bash block between them run as one program. An output written as a comment
(`print(x)  # 3`) is compared.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|bash) run([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^print\((?P<what>.*)\)  # (?P<output>.*)$", re.MULTILINE)
DOCS = ROOT / "docs"
PAGES = [path for path in [ROOT / "README.md", DOCS / "data.md", *sorted(DOCS.glob("tutorial*.md"))] if path.is_file()]


def blocks(text: str) -> list[tuple[str, str]]:
    """Return (language, code) of the marked blocks; Python blocks that follow each other are one."""
    found: list[tuple[str, str]] = []
    for language, _, code in BLOCK.findall(text):
        if found and language == "python" == found[-1][0]:
            found[-1] = (language, found[-1][1] + "\n" + code)
        else:
            found.append((language, code))
    return found


def run(language: str, code: str, folder: Path) -> str:
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, f"{code}\n--- failed:\n{result.stdout[-2000:]}{result.stderr[-4000:]}"
    return result.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page, tmp_path):
    found = blocks(page.read_text())
    if not found:
        pytest.skip(f"{page.name} marks no block for running")
    for language, code in found:
        output = run(language, code, tmp_path)
        for shown in SHOWN.finditer(code) if language == "python" else ():
            assert shown["output"].strip() in output, f"{page.name}: {shown.group()} printed\n{output}"


def test_control_a_wrong_example_is_seen(tmp_path):
    marked = ("```python run\nx = 1\n```\n", "```python run\nprint(x)  # 1\n```\n", "```bash run\ntouch a\nls\n```\n")
    text = "\n".join([*marked, "```python\n1/0\n```\n"])
    found = blocks(text)
    assert [language for language, _ in found] == ["python", "bash"]
    assert [run(*block, tmp_path).strip() for block in found] == ["1", "a"]
    for wrong in (("python", "1/0"), ("bash", "false\ntrue"), ("bash", "echo $UNSET_NAME")):
        with pytest.raises(AssertionError, match="failed"):
            run(*wrong, tmp_path)
