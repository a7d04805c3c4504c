"""Which folders a pipeline is read from."""

import logging
import os
from pathlib import Path

from hart.embedded import embedded_model_path, is_embedded
from hart.utils.paths import transformer_folder
from hart.utils.text_model import SYSTEM_PROMPT_FILE, load_system_prompt

logger = logging.getLogger(__name__)


def model_folder(model_path: str | os.PathLike[str] | None) -> Path:
    """Folder of the image model; None is the embedded one."""
    if model_path is not None:
        return transformer_folder(model_path)
    folder = embedded_model_path()
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"the embedded model is not in {str(folder)!r}; install the package again.")
    return folder


def text_model_folder(folder: Path, text_model_path: str | os.PathLike[str] | None) -> Path:
    """Folder of the language model; None is the one beside the image model."""
    if text_model_path is not None:
        return Path(text_model_path)
    beside = folder.resolve().parent / "text_encoder"
    if not beside.is_dir():
        raise FileNotFoundError(
            f"{str(beside)!r} does not exist; give text_model_path, the folder of the language model that the "
            "checkpoint was trained with (the published one: the text part of Qwen2-VL-2B-Instruct)."
        )
    return beside


def stored_system_prompt(folder: Path) -> str | None:
    """The text beside a checkpoint; a checkpoint that is not ours most likely needs one."""
    root = folder.resolve().parent
    system_prompt = load_system_prompt(root)
    if system_prompt is None and not is_embedded(folder):
        logger.warning(
            "no system prompt: %s does not exist and system_prompt is None. The published checkpoints were trained "
            "with an instruction in front of every prompt; without it pictures follow prompts less well and differ "
            'from the published ones. Pass system_prompt="" if yours needs none.',
            root / SYSTEM_PROMPT_FILE,
        )
    return system_prompt
