"""Run folders made of a seeded random generator, for tests of the report alone: labels, and answers to questions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossflare.disk.files import write_json
from crossflare.evaluation.answers import exact_match, f1, normaliser
from crossflare.evaluation.metrics import score
from crossflare.evaluation.record import CurvePoint, Record, load_record, save_record, sealed
from crossflare.inspection.looker import Looker, Share
from crossflare.tasks.example import Example

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
ANSWERING = {"zero-shot": 0.35, "lora": 0.5, "flare": 0.62}
WORDS = [
    "ana",
    "bora",
    "chai",
    "dada",
    "enda",
    "fika",
    "goli",
    "hama",
    "imba",
    "jana",
    "kazi",
    "leta",
    "moja",
    "nane",
    "oka",
    "pima",
]


TWENTY = {
    "zero-shot": ({"kind": "zero-shot"}, 0.52),
    "translate-test": ({"kind": "translate-test", "test_source": "machine"}, 0.64),
    "lora": ({"kind": "lora"}, 0.66),
    "lora-equal-cost": ({"kind": "lora"}, 0.665),
    "lora-joint": ({"kind": "lora"}, 0.65),
    "input-fusion": ({"kind": "input-fusion"}, 0.69),
    "xmixup": ({"kind": "xmixup"}, 0.67),
    "xmixup-lora": ({"kind": "xmixup-lora"}, 0.66),
    "flare": ({"kind": "flare"}, 0.72),
    "flare-proportional": ({"kind": "flare"}, 0.718),
    "flare-cross-attention": ({"kind": "flare"}, 0.70),
    "flare-released": ({"kind": "flare"}, 0.68),
    "flare-mt": ({"kind": "flare-mt"}, 0.69),
    "flare-joint": ({"kind": "flare"}, 0.71),
    "flare+source": ({"kind": "flare+source", "of": "flare"}, 0.73),
    "lora + translate-test": ({"kind": "ensemble", "of": "lora"}, 0.725),
    "zero-source": ({"kind": "flare", "train_source": "none", "test_source": "none"}, 0.655),
    "shuffled-source": ({"kind": "flare", "train_source": "shuffled", "test_source": "shuffled"}, 0.65),
    "target-as-source": ({"kind": "flare", "train_source": "target", "test_source": "target"}, 0.66),
    "flare-oracle": ({"kind": "flare", "test_source": "oracle"}, 0.80),
}
"""As many methods as a table has to bear: name -> options and skill."""
SIX = {"ace": 0.0, "ban": 0.04, "bug": -0.1, "jv": 0.08, "min": 0.07, "ar": 0.02}


def change_record(path: Path, **values: Any) -> None:
    """Change a record as a run that made another one would have written it."""
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | values)))


def with_temperatures(folder: Path, heat: float = 2.0, without: str = "") -> Path:
    """Make log-probabilities too sure by `heat`, with the temperature that undoes it; `without` one method."""
    for path in sorted((folder / "records").glob("*.json")):
        record = load_record(path)
        if record.method["name"] == without:
            continue
        file = folder / record.predictions
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        right = np.mean([row["correct"] for row in rows])
        for row in rows:
            sure = np.log(np.full(3, (1 - right) / 2))
            sure[row["prediction"]] = np.log(right)
            row["log_probabilities"] = (sure * heat - np.logaddexp.reduce(sure * heat)).tolist()
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        values = json.loads(path.read_text(encoding="utf-8"))
        values |= {
            "calibration": {"temperature": heat, "language": record.language, "rows": 60},
            "predictions_sha256": "",
        }
        path.write_text(json.dumps(sealed(values)), encoding="utf-8")
    return folder


def write_look(folder: Path) -> Path:
    """Give a run the look at the data that was taken before it."""
    made = Looker("run", ["bad", "good"], False, "en")
    rows = [Example(str(n), (f"<b>text</b> {n}\u200b",), n % 2, None, f"a|b.csv:{n + 2}") for n in range(1234)]
    made.read([Share("ace", "train", lambda: rows), Share("ace", "test", lambda: rows[:5])])
    write_json(folder / "inspection.json", {"key": "", "look": made.found().values()})
    return folder


def fake_runs(
    folder: Path,
    methods: dict[str, float] = SKILL,
    languages: dict[str, float] = EASE,
    seeds: int = 3,
    number: int = 400,
    options: dict[str, dict[str, Any]] | None = None,
) -> Path:
    """Write spec.yaml, records and predictions; items are parallel, hard items are hard for every method."""
    folder.mkdir(parents=True, exist_ok=True)
    options = options or {name: {"kind": name} for name in methods}
    recipe = [
        "name: nusax-minilm", "task:", "  set: nusax", "source: en", f"targets: [{', '.join(languages)}]",
        f"seeds: {list(range(1, seeds + 1))}", "methods:", *(f"  {m}: {json.dumps(options[m])}" for m in methods),
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
                write_run(folder, method, language, seed, gold, predicted, generator, options[method])
    return folder


def fake_grid(folder: Path, methods: int = 20, **options: Any) -> Path:
    """Write the runs of many methods in six languages, as `fake_runs`, with the texts of their rows."""
    chosen = dict(list(TWENTY.items())[:methods])
    skills = {name: skill for name, (_, skill) in chosen.items()}
    how = {name: about for name, (about, _) in chosen.items()}
    fake_runs(folder, skills, SIX, options=how, **options)
    for language in SIX:
        write_examples(folder, language, options.get("number", 400))
    return folder


def write_examples(folder: Path, language: str, number: int) -> Path:
    """Write made-up texts of the rows of `write_run`, in Arabic letters for `ar`."""
    generator = np.random.default_rng(len(language))
    words = ["كتاب", "بيت", "ماء", "طريق", "شمس", "قلم"] if language == "ar" else WORDS
    path = folder / "examples" / f"{language}.jsonl"
    path.parent.mkdir(exist_ok=True)
    rows = [
        {"id": f"{i:04d}", "texts": [" ".join(generator.choice(words, size=generator.integers(5, 30)))],
         "source": [f"Words of row {i} as a translator would have them, more or less."] if i % 7 else None}
        for i in range(number)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_run(
    folder: Path,
    method: str,
    language: str,
    seed: int,
    gold: np.ndarray,
    predicted: np.ndarray,
    generator: np.random.Generator,
    options: dict[str, Any] | None = None,
) -> Path:
    """Write one record with its predictions and return the record's path."""
    rows = [
        {"id": f"{i:04d}", "gold": int(g), "prediction": int(p), "correct": int(g == p)}
        for i, (g, p) in enumerate(zip(gold, predicted, strict=True))
    ]
    scores = {name: score(name, gold, predicted, 3) for name in ("accuracy", "macro_f1")}
    task = {"name": "nusax", "version": "1", "labels": LABELS}
    about = {"name": method, **(options or {"kind": method})}
    return _save(folder, about, language, seed, task, rows, scores, generator)


