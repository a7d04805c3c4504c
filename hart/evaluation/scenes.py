"""Scenes of the embedded model: what a picture shows, its caption, and its pixels.

A scene is one object in one style on a plain background. The same few rules serve training (make pictures and
captions) and evaluation (read a caption, know what the picture must show), so they live in one place.
Only NumPy is imported here.

Shapes: O objects, S styles, B pictures, 128 x 128 pixels a picture.
"""

import difflib
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

CANVAS = 128
"""Side of a picture in pixels."""

STYLES = ("3d", "flat")
SIDES = {"big": 112, "small": 64}
"""Side in pixels of the square an object fills, by size word."""

# Chosen away from the colours the artwork is painted with (a Twemoji heart on Twemoji red would be invisible).
COLOURS = {
    "white": (255, 255, 255),
    "yellow": (255, 240, 0),
    "green": (20, 140, 60),
    "blue": (20, 40, 200),
    "purple": (110, 20, 150),
    "pink": (255, 120, 200),
}
"""Background colours, RGB levels 0 to 255; any two are at least 100 levels apart."""

# Multiples of 8 pixels, so that every layout sits on the latent grid of the tokenizer.
OFFSETS = {
    ("big", "center"): (8, 8),
    ("small", "top right"): (8, 56),
    ("small", "bottom left"): (56, 8),
}
"""(top, left) in pixels of the object's square, by (size, position)."""

LAYOUTS = tuple(OFFSETS)
POSITIONS = ("center", "top right", "bottom left")
SYNONYM_CHANCE = 0.15
HELD_OUT_SLOTS = 10
"""Of this many (object, style) pairs, one for each colour is held out on that colour: a tenth of all combinations."""

CAPTION_FORM = "a [small] {style} {label} on a {colour} background [at the {position}]"
_CAPTION = re.compile(
    r"an? (?P<small>small )?(?P<style>\S+) (?P<label>.+) on an? (?P<colour>.+) background(?: at the (?P<position>.+))?"
)


@dataclass(frozen=True)
class SceneObject:
    """One object of the collection: its Unicode code point in hex, its label, and other words for it."""

    code: str
    label: str
    synonyms: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """One object, in one style, on one background, in one layout.

    Args:
        object_index: place of the object in `load_objects()`.
        style: one of `STYLES`.
        colour: background, a key of `COLOURS`.
        size: "big" or "small".
        position: one of `POSITIONS`; a big object is always at the "center", a small one never.

    Raises:
        ValueError: if a field has a value that is not allowed.
    """

    object_index: int
    style: str
    colour: str
    size: str = "big"
    position: str = "center"

    def __post_init__(self) -> None:
        if not 0 <= self.object_index < len(load_objects()):
            raise ValueError(f"object_index is {self.object_index}; allowed are 0 to {len(load_objects()) - 1}.")
        _require("style", self.style, STYLES)
        _require("colour", self.colour, COLOURS)
        _require("size", self.size, SIDES)
        _require("position", self.position, POSITIONS)
        if (self.size, self.position) not in OFFSETS:
            allowed = " or ".join(repr(position) for size, position in OFFSETS if size == self.size)
            raise ValueError(f"position must be {allowed} for a {self.size} object, got {self.position!r}.")

    @property
    def label(self) -> str:
        """The object's label."""
        return load_objects()[self.object_index].label

    @property
    def style_index(self) -> int:
        """Place of the style in `STYLES`."""
        return STYLES.index(self.style)

    @property
    def box(self) -> tuple[int, int, int]:
        """(top, left, side) in pixels of the square that the object fills."""
        return *OFFSETS[self.size, self.position], SIDES[self.size]

    def caption(self, rng: np.random.Generator | None = None, synonym_chance: float = SYNONYM_CHANCE) -> str:
        """Describe the scene in words.

        Args:
            rng: source of chance for synonyms; None gives the canonical caption.
            synonym_chance: how often, 0 to 1, a synonym stands in for the label; unused without `rng`.

        Returns:
            For example "a small 3d fox on a yellow background at the top right".
        """
        label = self.label
        if rng is not None and rng.random() < synonym_chance:
            label = str(rng.choice(load_objects()[self.object_index].synonyms))
        size = "small " if self.size == "small" else ""
        place = "" if self.position == "center" else f" at the {self.position}"
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"a {size}{self.style} {label} on {article} {self.colour} background{place}"


@dataclass(frozen=True)
class Sprites:
    """The artwork at full resolution, straight (not premultiplied) alpha.

    Args:
        big: uint8 [O, S, 112, 112, 4].
        small: uint8 [O, S, 64, 64, 4].
    """

    big: np.ndarray
    small: np.ndarray

    def __post_init__(self) -> None:
        for size, side in SIDES.items():
            pixels, expected = getattr(self, size), (len(load_objects()), len(STYLES), side, side, 4)
            if pixels.shape != expected or pixels.dtype != np.uint8:
                raise ValueError(f"sprites.{size} is {pixels.dtype} {pixels.shape}; allowed is uint8 {expected}.")


