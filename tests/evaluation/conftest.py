"""Artwork and pictures for the tests, from what ships with the package: no download is needed."""

import numpy as np
import pytest

from hart.evaluation import SIDES, Sprites, all_scenes, compose_batch, load_sprites

NUM_PICTURES = 300


@pytest.fixture(scope="session")
def sprites() -> Sprites:
    return load_sprites()


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
