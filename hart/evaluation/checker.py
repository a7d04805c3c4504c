"""Judge by program whether a picture shows the scene that was asked for.

Background, size and position are always read from the picture alone. Style and identity (which object) are the
nearest of all sprites, twice: *requested*, at the requested place on the requested colour, which flatters the
picture; and *blind*, at the place and on the colour found in the picture.

Style and identity say which sprite a picture is nearest to, not how well it is painted: true pictures reduced to a
mosaic of 8-pixel squares still score 0.99. Read them together with PSNR, sharpness or a look at the pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from hart.evaluation.scenes import CANVAS, COLOURS, LAYOUTS, OFFSETS, SIDES, Scene
from hart.evaluation.statistics import Table, count_table
from hart.evaluation.templates import TEMPLATE_SIDE, Templates, load_templates, resize

BORDER = 6
"""Width in pixels of the frame that every layout leaves to the background (8), less two for soft edges."""

FOREGROUND_DISTANCE = 28.0
"""RGB distance from the background, after a 3 x 3 mean, at which a pixel counts as part of the object.

Higher: noise and a mottled background matter less. Lower: pale objects on white keep their outline.
"""

CORE_REACH = 3
"""A patch counts only if a square of 2 * 3 + 1 pixels fits into it: smaller ones are specks, not objects."""

_RGB_VALUES = np.array(list(COLOURS.values()), dtype=np.float32)


@dataclass(frozen=True)
class PictureCheck:
    """Which attributes of one picture are as asked.

    `background`, `position` and `size` are read from the picture. `style` and `identity` are judged at the requested
    place; with `blind_` in front, at the place and colour found. `overall` and `blind_overall` ask for all five.
    `seen` is the scene that the blind judge takes the picture for, None if nothing stands out from the background.
    """

    background: bool
    position: bool
    size: bool
    style: bool
    identity: bool
    overall: bool
    blind_style: bool
    blind_identity: bool
    blind_overall: bool
    seen: Scene | None


ATTRIBUTES = tuple(field.name for field in fields(PictureCheck) if field.name != "seen")


def check_picture(image: np.ndarray, scene: Scene, sprites: Templates | None = None) -> PictureCheck:
    """Compare one picture with the scene it should show.

    Args:
        image: square RGB picture of any side, [H, H, 3]; uint8 levels, or float in 0 to 1.
        scene: what was asked for.
        sprites: small artwork to compare with; None takes what ships with the package.

    Returns:
        The verdict per attribute; a blank picture fails all but the background.

    Raises:
        ValueError: if the picture has another shape, type or range.
    """
    sprites = sprites or load_templates()
    levels = _as_levels(image)
    background = _border_colour(levels)
    layout = find_layout(levels, background)
    colour = nearest_colour(background)
    if layout is None:
        return _verdict(scene, colour, None, None)
    requested_background = np.array(COLOURS[scene.colour], dtype=np.float32)
    requested = sprites.nearest(_crop(levels, (scene.size, scene.position)), requested_background)
    index, style = sprites.nearest(_crop(levels, layout), background)
    return _verdict(scene, colour, requested, Scene(index, style, colour, *layout))


def check_pictures(
    images: Sequence[np.ndarray] | np.ndarray, scenes: Sequence[Scene], sprites: Templates | None = None
) -> list[PictureCheck]:
    """Compare every picture with its scene; see `check_picture`."""
    if len(images) != len(scenes):
        raise ValueError(f"images has {len(images)} pictures; allowed is one per scene, {len(scenes)}.")
    return [check_picture(image, scene, sprites) for image, scene in zip(images, scenes, strict=True)]


def evaluate_pictures(
    images: Sequence[np.ndarray] | np.ndarray, scenes: Sequence[Scene], sprites: Templates | None = None
) -> Table:
    """Count, per attribute, how many pictures are as asked.

    Args:
        images: B pictures, each as `check_picture` takes it.
        scenes: the B scenes they should show.
        sprites: small artwork to compare with; None takes what ships with the package.

    Returns:
        For each of `ATTRIBUTES` a dict of `correct`, `total`, `share`, and `low` and `high`, the Wilson 95% interval.
    """
    return tabulate(check_pictures(images, scenes, sprites))


def tabulate(checks: Sequence[PictureCheck]) -> Table:
    """Count verdicts per attribute; see `evaluate_pictures`."""
    return count_table({name: [getattr(check, name) for check in checks] for name in ATTRIBUTES})


def nearest_colour(rgb: np.ndarray) -> str:
    """Name the colour of `COLOURS` that is nearest to RGB levels [3]."""
    return list(COLOURS)[int(((_RGB_VALUES - rgb) ** 2).sum(axis=1).argmin())]


def find_layout(levels: np.ndarray, background: np.ndarray) -> tuple[str, str] | None:
    """Find where the object is.

    The artwork touches two opposite sides of its square and is centred in the other direction, so that the middle
    and the longer side of its extent tell the layouts apart even when part of the object vanishes in the background.

    Args:
        levels: float32 [128, 128, 3], levels 0 to 255.
        background: float32 [3].

    Returns:
        (size, position), or None if nothing stands out.
    """
    is_object = _without_specks(np.linalg.norm(_mean_3x3(levels) - background, axis=-1) > FOREGROUND_DISTANCE)
    if not is_object.any():
        return None
    rows, columns = (np.flatnonzero(is_object.any(axis=axis)) for axis in (1, 0))
    (top, bottom), (left, right) = ((lines[0], lines[-1] + 1) for lines in (rows, columns))
    longer = max(bottom - top, right - left)
    return min(LAYOUTS, key=lambda layout: _layout_cost(layout, (top + bottom) / 2, (left + right) / 2, longer))


def _layout_cost(layout: tuple[str, str], middle_row: float, middle_column: float, longer: float) -> float:
    """Squared distance in pixels of an extent from the one that a layout gives."""
    (top, left), side = OFFSETS[layout], SIDES[layout[0]]
    # A longer side off by two moves an edge, and with it the middle, by one.
    return (middle_row - top - side / 2) ** 2 + (middle_column - left - side / 2) ** 2 + ((longer - side) / 2) ** 2


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Keep the connected patches of a bool mask [H, W] that hold a square of the size of a core.

    Cores are found by erosion and grown back inside the mask, so that thin parts, such as a balloon's string, stay.
    """
    kept = ~_dilate(~mask, CORE_REACH)
    while True:
        grown = _dilate(kept, 1) & mask
        if np.array_equal(grown, kept):
            return kept
        kept = grown


