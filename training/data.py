"""Training data of the embedded model: pictures composed on the fly from sprites, with captions.

Example:
    >>> sprites = load_sprites()
    >>> scenes = training_scenes()
    >>> images = compose_batch(scenes[:16], sprites)  # uint8 [16, 128, 128, 3]
    >>> captions = [scene.caption(np.random.default_rng(0)) for scene in scenes[:16]]
"""

from pathlib import Path

import numpy as np

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

SPRITES_PATH = Path(__file__).parent / ".cache" / "sprites.npz"


def load_sprites(path: Path | str = SPRITES_PATH) -> Sprites:
    """Load the artwork that `python -m training.prepare_data` made.

    Args:
        path: the file `sprites.npz`.

    Returns:
        Sprites, with `big` uint8 [O, S, 112, 112, 4] and `small` uint8 [O, S, 64, 64, 4].

    Raises:
        FileNotFoundError: if the file is not there.
        ValueError: if the file was made for another list of objects.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} is not there; run `python -m training.prepare_data` first.")
    with np.load(path, allow_pickle=False) as stored:
        codes = [item.code for item in load_objects()]
        if list(stored["codes"]) != codes:
            raise ValueError(f"{path} was made for other objects; run `python -m training.prepare_data` again.")
        return Sprites(stored["big"], stored["small"])


def training_scenes() -> list[Scene]:
    """Return every scene that training may show, in a fixed order."""
    return [scene for scene in all_scenes() if not is_held_out(scene)]


def held_out_scenes() -> list[Scene]:
    """Return every scene that training must not show, in a fixed order."""
    return [scene for scene in all_scenes() if is_held_out(scene)]
