"""Artwork and pictures for the tests, from what ships with the package: no download is needed."""

import numpy as np
import pytest

from hart.evaluation import SIDES, STYLES, Sprites, all_scenes, compose_batch, load_objects, load_templates
from hart.evaluation.templates import TEMPLATE_SIDE, resize
from training.data import SPRITES_PATH, load_sprites

NUM_PICTURES = 300


def enlarge(pixels: np.ndarray, side: int) -> np.ndarray:
    """Premultiplied RGBA [28, 28, 4] to straight uint8 [side, side, 4]."""
    large = resize(pixels, side)
    alpha = np.maximum(large[..., 3:], 1) / 255
    straight = np.concatenate([large[..., :3] / alpha, large[..., 3:]], axis=-1)
    return np.rint(straight.clip(0, 255)).astype(np.uint8)


@pytest.fixture(scope="session")
def sprites() -> Sprites:
    """The real artwork where it has been prepared, else the package's small copies enlarged."""
    if SPRITES_PATH.exists():
        return load_sprites()
    templates, shape = load_templates(), (-1, TEMPLATE_SIDE, TEMPLATE_SIDE)
    alpha = 255 * (1 - templates.clear_NP.reshape(*shape, 1))
    small_copies = np.concatenate([templates.paint_NPC.reshape(*shape, 3), alpha], axis=-1)
    by_size = {}
    for size, side in SIDES.items():
        pixels = np.stack([enlarge(copy, side) for copy in small_copies])
        by_size[size] = pixels.reshape(len(load_objects()), len(STYLES), side, side, 4)
    return Sprites(**by_size)


@pytest.fixture(scope="session")
def scenes():
    """Random scenes, fixed by a seed, half of them big."""
    everything, rng = all_scenes(), np.random.default_rng(5)
    pools = [[scene for scene in everything if scene.size == size] for size in SIDES]
    return [pool[i] for pool in pools for i in rng.choice(len(pool), NUM_PICTURES // 2, replace=False)]


@pytest.fixture(scope="session")
def images(scenes, sprites):
    """The true pictures of `scenes`: uint8 [B, 128, 128, 3]."""
    return compose_batch(scenes, sprites)
