"""Placing labels beside points so that none lies on another, on a point, or outside the plot."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

DISTANCES = (7.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0)
ANGLES = tuple(math.radians(degrees) for degrees in (0, 180, 90, 270, 30, -30, 150, -150, 60, -60, 120, -120))
POINT = 5.0
"""Half the side of the box that a point needs."""


@dataclass(frozen=True)
class Box:
    """A rectangle: left, bottom, right, top."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def holds(self, other: "Box") -> bool:
        across = self.left <= other.left and other.right <= self.right
        return across and self.bottom <= other.bottom and other.top <= self.top

    @classmethod
    def around(cls, x: float, y: float, half_width: float, half_height: float) -> "Box":
        return cls(x - half_width, y - half_height, x + half_width, y + half_height)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2


@dataclass(frozen=True)
class Placed:
    """Where a label went: its box, and the line to its point where it is not beside it."""

    box: Box
    leader: tuple[tuple[float, float], tuple[float, float]] | None


def place_labels(
    points: Sequence[tuple[float, float]],
    options: Sequence[Sequence[tuple[float, float]]],
    frame: Box,
    bars: Sequence[Box],
) -> list[tuple[int, Placed] | None]:
    """Find a place for every label, in the order given.

    Args:
        points: centres of the points, in pixels.
        options: per label the sizes (width and height in pixels) of its texts, the preferred one first.
        frame: where labels may lie.
        bars: error bars, which labels avoid where they can.

    Returns:
        Per label the number of the text and its place; None where no text has a free one.
    """
    taken = [Box.around(x, y, POINT, POINT) for x, y in points]
    places: list[tuple[int, Placed] | None] = []
    for point, sizes in zip(points, options, strict=True):
        found = (_best(point, size, frame, taken, bars) for size in sizes)
        best = next(((number, place) for number, place in enumerate(found) if place), None)
        places.append(best)
        if best:
            taken.append(best[1].box)
    return places


def _best(
    point: tuple[float, float], size: tuple[float, float], frame: Box, taken: Sequence[Box], bars: Sequence[Box]
) -> Placed | None:
    """The cheapest of the free places, the first of equals."""
    free = [
        (_cost(place, distance, taken, bars), place)
        for distance, place in _candidates(point, size)
        if frame.holds(place.box) and not any(place.box.meets(box) for box in taken)
    ]
    return min(free, key=lambda priced: priced[0])[1] if free else None


def _candidates(point: tuple[float, float], extent: tuple[float, float]) -> Iterable[tuple[float, Placed]]:
    """Boxes around a point, from the nearest to the farthest."""
    x, y = point
    half_width, half_height = extent[0] / 2, extent[1] / 2
    for distance, angle in product(DISTANCES, ANGLES):
        along, up = math.cos(angle), math.sin(angle)
        centre_x = x + along * distance + math.copysign(half_width, along) * (abs(along) > 0.1)
        centre_y = y + up * distance + half_height * up
        box = Box.around(centre_x, centre_y, half_width, half_height)
        near = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
        yield distance, Placed(box, (point, near) if distance > DISTANCES[0] else None)


def _cost(place: Placed, distance: float, taken: Sequence[Box], bars: Sequence[Box]) -> float:
    """Distance, and a price for every error bar and every crossing that spoils the label."""
    crossed = sum(place.box.meets(bar) for bar in bars)
    return distance + 6 * crossed + 40 * _crossings(place, taken)


def _crossings(place: Placed, taken: Sequence[Box]) -> int:
    """How many boxes the leader runs through, its own point left out."""
    if place.leader is None:
        return 0
    (x, y), (near_x, near_y) = place.leader
    steps = [(x + (near_x - x) * part / 12, y + (near_y - y) * part / 12) for part in range(13)]
    dots = [Box.around(step_x, step_y, 0.5, 0.5) for step_x, step_y in steps]
    own = Box.around(x, y, POINT, POINT)
    return sum(box != own and any(box.meets(dot) for dot in dots) for box in taken)
