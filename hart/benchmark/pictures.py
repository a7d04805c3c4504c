"""Pictures of a run on disk: PNG where Pillow is there, else numpy's own format; never half a file."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hart.utils.files import written_beside
from hart.utils.images import save_png, to_numpy

if TYPE_CHECKING:
    from torch import Tensor


def save_picture(image_3HW: "Tensor", path: Path) -> Path:
    """Save a picture [3, H, W] in 0 to 1 under `path` with the fitting suffix; the file that was written."""
    if importlib.util.find_spec("PIL") is not None:
        return save_png(image_3HW, path.with_name(f"{path.name}.png"))
    target = path.with_name(f"{path.name}.npy")
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(target) as unfinished, unfinished.open("wb") as file:
        np.save(file, to_numpy(image_3HW[None])[0])
    return target


def load_picture(path: Path) -> NDArray[np.uint8]:
    """Load what `save_picture` wrote: [H, W, 3]."""
    if path.suffix == ".npy":
        array: NDArray[np.uint8] = np.load(path)
        return array
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
