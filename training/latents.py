"""Continuous latents of the training pictures under the shipped tokenizer: `python -m training.latents`. Resumable.

Shards of 1,000 scenes go to `training/runs/latents`; those that are there already are not encoded again, unless another
tokenizer made them.

All big scenes and, of each small object, both of its places.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hart.modules.models.autoencoder import HARTAutoEncoder, HARTAutoEncoderWithDisc
from hart.utils.digest import tensors_digest
from training.common import (
    EMBEDDED,
    RUNS,
    add_device_arguments,
    autocast,
    chosen_device,
    load_checkpoint,
    save_checkpoint,
)
from training.data import COLOURS, STYLES, Scene, compose_batch, is_held_out, load_objects, load_sprites
from training.stream import to_tensor

CORNERS = ("top right", "bottom left")
SHARDS = RUNS / "latents"
SHARD_SIZE = 1000
# Where an earlier version of this script wrote all latents at once.
LATENTS = RUNS / "latents.pt"


def load_tokenizer(folder: Path = EMBEDDED / "tokenizer") -> HARTAutoEncoder:
    return HARTAutoEncoderWithDisc.from_pretrained(folder, dtype=torch.float32).vae.eval()


def chosen_scenes(places: int, seed: int = 0) -> list[Scene]:
    """Training scenes to encode: every big one, and `places` random places of each small one."""
    rng, scenes = np.random.default_rng(seed), []
    for index in range(len(load_objects())):
        for style in STYLES:
            for colour in COLOURS:
                big = Scene(index, style, colour)
                if is_held_out(big):
                    continue
                chosen = rng.permutation(CORNERS)[:places]
                scenes += [big, *(Scene(index, style, colour, "small", str(place)) for place in chosen)]
    return scenes


@torch.no_grad()
def encode(vae: HARTAutoEncoder, scenes: list[Scene], batch_size: int = 32) -> Tensor:
    """Latents [N, c, P, P] in float16 on the CPU, computed where the tokenizer is."""
    sprites, parts, device = load_sprites(), [], next(vae.parameters()).device
    vae.to(memory_format=torch.channels_last)
    for start in tqdm(range(0, len(scenes), batch_size), desc="encoding", mininterval=20):
        img = to_tensor(torch.from_numpy(compose_batch(scenes[start : start + batch_size], sprites)).to(device))
        with autocast(device):
            h = vae.encoder(img)
        parts.append(vae.quant_conv(h.float()).half())
    return torch.cat(parts).cpu()


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


def encoder_digest(vae: HARTAutoEncoder) -> str:
    """SHA-256 of the weights that latents depend on."""
    return tensors_digest(vae, ("encoder.", "quant_conv."))


def save_shards(vae: HARTAutoEncoder, scenes: list[Scene], folder: Path = SHARDS, size: int = SHARD_SIZE) -> None:
    """Encode scenes into numbered files, but for files that hold the same scenes by the same tokenizer already."""
    parts, digest = [scenes[start : start + size] for start in range(0, len(scenes), size)], encoder_digest(vae)
    for number, part in enumerate(parts):
        file, rows = folder / f"{number:04d}.pt", torch.tensor([scene_to_row(scene) for scene in part])
        done = load_checkpoint(file)
        if done is None or done.get("encoder") != digest or not torch.equal(done["rows"], rows):
            save_checkpoint(file, {"latents": encode(vae, part), "rows": rows, "encoder": digest})
    for file in sorted(folder.glob("*.pt"))[len(parts) :]:
        file.unlink()


def load_latents(vae: HARTAutoEncoder, folder: Path = SHARDS, single: Path = LATENTS) -> tuple[Tensor, list[Scene]]:
    """Latents [N, c, P, P] and their scenes, from all shards or else the single file.

    Args:
        vae: the tokenizer that must have made them.
        folder: of the shards.
        single: file without shards; it does not say who made it.

    Raises:
        FileNotFoundError: there are neither.
        ValueError: another tokenizer made them.
    """
    files = sorted(folder.glob("*.pt")) or [file for file in (single,) if file.exists()]
    if not files:
        raise FileNotFoundError(f"{str(folder)!r} holds no latents; run `python -m training.latents` first.")
    parts, digest = [torch.load(file, weights_only=True) for file in files], encoder_digest(vae)
    for file, part in zip(files, parts, strict=True):
        if file != single and part.get("encoder") != digest:
            raise ValueError(f"{str(file)!r} is by another tokenizer; run `python -m training.latents` again.")
    rows = torch.cat([part["rows"] for part in parts]).tolist()
    return torch.cat([part["latents"] for part in parts]), [row_to_scene(row) for row in rows]


def encode_all(
    vae: HARTAutoEncoder, places: int = len(CORNERS), folder: Path = SHARDS, most: int | None = None
) -> None:
    """Make the shards of the training scenes, of `most` at most; those that are there stay."""
    scenes = chosen_scenes(places)
    # Shuffled, so that any prefix is a fair sample and an interrupt costs little.
    order = np.random.default_rng(1).permutation(len(scenes))
    save_shards(vae, [scenes[i] for i in order[:most]], folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=len(CORNERS), help="places of each small object, 0 to 2")
    add_device_arguments(parser)
    arguments = parser.parse_args()
    encode_all(load_tokenizer().to(chosen_device(arguments)), arguments.places)


if __name__ == "__main__":
    main()
