"""What the rules of the cache are given and what they give; imports no torch.

Shapes: R rows, C channels or width, n = side * side tokens, c code channels, P side of the accumulated map.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

TableKey: TypeAlias = tuple[str, int, int]
"""Branch ("attn" or "mlp"), layer, stage as a token count."""

Resize: TypeAlias = "Callable[[Tensor, int], Tensor]"
"""(map [R, C, h, w], side) -> map [R, C, side, side] of the same dtype."""


class Interpolation(NamedTuple):
    """A resizing function, and whether resizing a sum is the sum of the resized maps.

    Only linear modes let a run of reused branches share one upsampled sum.
    """

    resize: Resize
    linear: bool


Metric: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""(reused [R, n, C], computed [R, n, C]) -> similarity [R]; 1 means equal, larger is more alike."""

ThresholdSchedule: TypeAlias = Callable[[int, int, str, float], float]
"""(stage as a token count, layer, "attn" or "mlp", configured threshold) -> threshold there."""


@dataclass(frozen=True)
class SelectorInput:
    """What is known before the tokens of a stage (or a branch) are run; give what the selector in use needs.

    Args:
        side: side of the stage's token map.
        x_RnC: input tokens of the stage, or of the branch.
        previous_RnC: the same input at the stage that was kept, upsampled to this side.
        map_before_BcPP: accumulated latent map before the last computed stage.
        map_after_BcPP: accumulated latent map now.
        seeds: of the pictures, or one for all.
    """

    side: int
    x_RnC: "Tensor"
    previous_RnC: "Tensor | None" = None
    map_before_BcPP: "Tensor | None" = None
    map_after_BcPP: "Tensor | None" = None
    seeds: tuple[int, ...] = (0,)

    def need(self, name: str, selector: str) -> "Tensor":
        """A tensor that the selector cannot do without.

        Raises:
            ValueError: it is not there.
        """
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise ValueError(f"{name} is None; allowed for token selector {selector!r} is a tensor.")
        return value


Selector: TypeAlias = "Callable[[SelectorInput], Tensor]"
"""What is known before the branch runs -> importance [R, n] or [B, n]; larger is refreshed first."""


class TokenSelector(NamedTuple):
    """A scoring function, and whether it looks at the kept stage's input, which is stored and upsampled for it then."""

    score: Selector
    reads_previous: bool


@dataclass
class StoredMap:
    """One kept token map.

    Args:
        key: what it belongs to, such as (branch, layer), or any name for a fused sum.
        side: side of its token map.
        x_RnC: the tokens; not to be written to.
        num_bytes: what they take.
        reads: how often it was handed out.
    """

    key: Hashable
    side: int
    x_RnC: "Tensor"
    num_bytes: int
    reads: int = 0


Eviction: TypeAlias = "Callable[[Sequence[StoredMap]], StoredMap]"
"""Stored maps, the one stored longest ago first -> the one to give up."""
