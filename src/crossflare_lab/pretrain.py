"""Pre-training of the laboratory's models: done once, kept in the cache folder, continued after a kill."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from crossflare.disk.files import commit_dir, open_dir, write_json
from crossflare.libraries.transformers import quiet
from crossflare.training.loop.fit import Outcome, fit
from crossflare.training.loop.settings import Settings
from crossflare_lab.architectures import build
from crossflare_lab.corpus import documents
from crossflare_lab.models import PretrainRecipe
from crossflare_lab.objectives import Collator, DocumentRows, loss
from crossflare_lab.tokenizer import LONGEST, train_tokenizer

CARD = "card.json"
_TOKENIZER_TEXT = 6000
"""How many documents the vocabulary is learnt from, the languages in equal numbers."""


def pretrain(recipe: PretrainRecipe) -> Path:
    """Train the model of a recipe, or find it in the cache; return its folder.

    The folder is a transformers model with its tokenizer, and a card: the recipe, the curve of the loss, tokens per
    language, seconds.

    Raises:
        UserError: The cache folder cannot be written, its files are damaged, or another process trains the same model.
    """
    folder = recipe.folder
    if folder.is_dir():
        open_dir(folder)
        return folder
    tokenizer: Any = train_tokenizer(
        (d.text for d in documents(_TOKENIZER_TEXT, 0.75, recipe.seed, recipe.world)),
        recipe.vocabulary,
        recipe.family,
    )
    corpus = documents(recipe.documents, recipe.target_share, recipe.seed, recipe.world)
    rows = DocumentRows(corpus, tokenizer, recipe.family, recipe.world)
    model = build(recipe.family, tokenizer, recipe.width, recipe.layers, recipe.seed)
    settings = Settings(
        lr=recipe.lr, epochs=1, batch_size=recipe.batch_size, warmup=0.05, weight_decay=0.01, max_length=LONGEST,
        seed=recipe.seed, precision="fp32", evaluations=10, select="last",
    )  # fmt: skip
    work = folder.parent / f".{folder.name}.run"
    collate = Collator(tokenizer, recipe.family)
    outcome = fit(model, rows, collate, loss, None, settings, work, {"recipe": recipe.identity})
    tokens: Counter[str] = Counter()
    for document, row in zip(corpus, rows, strict=True):
        tokens[document.language] += len(row.ids)

    def fill(target: Path) -> None:
        with quiet():
            model.cpu().save_pretrained(target)
            tokenizer.save_pretrained(target)
        write_json(target / CARD, _card(recipe, outcome, tokens, model))

    commit_dir(folder, fill)
    shutil.rmtree(work, ignore_errors=True)
    return folder


def _card(recipe: PretrainRecipe, outcome: Outcome, tokens: Counter[str], model: Any) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "recipe": recipe.identity,
        "architecture": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens": dict(sorted(tokens.items())),
        "losses": [[point.step, point.loss] for point in outcome.curve if point.loss is not None],
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
    }
