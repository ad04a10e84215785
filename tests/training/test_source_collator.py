"""The public collator: any tokenizer, any columns, transformers' Trainer, and one line for what does not fit."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

import crossflare
from crossflare import FlareConfig, SourceCollator, UserError
from tiny_experiment import make_base

ROWS: list[dict[str, Any]] = [
    {"text": "filamu mbaya", "source": "bad film", "label": 0},
    {"text": "hadithi nzuri hiyo", "source": None, "label": 1},
    {"text": "filamu bora", "source": "bad film", "label": 1},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return AutoTokenizer.from_pretrained(base)


def flare(base: Path) -> Any:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    made = get_peft_model(model, FlareConfig(task_type="SEQ_CLS", r=2))
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    return made


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_batch_has_the_tokens_of_its_texts(base: Path, side: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side=side)
    batch = SourceCollator(tokenizer)(ROWS)
    for prefix, column in (("", "text"), ("source_", "source")):
        ids, mask = batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"].bool()
        assert ids.shape == mask.shape
        assert len(ids) == len(ROWS), "a batch that is split over devices keeps each row with its source"
        for row, own, real in zip(ROWS, ids, mask, strict=True):
            expected = [] if row[column] is None else tokenizer(row[column])["input_ids"]
            assert own[real].tolist() == expected
            assert (own[~real] == tokenizer.pad_token_id).all()
    assert batch["labels"].tolist() == [0, 1, 1]


def test_columns_have_any_names_and_labels_may_be_left_out(tokenizer: Any) -> None:
    named = [{"sw": row["text"], "en": row["source"]} for row in ROWS]
    found = SourceCollator(tokenizer, text="sw", source="en", label="class")(named)
    expected = SourceCollator(tokenizer)(ROWS)
    del expected["labels"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_pairs_are_cut_to_the_length(tokenizer: Any) -> None:
    rows = [
        {"a": "filamu " * 20, "b": "bora", "c": "film " * 20, "d": "great"},
        {**dict.fromkeys("cd"), "a": "x", "b": "y"},
    ]
    batch = SourceCollator(tokenizer, text="a", text_pair="b", source="c", source_pair="d", max_length=12)(rows)
    for prefix, first in (("", "a"), ("source_", "c")):
        expected = tokenizer(
            rows[0][first], rows[0]["b" if first == "a" else "d"], truncation="longest_first", max_length=12
        )
        assert batch[f"{prefix}input_ids"][0].tolist() == expected["input_ids"]
    assert batch["source_attention_mask"].sum(1).tolist() == [12, 0]


def test_no_source_is_no_source(base: Path, tokenizer: Any) -> None:
    model, collate = flare(base).eval(), SourceCollator(tokenizer)
    with torch.no_grad():
        whole = model(**collate(ROWS)).logits
        alone = [model(**collate([row])).logits[0] for row in ROWS]
        plain = model(**tokenizer("hadithi nzuri hiyo", return_tensors="pt")).logits[0]
    torch.testing.assert_close(whole, torch.stack(alone), rtol=0, atol=1e-5)
    torch.testing.assert_close(whole[1], plain, rtol=0, atol=1e-5)
    assert "source_input_ids" not in collate(ROWS[1:2])
    assert not torch.allclose(whole[0], model(**collate([{**ROWS[0], "source": "great"}])).logits[0], atol=1e-3)


def trainer(model: Any, folder: Path, rows: Any, collate: SourceCollator, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        str(folder), max_steps=1, report_to=[], disable_tqdm=True, save_strategy="no", **options
    )
    return Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, data_collator=collate)


@pytest.mark.parametrize("kind", [Dataset.from_list, list])
def test_transformers_trainer_reads_the_source(kind: Any, base: Path, tokenizer: Any, tmp_path: Path) -> None:
    def trained(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        model = flare(base)
        made = trainer(model, tmp_path, kind(rows), SourceCollator(tokenizer), remove_unused_columns=False)
        made.train()
        assert made.predict(kind(rows)).predictions.shape == (3, 2)
        return {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_B" in name}

    found, other = trained(ROWS), trained([{**row, "source": "great story"} for row in ROWS])
    assert any(not torch.allclose(found[name], other[name]) for name in found)


def test_the_example_of_the_readme_runs(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    if not readme.is_file():
        pytest.skip("no README around the tests")
    (code,) = (
        each for each in re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.M | re.S) if "Trainer" in each
    )
    assert code.count("xlm-roberta-base") == 2
    monkeypatch.chdir(tmp_path)
    rows = [{"sw": row["text"], "en": row["source"], "label": row["label"]} for row in ROWS]
    exec(code.replace("xlm-roberta-base", str(base)), {"rows": rows})


@pytest.mark.parametrize(
    ("kind", "label"), [(Dataset.from_list, "label"), (list, "label"), (Dataset.from_list, "class"), (list, "class")]
)
def test_with_its_defaults_trainer_is_refused_in_one_line(
    kind: Any, label: str, base: Path, tokenizer: Any, tmp_path: Path
) -> None:
    rows = [{"text": row["text"], "source": row["source"], label: row["label"]} for row in ROWS]
    made = trainer(flare(base), tmp_path, kind(rows), SourceCollator(tokenizer, label=label))
    with pytest.raises(ValueError, match="remove_unused_columns=False") as caught:
        made.train()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "rows: expected at least one row, got an empty list"),
        ("text", "rows: expected a list of rows, got str"),
        ({"text": "a"}, "rows: expected a list of rows, got dict"),
        (iter(ROWS), "rows: expected a list of rows, got list_iterator"),
        (["a"], "rows[0]: expected a row as a dict, got str"),
        ([{"text": "a"}], "rows[0]: no column 'source' (found: text); name your columns; a row without a"),
        ([{}], "rows[0]: no column 'text' (found: none); with transformers' Trainer set remove_unused_columns=False"),
        ([{"text": 3, "source": None}], "rows[0]['text']: expected a text, got int"),
        ([{"text": None, "source": None}], "rows[0]['text']: expected a text, got None"),
        ([{"text": "a", "source": ["b"]}], "rows[0]['source']: expected a text, got list"),
        ([{"text": "a", "source": "b", "label": "good"}], "a label as a whole number from 0, got 'good'"),
        ([{"text": "a", "source": "b", "label": 0.5}], "a label as a whole number from 0, got 0.5"),
        ([{"text": "a", "source": "b", "label": True}], "a label as a whole number from 0, got True"),
        ([ROWS[0], {**ROWS[1], "label": None}], "rows[1]: expected a label in 'label', found none"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_one_line(tokenizer: Any, rows: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        SourceCollator(tokenizer)(rows)
    assert "\n" not in str(caught.value)


def test_half_a_source_is_refused(tokenizer: Any) -> None:
    collate = SourceCollator(tokenizer, text_pair="text_b", source_pair="source_b")
    with pytest.raises(UserError, match=re.escape("rows[0]['source_b']: expected a text, got None")):
        collate([{"text": "a", "text_b": "b", "source": "c", "source_b": None}])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokenizer": "bert-base-cased"}, "tokenizer: expected one of transformers, got str; load it first"),
        ({"text": 3}, "text: expected the name of a column, got int"),
        ({"text_pair": "b"}, "expected text_pair and source_pair, got one of them"),
        ({"max_length": 3}, "max_length: expected a whole number from 4, got 3"),
        ({"max_length": "long"}, "max_length: expected a whole number from 4, got 'long'"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tokenizer: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        crossflare.SourceCollator(**{"tokenizer": tokenizer, **options})
