"""Continuous latents of the training pictures under the shipped tokenizer: `python -m training.latents`. Resumable.

All big scenes and, of each small object, two of its five places, so that encoding takes minutes.
"""

import argparse

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hart.modules.models.autoencoder import HARTAutoEncoder, HARTAutoEncoderWithDisc
from training.common import EMBEDDED, RUNS, save_checkpoint
from training.data import COLOURS, STYLES, Scene, compose_batch, is_held_out, load_objects, load_sprites
from training.stream import to_tensor

CORNERS = ("top left", "top right", "bottom left", "bottom right")
LATENTS = RUNS / "latents.pt"


def load_shipped_tokenizer() -> HARTAutoEncoder:
    return HARTAutoEncoderWithDisc.from_pretrained(EMBEDDED / "tokenizer", dtype=torch.float32).vae.eval()


def chosen_scenes(places: int, seed: int = 0) -> list[Scene]:
    """Training scenes to encode: every big one, and `places` random places of each small one."""
    rng, scenes = np.random.default_rng(seed), []
    for index in range(len(load_objects())):
        for style in STYLES:
            for colour in COLOURS:
                big = Scene(index, style, colour)
                if is_held_out(big):
                    continue
                chosen = rng.permutation(("center", *CORNERS))[:places]
                scenes += [big, *(Scene(index, style, colour, "small", str(place)) for place in chosen)]
    return scenes


@torch.no_grad()
def encode(vae: HARTAutoEncoder, scenes: list[Scene], batch_size: int = 32) -> Tensor:
    """Latents [N, c, P, P] in float16."""
    sprites, parts = load_sprites(), []
    vae.to(memory_format=torch.channels_last)
    for start in tqdm(range(0, len(scenes), batch_size), desc="encoding", mininterval=20):
        img = to_tensor(compose_batch(scenes[start : start + batch_size], sprites))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = vae.encoder(img)
        parts.append(vae.quant_conv(h.float()).half())
    return torch.cat(parts)


def scene_to_row(scene: Scene) -> list[int]:
    """A scene as numbers, for a checkpoint that holds tensors only."""
    places = ("center", *CORNERS)
    return [
        scene.object_index,
        STYLES.index(scene.style),
        list(COLOURS).index(scene.colour),
        int(scene.size == "small"),
        places.index(scene.position),
    ]


def row_to_scene(row: list[int]) -> Scene:
    index, style, colour, small, place = row
    size = "small" if small else "big"
    return Scene(index, STYLES[style], list(COLOURS)[colour], size, ("center", *CORNERS)[place])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=2, help="places of each small object, 0 to 5")
    scenes = chosen_scenes(parser.parse_args().places)
    # Shuffled, so that any prefix is a fair sample and an interrupt costs little.
    order = np.random.default_rng(1).permutation(len(scenes))
    scenes = [scenes[i] for i in order]
    latents = encode(load_shipped_tokenizer(), scenes)
    save_checkpoint(LATENTS, {"latents": latents, "rows": torch.tensor([scene_to_row(scene) for scene in scenes])})


if __name__ == "__main__":
    main()
