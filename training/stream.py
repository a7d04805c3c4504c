"""Random batches of training pictures for the tokenizer, as tensors."""

import numpy as np
import torch
from torch import Tensor

from training.data import compose_batch, held_out_scenes, load_sprites, training_scenes


def to_tensor(images_BHW3: np.ndarray) -> Tensor:
    """uint8 pictures [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1], channels last in memory."""
    return torch.from_numpy(images_BHW3).permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)


class TrainingScenes:
    """Draws scenes for the tokenizer; big ones more often than in the full list, since they carry the detail.

    Args:
        seed: of the draws.
        big_share: share of pictures with a big object.
    """

    def __init__(self, seed: int, big_share: float):
        self.sprites = load_sprites()
        self.rng = np.random.default_rng(seed)
        self.big_share = big_share
        scenes = training_scenes()
        self.by_size = {size: [s for s in scenes if s.size == size] for size in ("big", "small")}

    def reseed(self, seed: int, step: int) -> None:
        """Draw other scenes from here on than those seen since the start."""
        self.rng = np.random.default_rng([seed, step])

    def batch(self, size: int) -> Tensor:
        """Pictures [size, 3, 128, 128] in [-1, 1]."""
        sizes = np.where(self.rng.random(size) < self.big_share, "big", "small")
        scenes = [self.by_size[s][self.rng.integers(len(self.by_size[s]))] for s in sizes]
        return to_tensor(compose_batch(scenes, self.sprites))

    def held_out_batch(self, size: int) -> Tensor:
        """A fixed sample of held-out pictures, all layouts alike: [size, 3, 128, 128]."""
        scenes = held_out_scenes()
        chosen = np.random.default_rng(0).choice(len(scenes), size, replace=False)
        return to_tensor(compose_batch([scenes[i] for i in chosen], self.sprites))
