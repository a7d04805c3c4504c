"""An export as the folders that the pipeline loads: `llm` with its sampling, and `text_encoder`."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from hart.modules.models.transformer import HARTForT2I
from hart.pipeline.settings import read_generation_config, write_generation_config
from training.common import tokenizer_folder
from training.latents import load_tokenizer
from training.pieces import load_export
from training.text import build_text_model, build_tokenizer, save_text, vocabulary
from training.train_transformer import Settings, model_config


@dataclass(frozen=True)
class Sampling:
    """How a model is painted with by default, in the words of the pipeline's call."""

    guidance_scale: float = 1.5
    num_maskgit_iters: int = 1
    more_smooth: bool = False
    top_k: int = 0
    top_p: float = 0.0
    final_stage: int = 0


def sampling_of(llm: Path) -> Sampling:
    """What a model's folder stores, else the pipeline's default."""
    return Sampling(**read_generation_config(llm))


def assemble(run: Path, folder: Path, sampling: Sampling) -> None:
    """Write `llm` and `text_encoder` in float16, and `tokenizer` if the run has its own.

    Args:
        run: folder with an export.
        folder: where to.
        sampling: stored with the model.

    Raises:
        ValueError: there is no export, a file of it is broken, it is of another world, or weights do not fit.
    """
    export = load_export(run)
    if export is None:
        raise ValueError(f"run must be a folder with an export, got {str(run)!r}.")
    tensors, facts = export
    if facts["vocabulary"] != vocabulary():
        raise ValueError(f"run must know the words of today's captions, got {str(run)!r} with other words.")
    settings = Settings(**facts["settings"])
    vae, tokenizer = load_tokenizer(tokenizer_folder(run)), build_tokenizer()
    model, text = HARTForT2I(model_config(settings, vae.config), vae=vae), build_text_model(len(tokenizer))
    _fill(model, tensors, "hart.")
    _fill(text, tensors, "text.")
    model.config.dtype = torch.float16
    model.half().save_pretrained(folder / "llm")
    write_generation_config(asdict(sampling), folder / "llm")
    save_text(folder / "text_encoder", tokenizer, text.half())
    if (run / "tokenizer").is_dir():
        shutil.copytree(run / "tokenizer", folder / "tokenizer")


def _fill(module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"weights of the export do not fit its settings: {error}") from error
