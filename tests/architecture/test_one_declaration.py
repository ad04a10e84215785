"""What is new stands in one place, a row, a field or a class; recipes, verbs, runs and the documentation have it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crossflare.cli import main
from crossflare.fusion import functions
from crossflare.fusions import FUSIONS, Fusion
from crossflare.recipe.kinds import KINDS
from crossflare.recipe.read import spec_from
from crossflare.recipe.schema import recipe_schema
from crossflare.tasks.phrasebook import phrasebook
from crossflare.tasks.sets import KNOWN_SETS, KnownSet
from crossflare.translation.engines.registry import ENGINES, Engine
from tiny_experiment import make_base

page = pytest.importorskip("tools.recipe_page", reason="no source tree around the tests").page
RECIPE = """\
name: tiny
task: {{set: new-set, limit: {{train: 12, dev: 6, test: 6}}}}
source: en
targets: [es]
model: {{name: {base}}}
seeds: [0]
stage1: {{epochs: 1, max_length: 16, precision: fp32, evaluations: 1}}
stage2: {{epochs: 1, max_length: 16, precision: fp32, evaluations: 1}}
translation: {{to_source: {{engine: new-engine, sign: '!', words_file: words.txt}}}}
methods: {{it: {{kind: new-kind, fusion: new_phi{adapter}}}}}
"""
NEW = ("new-set", "new-engine", "new-kind", "new_phi")


@dataclass(frozen=True)
class Louder:
    """An engine that says a text again, louder."""

    sign: str

    @property
    def identity(self) -> dict[str, Any]:
        return {"engine": "new-engine", "sign": self.sign, "licence": "CC0"}

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        return [text + self.sign if text.strip() else text for text in texts]


def louder(*, sign: str, words_file: str) -> Louder:
    assert Path(words_file).is_absolute(), "an option that ends in file is a path"
    return Louder(sign)


def test_a_row_is_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Recipes take each name, the schema and the page offer it, and `methods` lists it."""
    monkeypatch.setitem(FUSIONS, "new_phi", Fusion("new_phi", "max(S, T)"))
    monkeypatch.setattr(functions, "new_phi", functions.add, raising=False)
    monkeypatch.setitem(KINDS, "new-kind", KINDS["flare"])
    monkeypatch.setitem(KNOWN_SETS, "new-set", KnownSet("new-set", "a new set", "nobody", "CC0", make=phrasebook))
    monkeypatch.setitem(ENGINES, "new-engine", Engine(louder, "a new engine", "CC0"))
    spec = spec_from(RECIPE.format(base="minilm", adapter=", adapter: {fuse_cross_attention: true}"), Path("/here"))
    assert spec.translation.to_source is not None
    assert spec.translation.to_source.options == {"sign": "!", "words_file": "/here/words.txt"}
    assert spec.method("it").adapter.options == {"fuse_cross_attention": True}
    assert spec_from(spec.to_yaml(), Path("/there")) == spec
    assert functions.make_phi("new_phi", 4) is functions.add
    written = page()
    assert all(f"| `{name}` |" in written for name in NEW)
    assert all(f"'{name}'" in str(recipe_schema()) for name in NEW if name != "new-kind")
    assert main(["methods"]) == 0
    assert "new-kind" in capsys.readouterr().out


EDITS = {
    "fusion/functions.py": (
        "class _RankAttention",
        "def new_phi(source: Tensor | None, target: Tensor, pairing: Pairing | None) -> Tensor:\n"
        '    """max(S, T)."""\n'
        "    return torch.maximum(_partner(source, target, pairing, -9.0), target)\n\n\n",
    ),
    "fusions.py": ('        Fusion("mul",', '        Fusion("new_phi", "max(S, T)"),\n'),
    "fusion/config.py": (
        "    released: bool = field(",
        '    new_field: bool = field(default=False, metadata={"help": "a new field"})\n',
    ),
    "recipe/kinds.py": (
        '    "flare-no-source": Kind(',
        '    "new-kind": Kind("a", "rival", "", _FUSED, trains=True, reads_source=True, reads="both", fuses=True),\n',
    ),
    "tasks/sets.py": (
        '        _of_the_laboratory("lab-topic"',
        '        KnownSet("new-set", "a new set", "nobody", "CC0", make=phrasebook),\n',
    ),
    "translation/engines/registry.py": (
        '    "apertium": Engine(',
        '    "new-engine": Engine(new_engine.louder, "a new engine", "CC0"),\n',
    ),
}
"""File -> where in it something new is put, and what: once for each kind of thing, and the function of phi."""
SCRIPT = """
import sys
from crossflare.cli import main
import crossflare, crossflare.fusion
assert crossflare.__file__.startswith(sys.argv[1]), crossflare.__file__
for words in ["validate", "recipe.yaml"], ["methods", "new-kind"], ["schema"], ["run", "recipe.yaml"]:
    assert main(words) == 0, words
from tools.recipe_page import page
print(page())
from pathlib import Path
made = Path("runs/tiny/models").glob("*/adapter_config.json")
(model,) = [path.parent for path in made if '"new_field": true' in path.read_text()]
assert main(["validate", str(model)]) == 0
"""


@pytest.mark.slow
def test_new_things_run(tmp_path: Path, repository: Path) -> None:
    """A copy of the package with one of each runs a recipe that uses them all, a field of `FlareConfig` too."""
    source = tmp_path / "src"
    shutil.copytree(repository / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name, (before, new) in EDITS.items():
        path = source / "crossflare" / name
        text = path.read_text()
        assert text.count(before) == 1, name
        path.write_text(text.replace(before, new + before))
    engines = source / "crossflare" / "translation" / "engines"
    own = Path(__file__).read_text().partition("@dataclass(frozen=True)\n")[2].partition("\n\n\ndef test_a_row")[0]
    imports = "from collections.abc import Sequence\nfrom dataclasses import dataclass\nfrom pathlib import Path\n"
    (engines / "new_engine.py").write_text(f"{imports}from typing import Any\n\n\n@dataclass(frozen=True)\n{own}\n")
    registry = engines / "registry.py"
    registry.write_text(registry.read_text().replace("import apertium,", "import new_engine, apertium,"))
    make_base(tmp_path / "base")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(base="./base", adapter=", adapter: {new_field: true}"))
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{repository}", "COLUMNS": "200"}
    command = [sys.executable, "-c", SCRIPT, str(source)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert all(f"| `{name}` |" in result.stdout for name in (*NEW, "new_field"))
    assert "adapter: fusion_modules, fuse_cross_attention, new_field" in result.stdout
