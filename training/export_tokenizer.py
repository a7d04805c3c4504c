"""Write the trained tokenizer into the package: `python -m training.export_tokenizer`.

The latent is rescaled so that what the codes leave over fits the diffusion head, whose results lie within 0.6; the
scale goes into the weights around it and changes no picture.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hart.modules.models.autoencoder import (
    HARTAutoEncoder,
    HARTAutoEncoderWithDisc,
    HARTAutoEncoderWithDiscConfig,
)
from hart.modules.models.autoencoder.quantize.phi import PhiConv
from training.common import EMBEDDED, RUNS, add_device_arguments, chosen_device, swap_folder
from training.pieces import load_export
from training.stream import TrainingScenes
from training.train_tokenizer import build_tokenizer_model

HEAD_RANGE, COVERED = 0.6, 0.995


@torch.no_grad()
def residual_quantile(model: HARTAutoEncoder, device: torch.device) -> float:
    """Absolute value that all but 0.5 % of the residuals stay below."""
    f = model.img_to_latent(TrainingScenes(seed=1, big_share=0.6, device=device).batch(128))
    idx_Bl, rest = model.quantize.f_to_idxBl_and_frest(f)
    residual = rest - model.quantize.embedding(idx_Bl[-1])
    return float(residual.abs().flatten()[::5].quantile(COVERED))


@torch.no_grad()
def rescale_latent(model: HARTAutoEncoder, scale: float) -> None:
    """Multiply the latent by `scale` without changing any picture or code index."""
    model.quant_conv.weight.mul_(scale)
    model.quant_conv.bias.mul_(scale)
    model.quantize.embedding.weight.mul_(scale)
    for module in model.quantize.modules():
        if isinstance(module, PhiConv):
            module.bias.mul_(scale)
    model.post_quant_conv.weight.div_(scale)


def trained_tokenizer(folder: Path, device: torch.device) -> tuple[HARTAutoEncoder, dict]:
    """A run's model and settings.

    Raises:
        ValueError: the folder holds no export.
    """
    export = load_export(folder)
    if export is None:
        raise ValueError(f"run must be a folder with an export of `training.train_tokenizer`, got {str(folder)!r}.")
    tensors, facts = export
    model = build_tokenizer_model(facts["settings"]).eval()
    model.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("codebook.")})
    return model.to(device), facts["settings"]


@dataclass(frozen=True)
class Rescaled:
    """Where the residuals reached, and by what the latent was multiplied."""

    quantile: float
    scale: float


def export_tokenizer(run: Path, folder: Path, device: torch.device) -> Rescaled:
    """Write a run's tokenizer as a folder that `HARTAutoEncoderWithDisc` loads; the old folder goes last."""
    model, settings = trained_tokenizer(run, device)
    quantile = residual_quantile(model, device)
    scale = HEAD_RANGE / quantile
    rescale_latent(model, scale)
    names = ("vocab_size", "z_channels", "ch", "ch_mult", "norm_groups")
    fields = {name: settings[name] for name in names} | {"quantizer_type": "var_hybrid"}
    shell = HARTAutoEncoderWithDisc(HARTAutoEncoderWithDiscConfig(**fields))
    shell.vae = model.cpu()
    for module in shell.modules():  # weights back to the usual memory layout
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous()
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shell.half().save_pretrained(fresh)
    swap_folder(fresh, folder)
    return Rescaled(quantile, scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=RUNS / "tokenizer", help="folder of the run")
    add_device_arguments(parser)
    arguments = parser.parse_args()
    device = chosen_device(arguments)
    done = export_tokenizer(arguments.run, EMBEDDED / "tokenizer", device)
    print(f"99.5 % of residuals were below {done.quantile:.3f}; latent scaled by {done.scale:.3f}")


if __name__ == "__main__":
    main()