def fake_answers(
    folder: Path,
    methods: dict[str, float] = ANSWERING,
    languages: dict[str, float] | None = None,
    seeds: int = 3,
    number: int = 120,
    only: dict[str, Sequence[str]] | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    writes: Sequence[str] = (),
) -> Path:
    """Write spec.yaml, records and predictions of answers to questions.

    Args:
        folder: Where.
        methods: Name -> how often it is right.
        languages: Tag -> what is added to that.
        seeds: How many.
        number: Questions, parallel over languages.
        only: Method -> the languages it is run in, where not all.
        options: Method -> more options of it, in the recipe and in the records.
        writes: Methods that write text, and so have no position match.
    """
    languages = languages or {"sw": 0.0, "id": 0.08}
    only, options = only or {}, options or {}
    folder.mkdir(parents=True, exist_ok=True)
    spec: dict[str, Any] = {
        "name": "tydiqa-minilm", "task": {"set": "tydiqa"}, "source": "en", "targets": list(languages),
        "seeds": list(range(1, seeds + 1)),
        "methods": {
            name: {"kind": name, "languages": list(only.get(name, [])), **options.get(name, {})} for name in methods
        },
    }  # fmt: skip
    (folder / "spec.yaml").write_text(json.dumps(spec, indent=2) + "\n")  # JSON is YAML too
    generator = np.random.default_rng(1)
    hard = generator.normal(size=number)
    for language, ease in languages.items():
        golds = [_gold_answers(generator) for _ in range(number)]
        for method, skill in methods.items():
            for seed in range(1, seeds + 1) if language in only.get(method, languages) else ():
                surplus = 3 * (skill + ease - 0.5) + 0.4 * generator.normal(size=number) - hard
                given = [_answer(gold, float(more), generator) for gold, more in zip(golds, surplus, strict=True)]
                about = {"name": method, "kind": method, **options.get(method, {})}
                write_answers(folder, about, language, seed, golds, given, generator, positions=method not in writes)
    return folder


def _gold_answers(generator: np.random.Generator) -> list[str]:
    words = [str(word) for word in generator.choice(WORDS, size=generator.integers(1, 4), replace=False)]
    return [" ".join(words), *([words[0]] if generator.random() < 0.3 else [])]


