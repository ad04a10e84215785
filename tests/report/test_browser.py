"""The page in a browser: nothing is logged, nothing is asked of the network."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import write_examples

from crossflare.report import build_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]


def visit(page: Path, tmp_path: Path) -> tuple[list[str], list[str]]:
    """Return what the page logged and which addresses were asked for while it was open."""
    log = tmp_path / "net.json"
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "</html>" in done.stdout
    events = json.loads(log.read_text())["events"]
    asked = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], sorted(asked)


def test_the_page_logs_nothing_and_asks_for_nothing(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(seeds=1, languages={"ar": 0.0, "ace": 0.1})
    write_examples(folder, "ar", 60)
    build_report(folder)
    logged, asked = visit(folder / "report.html", tmp_path)
    assert logged == []
    assert [url for url in asked if ".example" in url or "report" in url] in ([], [(folder / "report.html").as_uri()])

    # the same page with a picture from elsewhere: the page itself refuses it, and says so
    spoilt = folder / "spoilt.html"
    page = (folder / "report.html").read_text(encoding="utf-8")
    spoilt.write_text(page.replace("</main>", '<img src="http://pictures.example/x.png"></main>'), encoding="utf-8")
    logged, asked = visit(spoilt, tmp_path)
    assert any("Content Security Policy" in line for line in logged)
    assert not any("pictures.example" in url for url in asked)