def _dilate(mask: np.ndarray, reach: int) -> np.ndarray:
    """Widen a bool mask [H, W] by `reach` pixels in all eight directions."""
    for axis in (0, 1):
        for _ in range(reach):
            wider = mask.copy()
            before, after = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
            wider[before] |= mask[after]
            wider[after] |= mask[before]
            mask = wider
    return mask


def _mean_3x3(levels: np.ndarray) -> np.ndarray:
    """Mean over 3 x 3 pixels, edges repeated: [H, W, 3] to [H, W, 3]."""
    padded = np.pad(levels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def _border_colour(levels: np.ndarray) -> np.ndarray:
    """Median colour of the picture's frame: float32 [3]."""
    frame = np.ones(levels.shape[:2], dtype=bool)
    frame[BORDER:-BORDER, BORDER:-BORDER] = False
    return np.median(levels[frame], axis=0)


def _crop(levels: np.ndarray, layout: tuple[str, str]) -> np.ndarray:
    """Cut out a layout's square and pool it: [P, C], see `Templates.nearest`."""
    (top, left), side = OFFSETS[layout], SIDES[layout[0]]
    return resize(levels[top : top + side, left : left + side], TEMPLATE_SIDE).reshape(-1, 3)


def _as_levels(image: np.ndarray) -> np.ndarray:
    """Bring a picture to float32 [128, 128, 3], levels 0 to 255."""
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape[0] != pixels.shape[1] or not pixels.size:
        raise ValueError(f"image has shape {pixels.shape}; allowed is a square RGB picture, (side, side, 3).")
    if pixels.dtype != np.uint8:
        if not np.issubdtype(pixels.dtype, np.floating):
            raise ValueError(f"image has type {pixels.dtype}; allowed are uint8 levels and floats in 0 to 1.")
        # Written so that NaN fails it too.
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError(f"image has values {pixels.min()} to {pixels.max()}; allowed for floats are 0 to 1.")
        pixels = pixels * np.float32(255)
    return pixels.astype(np.float32) if len(pixels) == CANVAS else resize(pixels, CANVAS)


def _verdict(scene: Scene, colour: str, requested: tuple[int, str] | None, seen: Scene | None) -> PictureCheck:
    """Put the findings together; `requested` is the (object, style) found at the requested place."""
    background = colour == scene.colour
    position = seen is not None and seen.position == scene.position
    size = seen is not None and seen.size == scene.size
    identity = requested is not None and requested[0] == scene.object_index
    style = requested is not None and requested[1] == scene.style
    return PictureCheck(
        background=background,
        position=position,
        size=size,
        style=style,
        identity=identity,
        overall=background and position and size and style and identity,
        blind_style=seen is not None and seen.style == scene.style,
        blind_identity=seen is not None and seen.object_index == scene.object_index,
        blind_overall=seen == scene,
        seen=seen,
    )
