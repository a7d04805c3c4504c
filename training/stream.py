"""Random batches of training pictures for the tokenizer; all pictures are composed once and stay on the device."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.common import draw_places
from training.data import Scene, compose_batch, held_out_scenes, load_sprites, training_scenes


def to_tensor(images_BHW3: Tensor) -> Tensor:
    """uint8 pictures [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1], channels last in memory."""
    return images_BHW3.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)


def chances_by_size(scenes: Sequence[Scene], big_share: float) -> Tensor:
    """Chances [N] of scenes to be drawn: all big ones together have `big_share`, all small ones the rest."""
    big = torch.tensor([scene.size == "big" for scene in scenes])
    return torch.where(big, big_share / big.sum().clamp_min(1), (1 - big_share) / (~big).sum().clamp_min(1))


class TrainingScenes:
    """Draws pictures for the tokenizer; big ones more often than in the full list, since they carry the detail.

    Args:
        seed: of the draws.
        big_share: share of pictures with a big object.
        device: where the pictures are kept, as bytes: about 100 MB.
    """

    def __init__(self, seed: int, big_share: float, device: torch.device | None = None):
        self.device = device or torch.device("cpu")
        self.sprites, scenes = load_sprites(), training_scenes()
        self.reseed(seed, 0)
        self.chances_N = chances_by_size(scenes, big_share).to(self.device)
        self.images_NHW3 = torch.from_numpy(compose_batch(scenes, self.sprites)).to(self.device)

    def reseed(self, seed: int, step: int) -> None:
        """Draw other scenes from here on than those seen since the start."""
        self.generator = torch.Generator(self.device).manual_seed(seed + 1_000_003 * step)

    def batch(self, size: int) -> Tensor:
        """Pictures [size, 3, 128, 128] in [-1, 1]."""
        return to_tensor(self.images_NHW3[draw_places(self.chances_N, size, self.generator)])

    def held_out_batch(self, size: int) -> Tensor:
        """A fixed sample of held-out pictures, all layouts alike: [size, 3, 128, 128]."""
        scenes = held_out_scenes()
        chosen = np.random.default_rng(0).choice(len(scenes), size, replace=False)
        images = compose_batch([scenes[i] for i in chosen], self.sprites)
        return to_tensor(torch.from_numpy(images).to(self.device))
