"""A pipeline as a folder that `HARTPipeline.from_pretrained` reads back."""

import copy
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from hart.modules.models.autoencoder import HARTAutoEncoder, HARTAutoEncoderWithDisc, HARTAutoEncoderWithDiscConfig
from hart.pipeline.loading import CACHE_CONFIG_FILE
from hart.pipeline.settings import write_generation_config
from hart.utils.files import write_whole
from hart.utils.results import finished_folder
from hart.utils.text_model import SYSTEM_PROMPT_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hart.modules.cache.config import HARTCacheConfig
    from hart.modules.models.transformer import HARTForT2I

PARTS = ("llm", "tokenizer", "text_encoder")
TABLE_FILE = "similarity_table.json"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".index.json")


class SavedParts(Protocol):
    """What of a pipeline is saved."""

    model: "HARTForT2I"
    tokenizer: "PreTrainedTokenizerBase"
    system_prompt: str | None
    generation_config: dict[str, Any]

    @property
    def text_model(self) -> "PreTrainedModel":
        """The language model."""


def save_pipeline(pipeline: SavedParts, folder: str | os.PathLike[str]) -> Path:
    """Write every part; see `HARTPipeline.save_pretrained`."""
    if not isinstance(folder, str | os.PathLike):
        raise ValueError(f"save_directory must be a folder, got {folder!r}.")
    target = Path(folder)
    with finished_folder(target) as unfinished:
        _save_transformer(pipeline.model, unfinished / "llm")
        write_generation_config(pipeline.generation_config, unfinished / "llm")
        save_tokenizer(pipeline.model.vae, unfinished / "tokenizer")
        pipeline.text_model.save_pretrained(unfinished / "text_encoder")
        pipeline.tokenizer.save_pretrained(unfinished / "text_encoder")
        # Empty where there is none: from_pretrained would warn of a file that is missing.
        write_whole(unfinished / SYSTEM_PROMPT_FILE, pipeline.system_prompt or "")
        config = pipeline.model.caching.config if pipeline.model.use_cache else None
        if config is not None:
            _save_cache_config(config, unfinished)
        _refuse_other_weights(target, unfinished)
    if config is None:
        (target / CACHE_CONFIG_FILE).unlink(missing_ok=True)
    return target


def save_tokenizer(vae: HARTAutoEncoder, folder: Path) -> None:
    """Write the image tokenizer in the published layout: inside the shell that also held a discriminator."""
    fields = {
        name: value for name, value in vae.config.to_dict().items() if name not in ("model_type", "architectures")
    }
    with torch.device("meta"):  # its own autoencoder is not needed
        shell = HARTAutoEncoderWithDisc(HARTAutoEncoderWithDiscConfig(**fields))
    shell.vae = vae
    shell.save_pretrained(folder)


def _save_transformer(model: "HARTForT2I", folder: Path) -> None:
    model.save_pretrained(folder)
    config = copy.deepcopy(model.config)
    config.vae_path = None  # the tokenizer is the sibling folder from now on
    config.architectures = ["HARTForT2I"]
    config.save_pretrained(folder)


def _save_cache_config(config: "HARTCacheConfig", folder: Path) -> None:
    if config.sim_path is not None:
        shutil.copyfile(config.sim_path, folder / TABLE_FILE)
        config = replace(config, sim_path=TABLE_FILE)
    config.to_json(folder / CACHE_CONFIG_FILE)


def _refuse_other_weights(target: Path, unfinished: Path) -> None:
    """Raise a ValueError for weights in the folder that would be read instead of those that are saved, or with them."""
    for part in PARTS:
        for file in sorted((target / part).glob("*")):
            if file.name.endswith(WEIGHT_SUFFIXES) and not (unfinished / part / file.name).exists():
                raise ValueError(
                    f"save_directory must be a folder without other weights, got {str(target)!r}, in which "
                    f"'{part}/{file.name}' would be read instead; give another folder or remove it."
                )
