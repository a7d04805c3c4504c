"""Pictures after each stage, coarse to fine."""

from typing import TYPE_CHECKING, Any

from hart.utils.images import grid, to_pil

if TYPE_CHECKING:
    from PIL.Image import Image


class StagePreviews:
    """Callback that keeps what every picture looked like after every stage.

    Each preview costs one pass of the decoder. All batches are kept, of one call or of several of one pyramid.

    Example:
        >>> previews = StagePreviews()
        >>> pipe("a 3d fox on a blue background", callback_on_stage_end=previews)
        >>> previews.strips()[0].save("fox_stages.png")
    """

    def __init__(self) -> None:
        self._batches: list[list[list[Image]]] = []
        self._sides: list[list[int]] = []

    def __call__(self, stage_index: int, info: Any) -> None:
        """Decode the latent map as it stands after a stage."""
        if stage_index == 0:
            self._batches.append([])
            self._sides.append([])
        self._batches[-1].append(to_pil(info.preview()))
        self._sides[-1].append(info.side)

    def pictures(self) -> "list[list[Image]]":
        """Return, per picture, the previews of all stages."""
        return [list(picture) for stages in self._batches for picture in zip(*stages, strict=True)]

    def strips(self, scale: float = 1.0) -> "list[Image]":
        """Return, per picture, its previews side by side, captioned with the side of the stage's token map."""
        strips = []
        for sides, stages in zip(self._sides, self._batches, strict=True):
            captions = [f"{side}x{side}" for side in sides]
            strips += [grid(row, captions, columns=len(row), scale=scale) for row in zip(*stages, strict=True)]
        return strips
