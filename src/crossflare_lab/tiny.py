"""`--tiny`: a recipe's whole grid with tiny random models and made-up rows, to check that it runs before it costs much.

These stay: tasks, languages, methods and their options, forms, the grid, learning rates, ranks. These are replaced:
every model by a random one of the same architecture, the rows by 32 made-up ones per part, translators by the
dictionary of the made-up words, translation encoders by a random one; and there is one epoch, one evaluation, one seed,
no quantisation.
"""

from dataclasses import replace

from crossflare.errors import UserError
from crossflare.recipe.grid import Cell, Recipe
from crossflare.recipe.methods import MethodSpec
from crossflare.recipe.spec import ModelSpec, Spec, Training
from crossflare.recipe.task import TaskSpec
from crossflare.recipe.translation import EngineOptions, Limit, TranslationSpec
from crossflare_lab.tiny_models import LAYERS, tiny_model, tiny_translator
from crossflare_lab.tiny_rows import ROWS, lexicons, tiny_set


def tiny(recipe: Recipe) -> Recipe:
    """Return a recipe with every large part replaced; its name ends with `-tiny`.

    Models and rows are made, once, in the user's cache folder.

    Raises:
        UserError: A model's architecture or a data set has no tiny one.
    """
    cells = {cell.name: Cell(_spec(cell.spec), cell.values) for cell in recipe.cells}
    return Recipe(tuple(cells.values()), tuple(cells[cell.name] for cell in recipe.chosen), recipe.axes)


def _spec(spec: Spec) -> Spec:
    return replace(
        spec,
        name=f"{spec.name}-tiny",
        task=_task(spec.task),
        model=ModelSpec(str(tiny_model(spec.model.name))),
        seeds=spec.seeds[:1],
        translation=_translation(spec.translation, spec.source),
        stage1=_training(spec.stage1),
        stage2=_training(spec.stage2),
        methods=tuple(map(_method, spec.methods)),
    )


def _task(task: TaskSpec) -> TaskSpec:
    if task.set is None:
        raise UserError("--tiny makes up rows for named sets, and this recipe has files of its own; limit its rows")
    dev = ROWS if task.dev_from_train else None
    return replace(task, folder=str(tiny_set(task.set)), limit=Limit(ROWS, ROWS, ROWS), dev_from_train=dev)


def _training(training: Training) -> Training:
    return replace(
        training,
        epochs=1,
        evaluations=1,
        patience=None,
        max_length=min(training.max_length, 96),  # the models read twice that, and an answer
        stride=min(training.stride, 32),
        answer_tokens=min(training.answer_tokens, 6),
        precision="fp32",
    )


def _method(method: MethodSpec) -> MethodSpec:
    block = method.mix_block and min(method.mix_block, LAYERS - 1)
    blocks = method.mix_blocks and min(method.mix_blocks, LAYERS - (block or 0))
    return replace(method, epochs=method.epochs and 1, mix_block=block, mix_blocks=blocks)


def _translation(translation: TranslationSpec, source: str) -> TranslationSpec:
    lexicon = str(lexicons(source) / "{source}-{target}.tsv")
    routes = {"to_target": translation.to_target, "to_source": translation.to_source, "answers": translation.answers}
    words = {
        route: EngineOptions("dictionary", {"lexicon": lexicon})
        for route, engine in routes.items()
        if engine is not None and engine.engine != "parallel"
    }
    latents = translation.latents
    if latents is not None:
        kept = {name: value for name, value in latents.options.items() if name in ("mt_language", "store")}
        model = str(tiny_translator(str(latents.options.get("model", latents.engine))))
        latents = EngineOptions("transformers", {"model": model, "licence": "none: random weights", **kept})
    return replace(translation, **words, latents=latents, translator=None)
