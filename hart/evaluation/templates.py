"""Small copies of the artwork, and which of them a picture is nearest to.

Shapes: N = O x S templates (objects x styles, style fastest), P = 28 x 28 pixels of a template, C = 3 colours.
"""

import functools
from dataclasses import dataclass

import numpy as np

from hart.evaluation.artwork import load_sprites
from hart.evaluation.scenes import STYLES, Sprites

TEMPLATE_SIDE = 28
"""Side in pixels to which the object's square is pooled: an exact quarter of a big object's 112 pixels."""


@dataclass(frozen=True)
class Templates:
    """The artwork pooled to 28 x 28 pixels, premultiplied.

    Args:
        paint_NPC: float64 [N, P, C], colour times alpha, levels 0 to 255.
        clear_NP: float64 [N, P], one minus alpha, 0 to 1: how much background shows through.
    """

    paint_NPC: np.ndarray
    clear_NP: np.ndarray

    def nearest(self, crop_PC: np.ndarray, background_C: np.ndarray) -> tuple[int, str]:
        """Find the sprite that, on this background, looks most like a picture's crop.

        Args:
            crop_PC: [P, C], the object's square pooled to 28 x 28, levels 0 to 255.
            background_C: RGB levels 0 to 255.

        Returns:
            (object index, style) of the sprite at the smallest L2 distance.
        """
        # |crop - t|^2 with t = paint + clear * background, multiplied out: nothing of size N x P x C is made per
        # picture. |crop|^2 is the same for all templates and left out. einsum and not @, which hands these small
        # products to threads: on a machine whose other cores are busy, that was 20 times slower.
        paint_paint_N, paint_clear_NC, clear_clear_N = self._products
        norm_N = paint_paint_N + 2 * paint_clear_NC @ background_C + clear_clear_N * (background_C @ background_C)
        paint_NF = self.paint_NPC.reshape(len(self.paint_NPC), -1)
        overlap_N = np.einsum("nf,f->n", paint_NF, crop_PC.ravel().astype(np.float64))
        overlap_N += np.einsum("np,p->n", self.clear_NP, (crop_PC * background_C).sum(axis=1, dtype=np.float64))
        best = int((norm_N - 2 * overlap_N).argmin())
        return best // len(STYLES), STYLES[best % len(STYLES)]

    @functools.cached_property
    def _products(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums over pixels that do not depend on the picture: [N], [N, C], [N]."""
        paint_paint_N = np.einsum("npc,npc->n", self.paint_NPC, self.paint_NPC)
        paint_clear_NC = np.einsum("npc,np->nc", self.paint_NPC, self.clear_NP)
        return paint_paint_N, paint_clear_NC, np.einsum("np,np->n", self.clear_NP, self.clear_NP)


@functools.cache
def load_templates() -> Templates:
    """Pool the artwork that ships with the package."""
    return templates_of(load_sprites())


def templates_of(sprites: Sprites) -> Templates:
    """Pool the big sprites, which the small ones are scaled copies of."""
    side = sprites.big.shape[2]
    pixels = sprites.big.reshape(-1, side, side, 4).astype(np.float32)
    pixels[..., :3] *= pixels[..., 3:] / 255
    pooled = np.stack([resize(sprite, TEMPLATE_SIDE) for sprite in pixels]).astype(np.float64)
    planes = pooled.reshape(len(pixels), TEMPLATE_SIDE**2, 4)
    return Templates(planes[..., :3].copy(), 1 - planes[..., 3] / 255)


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """Resize a square picture with a triangle filter that widens when shrinking.

    Args:
        image: float [H, H, C].
        side: new side in pixels.

    Returns:
        float32 [side, side, C].
    """
    weights = _resize_weights(image.shape[0], side)
    # No threads, for the reason given in `Templates.nearest`.
    rows = np.einsum("yh,hwc->ywc", weights, image.astype(np.float32))
    return np.einsum("xw,ywc->yxc", weights, rows)


@functools.cache
def _resize_weights(length: int, new_length: int) -> np.ndarray:
    """Weights float32 [new_length, length], rows summing to one."""
    scale = length / new_length
    centres = (np.arange(new_length) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(length) - centres[:, None]) / max(scale, 1.0)
    weights = np.maximum(1 - distance, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
