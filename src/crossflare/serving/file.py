"""Labels or answers for the rows of a file, from a trained adapter's folder alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossflare import devices
from crossflare.errors import UserError, choose
from crossflare.files import write_atomic
from crossflare.languages import tag_of
from crossflare.recipe.engines import build_engine, model_place
from crossflare.recipe.methods import Reads
from crossflare.recipe.translation import EngineOptions
from crossflare.serving.rows import WRITERS, examples_of, names_of, output_rows, text_columns, with_columns
from crossflare.tasks.dataset import Task
from crossflare.tasks.example import Example
from crossflare.tasks.files import read_rows
from crossflare.training.forms.make import prepare
from crossflare.training.forms.outputs import Choices, Outputs
from crossflare.training.loop.settings import Precision
from crossflare.training.text.prompts import check_filled
from crossflare.translation.rows import iterate
from crossflare.translation.states import encode_rows
from crossflare.translation.translate import for_long_texts

if TYPE_CHECKING:
    from crossflare.fusion.adapter_check import Opened


@dataclass(frozen=True, slots=True)
class Column:
    """The source texts stand in columns of the input file, as many as the task has texts."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """What was predicted, and what a reader of the predictions should know."""

    rows: int
    labels: dict[str, int]
    """How often each label was predicted, in the order of the task; empty for questions."""
    empty: int
    """Rows with an empty text: they are predicted all the same."""
    no_source: int
    """Rows that were read without a source though one was asked for."""
    truncated: int
    """Rows of which a side was longer than the model's window."""


def predict_file(
    *,
    adapter: Path,
    input: Path,
    output: Path,
    source: Column | EngineOptions | None,
    no_source: bool = False,
    texts: Sequence[str] = (),
    id_column: str | None = None,
    quotes: bool | None = None,
    batch_size: int = 64,
    base: str | None = None,
) -> Counts:
    """Predict a label for every row of a file, in its order.

    Args:
        adapter: A folder that `crossflare run` trained: LoRA or FLARE.
        input: CSV, TSV, JSONL or Parquet; or `.txt` with one text per line.
        output: `.jsonl` or `.csv`; written whole once all rows are predicted.
        source: Where a FLARE adapter finds the text in the source language: columns of the input, or an engine that
            translates.
        no_source: A FLARE adapter reads the texts alone.
        texts: The columns of the texts; by default `text`, or `premise` and `hypothesis`.
        id_column: The column of the row's name; by default `id` where there is one, else the row's number from 0.
        quotes: Whether the cells of a TSV file are quoted; None: as the file shows.
        batch_size: Rows in one forward pass.
        base: Folder or name of the base model, which may be fetched. None: the one that the card names, which is not:
            a stranger's card starts no look-up.

    Raises:
        UserError: Before any model is loaded: the adapter is not whole, the input cannot be read or lacks a column,
            the output is of an unknown kind, or the adapter and the source do not go together.
    """
    from crossflare.fusion.adapter_check import open_adapter
    from crossflare.serving.card import check_card, task_of

    write = WRITERS[choose("kind of output file", output.suffix.lower(), WRITERS)]
    if output.resolve() == input.resolve():
        raise UserError(f"{output}: the output would replace the input; name another file")
    opened = open_adapter(adapter)
    card = check_card(opened.card, adapter)
    task = task_of(card, adapter)
    reads = _reads(card, adapter, source, no_source)
    rows = list(iterate(input)) if input.suffix.lower() == ".txt" else read_rows(input, quotes=quotes)
    examples = examples_of(rows, text_columns(texts, task, rows[0]), id_column)
    if card["task"].get("form") == "text":
        check_filled(examples)
    if isinstance(source, Column):
        examples = with_columns(examples, rows, source.names, task.text_count)
    elif source is not None and reads == "both":
        examples = _translated(examples, source, card)
    encoder = source if isinstance(source, EngineOptions) and reads == "latents" else None
    outputs = _read(opened, card, task, examples, reads, encoder, batch_size, base)
    write_atomic(output, write(output_rows(task, names_of(rows, id_column), outputs)))
    counted = Counter(outputs.predicted.tolist()) if isinstance(outputs, Choices) else Counter[int]()
    return Counts(
        rows=len(examples),
        labels={label: counted[place] for place, label in enumerate(task.labels)},
        empty=sum(any(not text.strip() for text in example.texts) for example in examples),
        no_source=sum(_bare(example) for example in examples) if reads == "both" else 0,
        truncated=max(outputs.truncated.values(), default=0),
    )


