"""Load the language model that encodes prompts, and the system prompt that belongs to a checkpoint."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from hart.utils.files import read_json, read_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SYSTEM_PROMPT_FILE = "system_prompt.txt"


class TextModel(NamedTuple):
    """A language model without head, in evaluation mode, and its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def load_text_model(
    path: str | os.PathLike[str],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    attn_implementation: str | None = None,
) -> TextModel:
    """Load a decoder-only language model and its tokenizer from a folder; nothing is fetched from a network.

    Args:
        path: folder with `config.json`, safetensors weights and the tokenizer's files.
        dtype: dtype of the weights.
        device: where the weights go.
        attn_implementation: of the language model, as transformers names it; None is its default.

    Raises:
        FileNotFoundError: the folder or its `config.json` is missing.
        ValueError: configuration, weights or tokenizer cannot be read, or some weights are missing or of another shape.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel

    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"text model folder {str(folder)!r} does not exist; give a folder on this machine")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"text model folder {str(folder)!r} has no config.json")
    _refuse_other_forms(folder)
    try:
        tokenizer = _load_tokenizer(folder)
        with _quietly():
            model, report = AutoModel.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation=attn_implementation,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below; transformers would raise without naming them
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"text model in {str(folder)!r} cannot be loaded: {error}") from error
    _check_report(folder, report)
    return TextModel(model.to(device).eval(), tokenizer)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from drawing a bar, and from logging weights that do not fit: one sentence names them."""
    from transformers.utils import logging as transformers_logging

    from hart.utils.checkpoint import no_progress_bar

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with no_progress_bar():
            yield
    finally:
        transformers_logging.set_verbosity(before)


def _refuse_other_forms(folder: Path) -> None:
    """Say what to do about weights that are there in the wrong form; transformers would say that there are none."""
    from hart.utils.checkpoint import refuse_pointer

    for file in folder.glob("*.safetensors"):
        refuse_pointer(file)
    pickles = sorted(folder.glob("*.bin"))
    if pickles and not list(folder.glob("*.safetensors")):
        raise ValueError(
            f"text model weights must be safetensors, got {str(pickles[0])!r}; load them with transformers and save "
            "them again with save_pretrained()."
        )


def _check_report(folder: Path, report: dict[str, Any]) -> None:
    """Refuse weights that are missing or of another shape; transformers would go on with random ones in their place."""
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(f"text model in {str(folder)!r} lacks {len(missing)} weights, among them {missing[0]!r}")
    if report["mismatched_keys"]:
        key, given, expected = sorted(report["mismatched_keys"])[0]
        raise ValueError(
            f"text model in {str(folder)!r} has {key!r} of shape {list(given)}; its config asks for {list(expected)}"
        )


def _load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of the class that its own configuration names.

    `AutoTokenizer` of transformers 5 goes by the model's type instead, so that a model of type qwen2 with a
    tokenizer of another kind is silently given Qwen2's way of splitting words.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    config_file = folder / "tokenizer_config.json"
    config = read_json(config_file) if config_file.is_file() else {}
    plain = config.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")  # older and newer name
    loader = PreTrainedTokenizerFast if plain else AutoTokenizer
    return loader.from_pretrained(folder, local_files_only=True)


def load_system_prompt(checkpoint_root: str | os.PathLike[str]) -> str | None:
    """Read `system_prompt.txt` of a checkpoint, the folder that holds `llm` and `tokenizer`.

    The text is returned as it stands, final line break included: the image model was trained with exactly one text.
    A byte order mark is left out and line ends become line feeds, since an editor may have added them.

    Returns:
        The text, empty where the file is (the checkpoint needs none), or None if there is no such file.
    """
    file = Path(checkpoint_root) / SYSTEM_PROMPT_FILE
    return read_text(file) if file.is_file() else None
