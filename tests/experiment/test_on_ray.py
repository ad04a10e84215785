"""A cluster makes what one process makes, also when a node goes away in the middle."""

import json
import os
import pickle
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crossflare.disk.files import read_json
from crossflare.errors import UserError
from crossflare.experiment.running.run import run
from crossflare.experiment.running.worker import Order
from crossflare.experiment.steps.context import Context
from crossflare.recipe.grid import load_recipe
from tiny_experiment import Lab, results

MEASURED = {"timings", "hardware", "sha256"}
"""What a record says of the machine, and the hash that covers it."""


def said(folder: Path) -> dict[str, Any]:
    """Return the records without what was measured: seconds, and where."""
    found: dict[str, Any] = {}
    for path in folder.glob("records/*.json"):
        record = {name: value for name, value in read_json(path).items() if name not in MEASURED}
        record["training"] = {name: value for name, value in record["training"].items() if name != "seconds"}
        found[path.name] = record
    return found


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_node_that_is_killed_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lab = Lab(tmp_path / "lab")
    files = {language: lab.recipe["task"]["files"][language] for language in ("en", "es")}
    longer = {"targets": ["es"], "task.files": files, "stage1.epochs": 20, "stage2.epochs": 20}
    spec = lab.spec(longer, ("zero-shot", "lora", "flare"))
    calm = run(spec, tmp_path / "calm", workers=1)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        log = tmp_path / "shot" / "tiny" / "made.jsonl"

        def kill() -> None:
            """Take the node away once both nodes have made something: whatever it is making then is lost."""
            while len({json.loads(line)["by"] for line in _lines(log)}) < 2:
                time.sleep(0.05)
            nodes.remove_node(second, allow_graceful=False)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        shot = run(spec, tmp_path / "shot", ray=nodes.address, workers=2)
        killer.join(timeout=60)
        assert not killer.is_alive()
    finally:
        ray.shutdown()
        nodes.shutdown()
    made = [json.loads(line)["id"] for line in _lines(log)]
    assert len(made) == len(set(made)) == len(list(shot.glob("models/*"))) + len(list(shot.glob("records/*.json")))
    assert results(shot) == results(calm)
    assert said(shot) == said(calm)
    assert "worker" in caplog.text
    assert "disappeared" in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_grid_goes_on_when_a_worker_of_the_cluster_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lab = Lab(tmp_path / "lab", languages=("es",), seeds=(0,))
    made = json.loads(lab.text({"stage1.epochs": 10, "stage2.epochs": 10}, ("zero-shot", "lora", "flare")))
    grid = {"rank": {"r2": {"stage2": {"r": 2}}, "r4": {"stage2": {"r": 4}}}}
    (tmp_path / "grid.yaml").write_text(json.dumps({**made, "grid": grid}))
    recipe = load_recipe(tmp_path / "grid.yaml")
    calm = run(recipe, tmp_path / "calm", workers=1)
    log, killed = tmp_path / "shot" / "tiny" / "made.jsonl", list[int]()

    def kill() -> None:
        """Kill the worker that made the first step: whatever it is making then is lost."""
        while not (lines := _lines(log)):
            time.sleep(0.05)
        killed.append(int(json.loads(lines[0])["by"].rpartition(":")[2]))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        shot = run(recipe, tmp_path / "shot", ray="local", workers=2)
    finally:
        ray.shutdown()
    killer.join(timeout=60)
    assert killed
    assert killed[0] != os.getpid()
    lines = [json.loads(line) for line in _lines(log)]
    made_once = Counter(json.loads(line)["id"] for line in _lines(tmp_path / "calm" / "tiny" / "made.jsonl"))
    assert Counter(line["id"] for line in lines) <= made_once, "no step is made twice"
    assert {line["by"] for line in lines if not line["by"].endswith(f":{killed[0]}")}, "others made the rest"
    for cell in ("r2", "r4"):
        assert results(shot / "cells" / cell) == results(calm / "cells" / cell)
        assert said(shot / "cells" / cell) == said(calm / "cells" / cell)
    assert "disappeared" in caplog.text


def _lines(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.endswith("}")] if log.is_file() else []


def test_an_order_is_the_same_in_another_process(lab: Lab, tmp_path: Path) -> None:
    spec = lab.spec({"stage2.lr": [0.1, 0.2], "methods.flare": {"train_source": "mixed(0.5)"}})
    order = Order.of([Context(spec, tmp_path)], {"a": "2026-01-01"})
    assert pickle.loads(pickle.dumps(order)) == order
    assert order.cells[0][0].method("flare").training_source == "mixed(0.5)"


def test_a_folder_that_a_machine_does_not_see_is_said_so(lab: Lab, tmp_path: Path) -> None:
    order = Order(((lab.spec(), tmp_path / "nowhere"),), tmp_path, {})
    with pytest.raises(UserError, match="needs a folder that all of them share, at the same path") as caught:
        order.carry_out()
    assert os.uname().nodename in str(caught.value)