def _reads(card: Mapping[str, Any], adapter: Path, source: object, no_source: bool) -> Reads:
    """Return what the adapter is given; refuse what does not go together."""
    from crossflare.serving.card import kind_of

    kind = card.get("kind")
    reads: Reads = kind_of(card, adapter).reads
    if reads == "latents" and not no_source:
        if not isinstance(source, EngineOptions) or source.engine != "transformers":
            trained = _train_source(card).get("model")
            raise UserError(
                f"{adapter}: {kind} reads the states of the translation model {trained}; name it: "
                "--translate transformers --option model=FOLDER-OR-NAME, or --no-source"
            )
        return reads
    fuses = reads in ("both", "latents")
    if fuses and source is None and not no_source:
        raise UserError(
            f"{adapter}: this adapter reads texts with their translations into '{card.get('source')}'; say where: "
            "--source COLUMN, --translate ENGINE, or --no-source"
        )
    if not fuses and source is not None:
        raise UserError(f"{adapter}: {kind} reads no source; leave it out")
    return reads if not no_source else "target"


def _precision(card: Mapping[str, Any]) -> Precision:
    """Return how the adapter was trained, and read by its own run."""
    settings: dict[str, Any] = card.get("settings") or {}
    return settings.get("precision") or "auto"


def _train_source(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return who translated what the adapter was trained on; empty where that was no engine."""
    said = card.get("train_source")
    return said if isinstance(said, dict) else {}


def _translated(examples: list[Example], options: EngineOptions, card: Mapping[str, Any]) -> list[Example]:
    from crossflare.translation.engines.registry import ENGINES

    if options.engine not in ENGINES or options.engine == "precomputed" or "learn" in options.options:
        raise UserError(
            f"--translate {options.engine}: only a recipe's data set can do this; "
            "give a lexicon or a model, or use --source COLUMN"
        )
    pair = {"source": tag_of(str(card.get("language"))), "target": tag_of(str(card.get("source")))}
    engine = for_long_texts(build_engine(options, **pair))
    texts = [text for example in examples for text in example.texts]
    done = iter(engine.translate(texts, **pair))
    return [example.with_source(tuple(next(done) for _ in example.texts)) for example in examples]


def _read(
    opened: "Opened",
    card: Mapping[str, Any],
    task: Task,
    examples: list[Example],
    reads: Reads,
    encoder: EngineOptions | None,
    size: int,
    given: str | None,
) -> Outputs:
    from crossflare.evaluation.predict import predict
    from crossflare.fusion.adapter_files import load_adapter
    from crossflare.serving.card import kind_of
    from crossflare.training.bases.load import load_base
    from crossflare.training.forms.make import make_form

    named, said = card.get("model") or {}, card["task"]
    name = given or str(named.get("name") or opened.base.name)
    revision = named.get("revision") if name == named.get("name") else None
    answering: Any = said.get("form") or "head"
    quantise = named.get("quantise") or "none"
    first = opened.stage1 if quantise != "none" else None
    base = load_base(
        model_place(name),
        task,
        answering,
        revision=revision,
        seed=card.get("seed") or 0,
        called=name,
        quantise=quantise,
        merge=first,
        download=given is not None,
    )
    kind = kind_of(card, opened.folder)
    model = load_adapter(
        prepare(base.model, kind.mixes, card.get("mixing") or {}),
        opened.folder,
        base=base.identity,
        merged=first is not None,
    )
    devices.to_best_device(model)
    rows = [replace(example, source=None) if _bare(example) else example for example in examples]
    lengths: dict[str, Any] = {name: card[name] for name in ("stride", "answer_tokens") if name in card}
    form = make_form(
        task,
        answering,
        model,
        base.tokenizer,
        min(card.get("max_length") or 128, _window(base.model) // (2 if kind.joins else 1)),
        with_source=reads == "both",
        joined=kind.joins,
        mixes=kind.mixes,
        padded=kind.padded,
        words=said.get("words"),
        **lengths,
    )
    latents = _latents(encoder, rows, card) if encoder else None
    return predict(model, form, rows, read=reads, latents=latents, batch_size=size, precision=_precision(card))


def _window(model: Any) -> int:
    """Return how many tokens a model has positions for; very many where they are not learnt."""
    found = [each for name, each in model.named_modules() if name.endswith("position_embeddings")]
    sizes = [
        each.num_embeddings - (0 if each.padding_idx is None else each.padding_idx + 1)  # XLM-R counts from there
        for each in found
        if hasattr(each, "num_embeddings")
    ]
    return min(sizes, default=1 << 20)


def _latents(options: EngineOptions, rows: list[Example], card: Mapping[str, Any]) -> list[Any]:
    """Return the states of the translation encoder that FLARE MT was trained with, for each row."""
    language = str(card.get("language"))
    engine = build_engine(options, language, str(card.get("source")))
    made, wanted = dict(engine.identity), _train_source(card)
    # The name of a translator that a recipe trained is its content id, which stands for the revision, too.
    named = ("model",) if wanted.get("engine") == "trained" else ("model", "revision")
    different = [name for name in named if made.get(name) != wanted.get(name)]
    if different:
        name = different[0]
        raise UserError(
            f"the adapter was trained with the translation {name} {wanted.get(name)}, this engine has "
            f"{made.get(name)}; give the same model"
        )
    return encode_rows(engine, [example.texts for example in rows], language)


def _bare(example: Example) -> bool:
    """Whether nothing of the source is there: no translation, or a blank one."""
    return example.source is None or not any(text.strip() for text in example.source)