def _answer(gold: list[str], surplus: float, generator: np.random.Generator) -> str:
    """Return an answer that is right, nearly right or wrong."""
    if surplus > 0:
        return gold[0].capitalize() + "."
    return f"{gold[0]} {generator.choice(WORDS)}" if surplus > -0.5 else str(generator.choice(WORDS))


def write_answers(
    folder: Path,
    method: dict[str, Any],
    language: str,
    seed: int,
    golds: list[list[str]],
    given: list[str],
    generator: np.random.Generator,
    *,
    positions: bool = True,
) -> Path:
    """Write one record with its answers and return the record's path."""
    same = normaliser("squad", language)
    columns = {
        "exact_match": [exact_match(text, gold, same) for text, gold in zip(given, golds, strict=True)],
        "f1": [f1(text, gold, same) for text, gold in zip(given, golds, strict=True)],
    }
    if positions:
        columns["position_match"] = [float(hit and generator.random() < 0.9) for hit in columns["exact_match"]]
    rows = [
        {"id": f"q{i:04d}", "gold": gold, "prediction": text,
         **{name: round(column[i], 6) for name, column in columns.items()}, "score": -1.5}
        for i, (gold, text) in enumerate(zip(golds, given, strict=True))
    ]  # fmt: skip
    task = {
        "name": "tydiqa", "version": 1, "labels": [], "texts": 2, "form": "span", "normalisation": "squad",
        "main_metric": "f1",
    }  # fmt: skip
    scores = {name: float(np.mean(column)) for name, column in columns.items()}
    return _save(folder, method, language, seed, task, rows, scores, generator)


def _save(
    folder: Path,
    about: dict[str, Any],
    language: str,
    seed: int,
    task: dict[str, Any],
    rows: list[dict[str, Any]],
    scores: dict[str, float],
    generator: np.random.Generator,
) -> Path:
    """Write predictions and the record that names them."""
    method = about["name"]
    run_id = f"{method}-{language}-{seed}"
    predictions = folder / "predictions" / f"{run_id}.jsonl"
    predictions.parent.mkdir(exist_ok=True)
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = about["kind"] in ("lora", "flare", "flare-mt", "input-fusion", "xmixup", "xmixup-lora")
    dearer = {"input-fusion": 2.1, "xmixup": 3.2, "xmixup-lora": 2.4, "lora": 1.0}.get(about["kind"], 1.6)
    reads_source = method not in ("zero-shot", "lora", "flare-no-source")
    final = scores[task.get("main_metric", "macro_f1")]
    steps = np.arange(1, 11) * 50
    rise = 1 - np.exp(-steps / 150)
    curve: list[CurvePoint] = [
        {"step": int(s), "loss": float(1.1 - 0.8 * r + 0.03 * generator.normal()),
         "dev_score": float(np.clip(0.3 + (final - 0.3) * r + 0.01 * generator.normal(), 0, 1))}
        for s, r in zip(steps, rise, strict=True)
    ]  # fmt: skip
    record = Record(
        run_id=run_id, spec_name=f"{task['name']}-minilm", method=about, language=language, seed=seed, task=task,
        scores=scores,
        signature={
            "task": task["name"], "task_version": "1", "split": "test", "language": language, "n": len(rows),
            "model": "minilm", "model_digest": "5f0c1a2b", "source": "dictionary-9c2e" if reads_source else "none",
            "method": method, "seeds": [seed], "data": f"d-{language}", "version": "0.1.0",
        },
        predictions=f"predictions/{run_id}.jsonl", model={"name": "minilm", "digest": "5f0c1a2b"},
        data={"test": f"d-{language}", "n_test": len(rows)},
        translation={"to_target": {"engine": "parallel"}, "to_source": {"engine": "dictionary", "learn": "train"}},
        counts={"truncated": {"target": 3, "source": 5}, "empty": 0, **({"no_source": 2} if reads_source else {})},
        training={
            "lr": 1e-3 if seed != 2 else 3e-4, "steps": 500,
            "trainable_parameters": 223_491 if method == "flare" else 222_723,
            "seconds": dearer * (1.5 if "cost" in method or "joint" in method else 1) * 61.3 + seed, "curve": curve,
            "chosen_from": [{"lr": 3e-4, "dev_score": final - 0.01}, {"lr": 1e-3, "dev_score": final}],
        } if trained else {},
        timings={"predict": 2.0 * dearer, "peak_memory": int(1.2e9 * dearer)} if trained else {"predict": 1.0},
        hardware={"device": "cpu", "cores": 2}, versions={"crossflare": "0.1.0", "torch": "2.13.0", "peft": "0.21.2"},
    )  # fmt: skip
    path = folder / "records" / f"{run_id}.json"
    save_record(path, record)
    return path
