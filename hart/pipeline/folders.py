"""Which folders a pipeline is read from, by folder or by hub id."""

import logging
import os
from pathlib import Path

from hart.embedded import embedded_model_path, is_embedded
from hart.utils.hub import HubOptions, checkpoint_folder, is_hub_id
from hart.utils.hub import text_model_folder as fetched_text_model
from hart.utils.paths import transformer_folder
from hart.utils.text_model import SYSTEM_PROMPT_FILE, load_system_prompt

logger = logging.getLogger(__name__)

PUBLISHED_TEXT_MODEL = "mit-han-lab/Qwen2-VL-1.5B-Instruct"
TEXT_MODEL_OF = {"mit-han-lab/hart-0.7b-1024px": PUBLISHED_TEXT_MODEL}
"""Text models of checkpoints on the hub that do not hold their own."""

StrPath = str | os.PathLike[str]


def model_folder(model_path: StrPath | None, options: HubOptions, ema: bool = True, progress: bool = True) -> Path:
    """Folder of the image model; None is the embedded one.

    Raises:
        FileNotFoundError, ValueError: one sentence on what is missing or does not fit.
    """
    if model_path is not None:
        folder = checkpoint_folder(model_path, options, ema, with_text=True, progress=progress)
        return transformer_folder(folder).absolute()
    folder = embedded_model_path()
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"the embedded model is not in {str(folder)!r}; install the package again.")
    return folder


def text_model_folder(
    folder: Path,
    text_model_path: StrPath | None,
    model_path: StrPath | None = None,
    options: HubOptions = HubOptions(),  # noqa: B008 (frozen)
    progress: bool = True,
) -> Path:
    """Folder of the language model; None is the one beside the image model, or the one that is known for its hub id.

    Raises:
        FileNotFoundError: there is none; the message says how to give one.
    """
    elsewhere = HubOptions(None, options.cache_dir, options.token, options.local_files_only)
    if text_model_path is not None:
        return fetched_text_model(text_model_path, elsewhere, progress)
    beside = folder.resolve().parent / "text_encoder"
    if beside.is_dir():
        return beside
    if is_hub_id(model_path) and model_path in TEXT_MODEL_OF:
        return fetched_text_model(TEXT_MODEL_OF[str(model_path)], elsewhere, progress)
    raise FileNotFoundError(
        f"{str(beside)!r} does not exist; give text_model_path, the folder or hub id of the language model that the "
        f"checkpoint was trained with (the published one: {PUBLISHED_TEXT_MODEL!r}, the text part of "
        "Qwen2-VL-2B-Instruct)."
    )


def stored_system_prompt(folder: Path) -> str | None:
    """The text beside a checkpoint; a checkpoint that is not ours most likely needs one."""
    root = folder.resolve().parent
    system_prompt = load_system_prompt(root)
    if system_prompt is None and not is_embedded(folder):
        logger.warning(
            "no system prompt: %s does not exist and system_prompt is None. The published checkpoints were trained "
            "with an instruction in front of every prompt; without it pictures follow prompts less well and differ "
            "from the published ones. `python -m hart.system_prompt PUBLISHED_CLONE %s` takes it from a clone of the "
            'published code. Pass system_prompt="" if yours needs none.',
            root / SYSTEM_PROMPT_FILE,
            root,
        )
    return system_prompt
