"""What a callback sees after a stage. Shapes: B pictures, c code channels, P side of the last stage."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class StageInfo:
    """What a callback sees after a stage.

    Args:
        index: 0-based stage.
        num_stages: stages K in all.
        side: side p of the stage's token map.
        f_hat: accumulated latent map [B, c, P, P]; do not change it.
    """

    index: int
    num_stages: int
    side: int
    f_hat: Tensor
    decode: Callable[[Tensor], Tensor]

    def preview(self, max_side: int | None = 32) -> Tensor:
        """The picture so far in [0, 1]: one pass of the decoder.

        Args:
            max_side: a larger latent map is averaged down to this side first, which makes the picture smaller and the
                pass cheaper by the square (four times at 1024 px); None decodes at full size.

        Returns:
            [B, 3, H, W], H and W as many times the latent's sides as in the finished picture.
        """
        f_hat = self.f_hat
        if max_side is not None and f_hat.shape[-1] > max_side:
            f_hat = F.adaptive_avg_pool2d(f_hat, max_side)
        return self.decode(f_hat)
