"""Where the parts of a checkpoint lie: `<root>/llm`, `<root>/tokenizer`, `<root>/text_encoder`."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hart.utils.files import read_json

logger = logging.getLogger(__name__)


def transformer_folder(path: str | os.PathLike[str], model_type: str = "hart_transformer_t2i") -> Path:
    """The folder with the transformer's `config.json`: the path itself or its `llm` folder.

    Raises:
        FileNotFoundError: there is no such folder, or no `config.json` in it.
        ValueError: the config belongs to another kind of model.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"model path {str(path)!r} is not a folder; give a checkpoint's root or `llm` folder.")
    for folder in (path, path / "llm"):
        if (folder / "config.json").is_file() and (folder != path or not (path / "llm" / "config.json").is_file()):
            check_model_type(folder, model_type)
            return folder
    raise FileNotFoundError(f"{str(path / 'config.json')!r} does not exist; a checkpoint's `llm` folder holds one.")


def check_model_type(folder: Path, model_type: str) -> None:
    """Raise a ValueError unless the folder's `config.json` is JSON of this model type."""
    file = folder / "config.json"
    try:
        found = read_json(file).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{str(file)!r} is not a JSON object; download it again.") from error
    if found != model_type:
        raise ValueError(f"{str(file)!r} has model_type {found!r}; allowed is {model_type!r}.")


@contextmanager
def named_in_errors(file: Path) -> Iterator[None]:
    """Put a file in front of the sentence of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{str(file)!r}: {' '.join(str(error).split())}") from error


def tokenizer_folder(llm_folder: str | Path, vae_path: str | None = None) -> Path:
    """The tokenizer's folder: the configured one, else the sibling `tokenizer` of the transformer's folder.

    A config may name a folder of the machine that it was written on, so one that does not exist only warns.

    Raises:
        FileNotFoundError: neither has a `config.json`.
    """
    sibling = Path(llm_folder).resolve().parent / "tokenizer"
    if vae_path and (Path(vae_path) / "config.json").is_file():
        return Path(vae_path)
    if (sibling / "config.json").is_file():
        if vae_path:
            logger.warning("vae_path %r has no config.json; the tokenizer of %r is taken.", vae_path, str(sibling))
        return sibling
    missing = f"{str(sibling / 'config.json')!r} does not exist; the tokenizer is a sibling of `llm`"
    raise FileNotFoundError(f"vae_path {vae_path!r} has no config.json and {missing}." if vae_path else f"{missing}.")
