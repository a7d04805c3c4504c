"""In which dtype a layer takes its input."""

import torch
from torch import Tensor, nn


def input_dtype(layer: nn.Module) -> torch.dtype:
    """The dtype of a layer's weights; float32 for one that was quantised dynamically and has none to be asked."""
    weight = getattr(layer, "weight", None)
    return weight.dtype if isinstance(weight, Tensor) else torch.float32