@functools.cache
def load_objects() -> tuple[SceneObject, ...]:
    """Return the objects of the collection, in their fixed order."""
    text = (resources.files("hart") / "assets" / "objects.json").read_text(encoding="utf-8")
    return tuple(SceneObject(o["code"], o["label"], tuple(o["synonyms"])) for o in json.loads(text))


def all_scenes() -> list[Scene]:
    """Return every scene, held-out ones included, in a fixed order: object, style, colour, layout."""
    choices = itertools.product(range(len(load_objects())), STYLES, COLOURS, LAYOUTS)
    return [Scene(index, style, colour, size, position) for index, style, colour, (size, position) in choices]


def is_held_out(scene: Scene) -> bool:
    """Say whether training must never show this scene; true of a tenth of the (object, style, colour) combinations."""
    return scene.colour == held_out_colour(scene.object_index, scene.style)


def held_out_colour(object_index: int, style: str) -> str | None:
    """Return the background colour that training never shows with this object in this style; None for two in five."""
    slot = _held_out_table()[object_index][STYLES.index(style)]
    return list(COLOURS)[slot] if slot < len(COLOURS) else None


def compose(scene: Scene, sprites: Sprites) -> np.ndarray:
    """Paint a scene.

    Args:
        scene: what to paint.
        sprites: the artwork, see `hart.evaluation.load_sprites`.

    Returns:
        uint8 [128, 128, 3], RGB.
    """
    return compose_batch([scene], sprites)[0]


def compose_batch(scenes: Sequence[Scene], sprites: Sprites) -> np.ndarray:
    """Paint several scenes: uint8 [B, 128, 128, 3], RGB; see `compose`."""
    backgrounds = np.array([COLOURS[scene.colour] for scene in scenes], dtype=np.uint8).reshape(-1, 1, 1, 3)
    images = np.broadcast_to(backgrounds, (len(scenes), CANVAS, CANVAS, 3)).copy()
    for image, scene in zip(images, scenes, strict=True):
        top, left, side = scene.box
        sprite = getattr(sprites, scene.size)[scene.object_index, scene.style_index]
        target = image[top : top + side, left : left + side]
        alpha = sprite[..., 3:].astype(np.uint16)
        # 255 * 255 + 127 is below 2 ** 16: the whole blend stays in 16 bits and rounds to nearest.
        target[:] = (sprite[..., :3] * alpha + target * (255 - alpha) + 127) // 255
    return images


def parse_caption(text: str) -> Scene:
    """Read a caption back into the scene it describes.

    Args:
        text: a caption as `Scene.caption` writes it; synonyms, upper case and extra spaces are fine.

    Raises:
        ValueError: if the text has another form, or names an unknown style, object, colour or position.
    """
    match = _CAPTION.fullmatch(" ".join(text.lower().split()).rstrip("."))
    if match is None:
        raise ValueError(f"caption is {text!r}; allowed is the form '{CAPTION_FORM}'.")
    _require("style", match["style"], STYLES)
    _require("label", match["label"], _index_by_name())
    size = "small" if match["small"] else "big"
    return Scene(_index_by_name()[match["label"]], match["style"], match["colour"], size, match["position"] or "center")


@functools.cache
def _index_by_name() -> dict[str, int]:
    """Map every label and synonym to its object's index; they never collide, a test holds this."""
    return {name: i for i, item in enumerate(load_objects()) for name in (item.label, *item.synonyms)}


@functools.cache
def _held_out_table() -> list[tuple[int, int]]:
    """Return slots [O][S]: a slot below the number of colours is the index of the held-out colour, another is none.

    Each slot comes equally often per style, and the two styles of an object never share one.
    """
    objects = load_objects()
    ranked = sorted(range(len(objects)), key=lambda i: hashlib.sha256(objects[i].code.encode()).digest())
    table = [(0, 0)] * len(objects)
    for rank, index in enumerate(ranked):
        # Within each run of ten ranks the shift is constant, so every slot still comes exactly once.
        shift = 1 + rank // HELD_OUT_SLOTS % (HELD_OUT_SLOTS - 1)
        table[index] = (rank % HELD_OUT_SLOTS, (rank + shift) % HELD_OUT_SLOTS)
    return table


def _require(field: str, value: str, allowed: Iterable[str]) -> None:
    """Raise a ValueError that names the field, its value and what is allowed."""
    known = list(allowed)
    if value in known:
        return
    near = difflib.get_close_matches(value, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known) if len(known) <= 20 else f"the {len(known)} names of hart.evaluation.load_objects()"
    raise ValueError(f"{field} is {value!r}; allowed are {listed}.{hint}")
