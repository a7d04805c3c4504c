"""Artwork for tests, from what ships with the package: no download is needed."""

import numpy as np

from hart.evaluation import SIDES, STYLES, Sprites, load_objects, load_templates
from hart.evaluation.templates import TEMPLATE_SIDE, resize


def packaged_sprites() -> Sprites:
    """The package's small copies, enlarged."""
    templates, shape = load_templates(), (-1, TEMPLATE_SIDE, TEMPLATE_SIDE)
    alpha = 255 * (1 - templates.clear_NP.reshape(*shape, 1))
    small_copies = np.concatenate([templates.paint_NPC.reshape(*shape, 3), alpha], axis=-1)
    by_size = {}
    for size, side in SIDES.items():
        pixels = np.stack([_enlarge(copy, side) for copy in small_copies])
        by_size[size] = pixels.reshape(len(load_objects()), len(STYLES), side, side, 4)
    return Sprites(**by_size)


def _enlarge(pixels: np.ndarray, side: int) -> np.ndarray:
    """Premultiplied RGBA [28, 28, 4] to straight uint8 [side, side, 4]."""
    large = resize(pixels, side)
    alpha = np.maximum(large[..., 3:], 1) / 255
    straight = np.concatenate([large[..., :3] / alpha, large[..., 3:]], axis=-1)
    return np.rint(straight.clip(0, 255)).astype(np.uint8)
