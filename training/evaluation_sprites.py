"""Make the small artwork that ships for evaluation: `python -m training.evaluation_sprites`.

Run it after `python -m training.prepare_data` whenever the objects change, and commit the result.
"""

import logging
from pathlib import Path

import numpy as np

import hart.evaluation
from hart.evaluation.scenes import Sprites, load_objects
from hart.evaluation.templates import TEMPLATE_SIDE, resize
from training.data import load_sprites

logger = logging.getLogger(__name__)

PATH = Path(hart.evaluation.__file__).parents[1] / "assets" / "evaluation_sprites.npz"


def pool_sprites(sprites: Sprites) -> np.ndarray:
    """Premultiply the big sprites and pool them: uint8 [O, S, 4, K, K]."""
    num_objects, num_styles, side = sprites.big.shape[:3]
    alpha = sprites.big[..., 3:] / np.float32(255)
    premultiplied = np.concatenate([sprites.big[..., :3] * alpha, sprites.big[..., 3:]], axis=-1)
    pooled = [resize(sprite, TEMPLATE_SIDE) for sprite in premultiplied.reshape(-1, side, side, 4)]
    planes = np.rint(np.stack(pooled)).astype(np.uint8).transpose(0, 3, 1, 2)
    return planes.reshape(num_objects, num_styles, 4, TEMPLATE_SIDE, TEMPLATE_SIDE)


def main() -> None:
    """Pool the sprites and write the package's file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    codes = np.array([item.code for item in load_objects()])
    np.savez_compressed(PATH, planes=pool_sprites(load_sprites()), codes=codes)
    logger.info("wrote %s, %d bytes", PATH, PATH.stat().st_size)


if __name__ == "__main__":
    main()
