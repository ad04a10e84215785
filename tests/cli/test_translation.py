"""`crossflare translate`: what it prints and refuses."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from crossflare.cli import main


@pytest.fixture
def lexicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    (tmp_path / "lexicon.tsv").write_text("one\tmoja\n")
    (tmp_path / "in.txt").write_text("one\n\nnot in there\none\n")
    return "lexicon=lexicon.tsv"


def test_the_summary_and_the_file(lexicon: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["translate", "in.txt", "--from", "en", "--to", "sw,ace", "--engine", "dictionary", "--option", lexicon]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "4 rows -> in.sw-ace.jsonl" in shown
    assert "that of the lexicon" in shown
    assert "copied" in shown
    rows = [json.loads(line) for line in Path("in.sw-ace.jsonl").read_text().splitlines()]
    assert [row["text_sw"] for row in rows] == ["moja", "", "not in there", "moja"]
    assert rows[2]["text_ace_flags"] == ["copied"]
    assert main([*command, "--json", "--output", "out.csv"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["output"] == "out.csv"
    assert [each["translated"] for each in summary["directions"]] == [0, 0]
    assert Path("out.csv").read_text().splitlines()[0] == "text,text_sw,text_sw_flags,text_ace,text_ace_flags"


def test_an_engine_without_a_network_loads_no_torch(lexicon: str) -> None:
    """It would take seconds and half a gigabyte."""
    command = ["translate", "in.txt", "--from", "en", "--to", "sw", "--engine", "dictionary", "--option", lexicon]
    code = f"import sys; from crossflare.cli import main; print(main({command}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["0", "False"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--to", " , "], "--to: expected languages with commas between"),
        (["--to", "en"], "source and target are both 'en'"),
        (["--to", "xx-nowhere"], "unknown language 'xx-nowhere'"),
        (["--engine", "dictionery"], "dictionary"),
        (["--option", "lexikon=a"], "lexicon"),
        (["--option", "lexicon=none.tsv"], "none.tsv"),
        (["--column", "body"], "in.txt:1: expected a column 'body'"),
        (["--output", "out.xlsx"], "expected an output that ends in .jsonl or .csv"),
    ],
)
def test_mistakes_are_one_line(
    lexicon: str, change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--from": "en", "--to": "sw", "--engine": "dictionary", "--option": lexicon} | dict([change])
    assert main(["translate", "in.txt", *(word for pair in given.items() for word in pair)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert not list(Path().glob("*.jsonl"))


def test_notices_stand_on_standard_error_while_bars_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    from crossflare.cli.terminal import bars, print_note
    from crossflare.libraries.heard import listening

    log = logging.getLogger("crossflare.somewhere")
    before = list(logging.getLogger("crossflare").handlers)
    with listening(print_note), bars():
        log.warning("a licence [that] binds")
        log.info("chatter")
    assert logging.getLogger("crossflare").handlers == before
    said = capsys.readouterr()
    assert (said.out, said.err.strip()) == ("", "note: a licence [that] binds")
