"""Sinusoidal embedding of integers: diffusion timesteps and pyramid levels."""

import math

import torch
from torch import Tensor, nn

from hart.modules.networks.precision import input_dtype

NUM_FEATURES = 256
MAX_PERIOD = 10_000.0


def sinusoidal_features(steps_N: Tensor, num_features: int = NUM_FEATURES) -> Tensor:
    """Describe each number by cosines and sines of `num_features / 2` frequencies.

    Args:
        steps_N: [N] numbers of any dtype, one per row.
        num_features: even number of features.

    Returns:
        [N, num_features] float32 on the device of `steps_N`: all cosines, then all sines of `step * w_j` with
        `w_j = 10000^(-2j / num_features)` (Vaswani et al. 2017, section 3.5, in the order of the published weights).
    """
    half = num_features // 2
    # On the CPU in float32 whatever the device: this is how the published weights were trained, to the last digit.
    exponents = torch.arange(half, dtype=torch.float32, device="cpu") * -math.log(MAX_PERIOD) / half
    angles_Nh = steps_N.float()[:, None] * exponents.exp().to(steps_N.device)
    return torch.cat([angles_Nh.cos(), angles_Nh.sin()], dim=-1)


class TimestepEmbedder(nn.Module):
    """Embed numbers as `Linear(SiLU(Linear(sinusoidal features)))`.

    It holds no table of frequencies: a buffer outside the state dict would come back as uninitialised memory after
    a load on the meta device.

    Args:
        width: size of the embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(NUM_FEATURES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, steps_N: Tensor) -> Tensor:
        """Embed [N] numbers as [N, width], in the dtype of the parameters."""
        return self.mlp(sinusoidal_features(steps_N).to(input_dtype(self.mlp[0])))
