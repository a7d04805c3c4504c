"""Write the trained tokenizer into the package: `python -m training.export_tokenizer`.

The latent is rescaled so that what the codes leave over fits the diffusion head, whose results lie within 0.6; the
scale goes into the weights around it and changes no picture.
"""

import argparse

import torch
from torch import nn

from hart.modules.models.autoencoder import (
    HARTAutoEncoder,
    HARTAutoEncoderConfig,
    HARTAutoEncoderWithDisc,
    HARTAutoEncoderWithDiscConfig,
)
from hart.modules.models.autoencoder.quantize.phi import PhiConv
from training.common import EMBEDDED, RUNS, load_checkpoint
from training.stream import TrainingScenes

HEAD_RANGE, COVERED = 0.6, 0.995


@torch.no_grad()
def residual_quantile(model: HARTAutoEncoder) -> float:
    """Absolute value that all but 0.5 % of the residuals stay below."""
    f = model.img_to_latent(TrainingScenes(seed=1, big_share=0.6).batch(128))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="tokenizer")
    state = load_checkpoint(RUNS / parser.parse_args().run / "last.pt")
    settings = state["settings"]
    names = ("vocab_size", "z_channels", "ch", "ch_mult", "norm_groups")
    fields = {name: settings[name] for name in names} | {"quantizer_type": "var_hybrid"}
    model = HARTAutoEncoder(HARTAutoEncoderConfig(**fields)).eval()
    model.load_state_dict(state["model"])
    quantile = residual_quantile(model)
    rescale_latent(model, HEAD_RANGE / quantile)
    shell = HARTAutoEncoderWithDisc(HARTAutoEncoderWithDiscConfig(**fields))
    shell.vae = model
    for module in shell.modules():  # weights back to the usual memory layout
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous()
    shell.half().save_pretrained(EMBEDDED / "tokenizer")
    print(f"99.5 % of residuals were below {quantile:.3f}; latent scaled by {HEAD_RANGE / quantile:.3f}")


if __name__ == "__main__":
    main()
