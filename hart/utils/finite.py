"""One check for values that overflowed, whatever part of the model they come from."""

import torch
from torch import Tensor


def check_finite(part: str, values: Tensor, dtype: torch.dtype) -> None:
    """Raise where a part gave a value that is not finite.

    Args:
        part: what the values are, with a verb: "the latent map is", "logits of stage 3 are".
        values: any shape, a floating dtype.
        dtype: what the part computes in.

    Raises:
        ValueError: names the part and the dtype.
    """
    # The sum is one pass without a mask; only where it overflowed are the values looked at one by one.
    if not torch.isfinite(values.sum(dtype=torch.float32)) and not torch.isfinite(values).all():
        raise ValueError(f"{part} not finite in {dtype}; try dtype bfloat16 or float32, or a smaller cfg.")
