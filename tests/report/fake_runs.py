"""A run folder made of a seeded random generator, for tests of the report alone."""

import json
from pathlib import Path

import numpy as np

from crossflare.evaluation.metrics import score
from crossflare.evaluation.record import Point, Record, save_record

SKILL = {
    "zero-shot": 0.52,
    "translate-test": 0.64,
    "lora": 0.66,
    "flare": 0.72,
    "flare-no-source": 0.65,
    "ensemble": 0.70,
}
EASE = {"ace": 0.0, "ban": 0.04, "min": 0.08}
LABELS = ["negative", "neutral", "positive"]


def fake_runs(
    folder: Path,
    methods: dict[str, float] = SKILL,
    languages: dict[str, float] = EASE,
    seeds: int = 3,
    number: int = 400,
) -> Path:
    """Write spec.yaml, records and predictions; items are parallel, hard items are hard for every method."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = [
        "name: nusax-minilm", "task:", "  set: nusax", "source: en", f"targets: [{', '.join(languages)}]",
        f"seeds: [{', '.join(map(str, range(1, seeds + 1)))}]", "methods:", *(f"  {m}: {{kind: {m}}}" for m in methods),
        "stage2:", "  lr: [0.0003, 0.001]", "  epochs: 10",
    ]  # fmt: skip
    (folder / "spec.yaml").write_text("\n".join(recipe) + "\n")
    generator = np.random.default_rng(0)
    gold, hard = generator.integers(3, size=number), generator.normal(size=number)
    for method, skill in methods.items():
        for language, ease in languages.items():
            for seed in range(1, seeds + 1):
                luck = 0.4 * generator.normal(size=number) + 0.05 * generator.normal()
                right = 3 * (skill + ease - 0.5) + luck > hard
                predicted = np.where(right, gold, (gold + generator.integers(1, 3, size=number)) % 3)
                write_run(folder, method, language, seed, gold, predicted, generator)
    return folder


def write_run(
    folder: Path,
    method: str,
    language: str,
    seed: int,
    gold: np.ndarray,
    predicted: np.ndarray,
    generator: np.random.Generator,
) -> Path:
    """Write one record with its predictions and return the record's path."""
    run_id = f"{method}-{language}-{seed}"
    rows = [
        {"id": f"{i:04d}", "gold": int(g), "prediction": int(p), "correct": int(g == p)}
        for i, (g, p) in enumerate(zip(gold, predicted, strict=True))
    ]
    predictions = folder / "predictions" / f"{run_id}.jsonl"
    predictions.parent.mkdir(exist_ok=True)
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = method in ("lora", "flare")
    reads_source = method not in ("zero-shot", "lora", "flare-no-source")
    final = score("macro_f1", gold, predicted, 3)
    steps = np.arange(1, 11) * 50
    rise = 1 - np.exp(-steps / 150)
    curve: list[Point] = [
        {"step": int(s), "epoch": s / 50, "loss": float(1.1 - 0.8 * r + 0.03 * generator.normal()),
         "dev_score": float(np.clip(0.3 + (final - 0.3) * r + 0.01 * generator.normal(), 0, 1))}
        for s, r in zip(steps, rise, strict=True)
    ]  # fmt: skip
    record = Record(
        run_id=run_id, spec_name="nusax-minilm", method={"name": method, "kind": method}, language=language, seed=seed,
        task={"name": "nusax", "version": "1", "labels": LABELS},
        scores={name: score(name, gold, predicted, 3) for name in ("accuracy", "macro_f1")},
        signature={
            "task": "nusax", "task_version": "1", "split": "test", "language": language, "n": len(gold),
            "model": "minilm", "model_digest": "5f0c1a2b", "source": "dictionary-9c2e" if reads_source else "none",
            "method": method, "seeds": [seed], "data": f"d-{language}", "version": "0.1.0",
        },
        predictions=f"predictions/{run_id}.jsonl", model={"name": "minilm", "digest": "5f0c1a2b"},
        data={"test": f"d-{language}", "n_test": len(gold)},
        translation={"to_target": {"engine": "parallel"}, "to_source": {"engine": "dictionary", "learn": "train"}},
        counts={"truncated": {"target": 3, "source": 5}, "empty": 0, **({"no_source": 2} if reads_source else {})},
        training={
            "lr": 1e-3 if seed != 2 else 3e-4, "steps": 500,
            "trainable_parameters": 223_491 if method == "flare" else 222_723,
            "seconds": 61.3 + seed, "curve": curve,
            "chosen_from": [{"lr": 3e-4, "dev_score": final - 0.01}, {"lr": 1e-3, "dev_score": final}],
        } if trained else {},
        hardware={"device": "cpu", "cores": 2}, versions={"crossflare": "0.1.0", "torch": "2.13.0", "peft": "0.21.2"},
    )  # fmt: skip
    path = folder / "records" / f"{run_id}.json"
    save_record(path, record)
    return path
