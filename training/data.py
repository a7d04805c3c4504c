"""Training data of the embedded model: pictures composed on the fly from sprites, with captions.

Example:
    >>> sprites = load_sprites()
    >>> scenes = training_scenes()
    >>> images = compose_batch(scenes[:16], sprites)  # uint8 [16, 128, 128, 3]
    >>> captions = [scene.caption(np.random.default_rng(0)) for scene in scenes[:16]]
"""

from hart.evaluation.artwork import load_sprites
from hart.evaluation.scenes import (
    COLOURS,
    LAYOUTS,
    STYLES,
    Scene,
    Sprites,
    all_scenes,
    compose,
    compose_batch,
    is_held_out,
    load_objects,
    parse_caption,
)

__all__ = [
    "COLOURS",
    "LAYOUTS",
    "STYLES",
    "Scene",
    "Sprites",
    "all_scenes",
    "compose",
    "compose_batch",
    "held_out_scenes",
    "is_held_out",
    "load_objects",
    "load_sprites",
    "parse_caption",
    "training_scenes",
]


def training_scenes() -> list[Scene]:
    """Return every scene that training may show, in a fixed order."""
    return [scene for scene in all_scenes() if not is_held_out(scene)]


def held_out_scenes() -> list[Scene]:
    """Return every scene that training must not show, in a fixed order."""
    return [scene for scene in all_scenes() if is_held_out(scene)]
