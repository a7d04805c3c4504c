"""Reconstruction by the shipped tokenizer on held-out pictures: `python -m training.evaluate_tokenizer`.

Prints PSNR after each stage from codes alone, with the continuous remainder, and without the last two stages, and
writes a sheet (original, codes after stages 6, 8 and 10, with remainder) to look at.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hart.modules.models.autoencoder import HARTAutoEncoder
from hart.utils import grid, save_png, to_pil
from training.common import add_device_arguments, chosen_device
from training.data import compose_batch, held_out_scenes, load_sprites
from training.latents import load_tokenizer
from training.stream import to_tensor
from training.train_tokenizer import psnr

SHOWN_STAGES = (5, 7, 9)


@torch.no_grad()
def reconstructions(images: Tensor, vae: HARTAutoEncoder) -> tuple[list[Tensor], Tensor]:
    """Pictures after each stage from codes alone (no phi at the last, as in generation), and the continuous one."""
    f = vae.img_to_latent(images)
    f_hat, pictures = torch.zeros_like(f), []
    for _, _, part in vae.quantize.residual_stages(f, vae.quantize.v_patch_nums, phi_at_last=False):
        f_hat = f_hat + part
        pictures.append(vae.fhat_to_img(f_hat))
    return pictures, vae.fhat_to_img(f)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--sheet", type=Path, default=Path("outputs/tokenizer.png"))
    add_device_arguments(parser)
    arguments = parser.parse_args()
    device = chosen_device(arguments)
    scenes = held_out_scenes()
    chosen = np.random.default_rng(5).choice(len(scenes), arguments.pictures, replace=False)
    images = to_tensor(torch.from_numpy(compose_batch([scenes[i] for i in chosen], load_sprites())).to(device))
    stages, continuous = reconstructions(images, load_tokenizer().to(device))
    after = [round(psnr(picture, images), 2) for picture in stages]
    report = {
        "pictures": arguments.pictures,
        "psnr_after_stage": after,
        "psnr_discrete": after[-1],
        "psnr_continuous": round(psnr(continuous, images), 2),
        "lost_without_last_two_stages": round(psnr(continuous, images) - after[-3], 2),
    }
    print(json.dumps(report))
    rows = [images, *(stages[i] for i in SHOWN_STAGES), continuous]
    tiles = torch.cat([row[:8] for row in rows]).add(1).div(2)
    arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
    save_png(grid(to_pil(tiles), columns=8), arguments.sheet)


if __name__ == "__main__":
    main()
