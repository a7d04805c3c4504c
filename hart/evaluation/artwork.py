"""The artwork at full resolution, from which the true picture of every caption is composed."""

import functools
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from hart.evaluation.scenes import Sprites, compose_batch, load_objects, parse_caption


def packaged_sprites_file() -> Traversable:
    """The file of artwork inside the package; its licences are in NOTICE."""
    return resources.files("hart") / "assets" / "evaluation_sprites.npz"


def read_sprites(file: Path | Traversable) -> Sprites:
    """Read a file of artwork.

    Args:
        file: NumPy archive with `big` uint8 [O, S, 112, 112, 4], `small` uint8 [O, S, 64, 64, 4] and `codes` [O], the
            code points of the objects in their order.

    Raises:
        FileNotFoundError: if the file is not there.
        ValueError: if it holds other objects than `load_objects()`.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there; run `python -m training.prepare_data` first.")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        if list(stored["codes"]) != [item.code for item in load_objects()]:
            raise ValueError(
                f"{file} was made for other objects; run `python -m training.prepare_data` and then "
                "`python -m training.evaluation_sprites`."
            )
        return Sprites(stored["big"], stored["small"])


@functools.cache
def load_sprites() -> Sprites:
    """Return the artwork that ships with the package, read once; do not write into its arrays."""
    return read_sprites(packaged_sprites_file())


def true_pictures(captions: Sequence[str], sprites: Sprites | None = None) -> np.ndarray:
    """Compose the picture that every caption describes.

    Args:
        captions: B captions, as `Scene.caption` writes them.
        sprites: the artwork; None takes what ships with the package.

    Returns:
        uint8 [B, 128, 128, 3], RGB.

    Raises:
        ValueError: for a caption that `parse_caption` does not know; the message says which.
    """
    scenes = []
    for index, caption in enumerate(captions):
        try:
            scenes.append(parse_caption(caption))
        except ValueError as error:
            raise ValueError(f"captions[{index}]: {error}") from error
    return compose_batch(scenes, load_sprites() if sprites is None else sprites)


def true_picture(caption: str, sprites: Sprites | None = None) -> np.ndarray:
    """Compose the picture that a caption describes: uint8 [128, 128, 3]; see `true_pictures`."""
    return true_pictures([caption], sprites)[0]
