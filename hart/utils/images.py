"""Pictures as the model makes them, turned into bytes, files and captioned grids."""

import hashlib
import io
import math
import os
import textwrap
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hart.utils.files import written_beside

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

GAP = 8
CAPTION_SIZE = 14
BACKGROUND = "white"
INK = "black"


def to_numpy(images: "Tensor") -> NDArray[np.uint8]:
    """Turn pictures into bytes by cutting off `255 * x`, without rounding, as the published tools do.

    Args:
        images: [B, 3, H, W] in 0 to 1, any floating dtype and device; values outside are clamped.

    Returns:
        [B, H, W, 3] uint8.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images has shape {list(images.shape)}; allowed is [B, 3, H, W]")
    if not images.isfinite().all():
        raise ValueError("images has values that are not finite; allowed are values in 0 to 1.")
    # In float32: the product of a half-precision picture would be rounded before it is cut off.
    bytes_BHW3 = (images.detach().float() * 255).clamp(0, 255).byte().permute(0, 2, 3, 1)
    array: NDArray[np.uint8] = bytes_BHW3.cpu().numpy()
    return array


def to_pil(images: "Tensor") -> list["Image"]:
    """Turn [B, 3, H, W] pictures in 0 to 1 into B Pillow pictures (see `to_numpy`).

    Raises:
        ImportError: Pillow is not installed.
        ValueError: another shape, or values that are not finite.
    """
    pillow = _pillow("Image")
    return [pillow.fromarray(array) for array in to_numpy(images)]


def file_stem(text: str, max_bytes: int = 60) -> str:
    """A text as part of a file name: letters and digits of every script, other characters as single hyphens.

    Where nothing is left, or this machine's file names cannot hold it, a short digest of the text stands for it.

    Args:
        text: what the file is about.
        max_bytes: longest name, in bytes of UTF-8.
    """
    letters = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    stem = "-".join(letters.split()).encode("utf-8", "ignore")[:max_bytes].decode("utf-8", "ignore").strip("-")
    try:
        os.fsencode(stem)
    except UnicodeEncodeError:
        stem = ""
    return stem or hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def png_bytes(picture: "Image") -> bytes:
    """A picture as the content of a PNG file."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()


def save_png(image: "Image | Tensor", path: str | os.PathLike[str]) -> Path:
    """Write one picture as PNG so that the file is there complete or not at all; missing folders are made.

    Args:
        image: a Pillow picture, or a [3, H, W] tensor in 0 to 1.
        path: where to; an existing file is replaced.

    Returns:
        The path of the file.

    Raises:
        ImportError: the picture is a tensor and Pillow is not installed.
        ValueError: the picture is a tensor of another shape, or with values that are not finite.
    """
    picture: Any = image if hasattr(image, "save") else to_pil(image[None])[0]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as unfinished:
        picture.save(unfinished, format="PNG")
    return path


def grid(
    images: "Sequence[Image]",
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    scale: float = 1.0,
) -> "Image":
    """Lay pictures of any sizes out in rows, each centred above its caption.

    Args:
        images: Pillow pictures, at least one.
        captions: one text per picture, wrapped to the width of a column; None for none.
        columns: pictures per row; None for a layout about as wide as high.
        scale: factor on width and height of every picture; enlarging repeats pixels.

    Returns:
        One Pillow picture in RGB.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: no picture, another number of captions, or columns or scale not above 0.
    """
    pictures = list(images)
    if not pictures:
        raise ValueError("images is empty; at least one picture is needed")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"captions has {len(captions)} entries; allowed is one for each of {len(pictures)} images")
    columns = math.ceil(math.sqrt(len(pictures))) if columns is None else columns
    if columns < 1 or not scale > 0:
        raise ValueError(f"columns is {columns} and scale is {scale}; both must be above 0")

    pictures = [_scaled(picture, scale) for picture in pictures]
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    texts = [_wrapped(caption, width) for caption in captions or [""] * len(pictures)]
    text_height = max(_text_size(text)[1] for text in texts)
    cells = [_cell(picture, text, (width, height), text_height) for picture, text in zip(pictures, texts, strict=True)]
    return _tiled(cells, min(columns, len(cells)))


def _cell(picture: "Image", text: str, size: tuple[int, int], text_height: int) -> "Image":
    """Put a picture at the bottom centre of `size`, and the text centred below it."""
    width, height = size
    cell = _pillow("Image").new("RGB", (width, height + text_height + (GAP // 2 if text_height else 0)), BACKGROUND)
    cell.paste(picture, ((width - picture.width) // 2, height - picture.height))
    left = (width - _text_size(text)[0]) // 2
    draw = _pillow("ImageDraw").Draw(cell)
    draw.multiline_text((left, height + GAP // 2), text, fill=INK, font=_font(), align="center")
    return cell


def _tiled(cells: "list[Image]", columns: int) -> "Image":
    """Paste cells of one size row by row, with a gap around each."""
    width, height = cells[0].width + GAP, cells[0].height + GAP
    sheet = _pillow("Image").new("RGB", (columns * width + GAP, -(-len(cells) // columns) * height + GAP), BACKGROUND)
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        sheet.paste(cell, (GAP + column * width, GAP + row * height))
    return sheet


def _scaled(picture: "Image", scale: float) -> "Image":
    resampling = _pillow("Image").Resampling
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, resampling.NEAREST if scale >= 1 else resampling.LANCZOS)


def _wrapped(text: str, width: int) -> str:
    """Break a text into lines of at most `width` pixels (or of one letter, if the column is narrower than that)."""
    full_width = _text_size(text)[0]
    if full_width <= width:
        return text
    # Letters differ in width: start from the average and go down until every line fits.
    letters = max(1, len(text) * width // full_width)
    while letters > 1 and _text_size("\n".join(textwrap.wrap(text, letters)))[0] > width:
        letters -= 1
    return "\n".join(textwrap.wrap(text, letters))


def _text_size(text: str) -> tuple[int, int]:
    """Width and height of a text in pixels, 0 and 0 if empty."""
    if not text:
        return 0, 0
    sheet = _pillow("Image").new("RGB", (1, 1))
    _, _, right, bottom = _pillow("ImageDraw").Draw(sheet).multiline_textbbox((0, 0), text, font=_font())
    return math.ceil(right), math.ceil(bottom)


def _font() -> Any:
    return _pillow("ImageFont").load_default(CAPTION_SIZE)


def need_pillow() -> None:
    """Raise an ImportError that says what to install, before work is done that only Pillow could show."""
    _pillow("Image")


def _pillow(module: str) -> Any:
    """Import a module of Pillow, which only pictures need."""
    try:
        return import_module(f"PIL.{module}")
    except ImportError as error:
        raise ImportError("pictures need Pillow; install it with `pip install pillow` or the extra `images`") from error
