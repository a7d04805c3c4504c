"""How a kept token map grows to a later stage's size.

Shapes: R rows, C channels, h = w = side of the kept map, n = side * side tokens.
"""

from torch import Tensor
from torch.nn import functional as F

from hart.modules.cache.registries import INTERPOLATIONS
from hart.modules.cache.rules import Interpolation, Resize


def register_interpolation(name: str, resize: Resize, linear: bool = True) -> None:
    """Add an interpolation mode, for example `register_interpolation("nearest2", lambda m, s: F.interpolate(m, s))`.

    Args:
        name: new name, for `HARTCacheConfig.interpolation_mode`.
        resize: (map [R, C, h, w], side) -> [R, C, side, side].
        linear: say False if `resize(a + b)` is not `resize(a) + resize(b)`; such modes keep a map per branch.

    Raises:
        ValueError: the name is taken.
    """
    INTERPOLATIONS.register(name, Interpolation(resize, linear))


def upsample(map_RChw: Tensor, side: int, mode: str) -> Tensor:
    """The map at `side` x `side`; a map that has this size already comes back as it is.

    Raises:
        ValueError: unknown mode, or a registered function that gives another shape or dtype than promised.
    """
    interpolation = INTERPOLATIONS.get(mode)
    if map_RChw.shape[-2:] == (side, side):
        return map_RChw
    return _as_promised(interpolation.resize(map_RChw, side), map_RChw, side, f"interpolation mode {mode!r}")


def upsample_tokens(x_RnC: Tensor, from_side: int, to_side: int, mode: "str | Resize") -> Tensor:
    """Tokens [R, from_side**2, C], row by row over the map, as tokens [R, to_side**2, C].

    Args:
        x_RnC: the tokens.
        from_side, to_side: sides of their map, before and after.
        mode: an interpolation mode, or a function that resizes maps.

    Raises:
        ValueError: the tokens are no map of `from_side`, or the function gives another shape or dtype than promised.
    """
    if x_RnC.shape[1] != from_side * from_side:
        raise ValueError(f"from_side is {from_side}; allowed is the side of a map of {x_RnC.shape[1]} tokens.")
    rows, _, width = x_RnC.shape
    map_RChw = x_RnC.reshape(rows, from_side, from_side, width).permute(0, 3, 1, 2)  # channels last in memory: no copy
    if isinstance(mode, str):
        grown = upsample(map_RChw, to_side, mode)
    else:
        grown = _as_promised(mode(map_RChw, to_side), map_RChw, to_side, "the upsampling method")
    return grown.permute(0, 2, 3, 1).flatten(1, 2)


def _as_promised(grown: Tensor, map_RChw: Tensor, side: int, what: str) -> Tensor:
    promised = (*map_RChw.shape[:2], side, side)
    if grown.shape != promised or grown.dtype != map_RChw.dtype:
        raise ValueError(
            f"{what} gave {grown.dtype} {list(grown.shape)}; allowed is {map_RChw.dtype} {list(promised)}."
        )
    return grown


def is_linear(mode: str) -> bool:
    """Whether consecutive reused branches may share one upsampled sum in this mode."""
    return INTERPOLATIONS.get(mode).linear


def _bilinear(map_RChw: Tensor, side: int) -> Tensor:
    return F.interpolate(map_RChw, size=(side, side), mode="bilinear", align_corners=False)


def _bicubic(map_RChw: Tensor, side: int) -> Tensor:
    return F.interpolate(map_RChw, size=(side, side), mode="bicubic", align_corners=False)


def _nearest(map_RChw: Tensor, side: int) -> Tensor:
    """By the centres of the pixels, so that nothing shifts where the sides do not divide."""
    return F.interpolate(map_RChw, size=(side, side), mode="nearest-exact")


def _area(map_RChw: Tensor, side: int) -> Tensor:
    """Mean of the source pixels that a target pixel overlaps (adaptive pooling): FastVAR's choice."""
    return F.interpolate(map_RChw, size=(side, side), mode="area")


register_interpolation("bilinear", _bilinear)
register_interpolation("bicubic", _bicubic)
register_interpolation("nearest", _nearest)
register_interpolation("area", _area)
