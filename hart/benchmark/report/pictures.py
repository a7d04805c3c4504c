"""The sheet of pictures: the first prompts under every setting, with what differs from no-cache, as data URIs."""

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hart.benchmark.results import Results, Setting
from hart.utils.psnr import psnr_of_levels

PROMPTS = 6
SIDE = 320
"""Most pixels per side in the report; the files in the folder are as painted."""
AMPLIFIED = 4
"""Differences are shown times this."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One cell: the picture and its difference as data URIs (None where there is none), and what differs in words."""

    number: int
    alt: str
    source: str | None
    difference: str | None
    caption: str


@dataclass(frozen=True)
class PictureRow:
    """One setting's pictures."""

    setting: Setting
    pictures: list[Picture]


def picture_rows(results: Results, folder: Path) -> list[PictureRow]:
    """A row per setting that has at least one picture; a picture that is missing or broken leaves a gap."""
    count = min(PROMPTS, len(results.work.prompts), results.pictures)
    base = [_read(folder, results.settings[0], index) for index in range(count)]
    rows = []
    for setting in results.settings:
        painted = [_read(folder, setting, index) for index in range(count)]
        if any(pixels is not None for pixels in painted):
            cells = zip(results.work.prompts, painted, base, strict=False)
            is_base = setting is results.settings[0]
            rows.append(
                PictureRow(
                    setting,
                    [
                        _picture(number, setting.name, prompt, pixels, None if is_base else plain)
                        for number, (prompt, pixels, plain) in enumerate(cells, start=1)
                    ],
                )
            )
    return rows


def _read(folder: Path, setting: Setting, index: int) -> Pixels | None:
    """The pixels of a picture; None where it is missing, broken, or outside the folder of the results."""
    if setting.folder is None:
        return None
    path = (folder / setting.folder / f"{index:05d}.png").resolve()
    if not path.is_relative_to(folder.resolve()):
        return None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError):  # Pillow raises each of them for broken files
        return None


def _picture(number: int, name: str, prompt: str, pixels: Pixels | None, plain: Pixels | None) -> Picture:
    alt = f"Picture {number} under {name}: {prompt}"
    if pixels is None:
        return Picture(number, alt, None, None, "no picture")
    if plain is None or plain.shape != pixels.shape:
        return Picture(number, alt, _data_uri(pixels), None, "")
    decibels = psnr_of_levels(pixels, plain)
    caption = f"{decibels:.1f} dB" if math.isfinite(decibels) else "the same"
    difference = np.abs(pixels.astype(np.int16) - plain)
    shown = np.minimum(AMPLIFIED * difference, 255).astype(np.uint8)
    return Picture(number, alt, _data_uri(pixels), _data_uri(shown), caption)


def _data_uri(pixels: Pixels) -> str:
    """Small and nearly without loss: WebP, at most `SIDE` pixels wide and high."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=88, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
