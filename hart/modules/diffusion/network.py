"""The network of the residual diffusion head: a small MLP that sees one token at a time.

Shapes: `n` tokens, `c` channels of a token, `C` channels of the condition, `W` width. Leading dimensions may differ
between x and the condition as long as they broadcast.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from hart.modules.networks.embeddings import TimestepEmbedder
from hart.modules.networks.precision import input_dtype

NORM_EPS = 1e-6


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale) + shift


class ResidualMLPBlock(nn.Module):
    """`u + gate * mlp(norm(u) * (1 + scale) + shift)`, with shift, scale and gate computed from the condition.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, u_nW: Tensor, active_nW: Tensor) -> Tensor:
        """Refine [.., n, W] features under the SiLU [.., n, W] of a condition."""
        shift, scale, gate = self.adaLN_modulation[1](active_nW).chunk(3, dim=-1)
        return u_nW + gate * self.mlp(_modulate(self.in_ln(u_nW), shift, scale))


class FinalLayer(nn.Module):
    """Modulated norm without weights, then a projection.

    Args:
        width: W.
        out_channels: channels of the output.
    """

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, u_nW: Tensor, active_nW: Tensor) -> Tensor:
        """Project [.., n, W] features under the SiLU of a condition to [.., n, out_channels]."""
        shift, scale = self.adaLN_modulation[1](active_nW).chunk(2, dim=-1)
        normed = F.layer_norm(u_nW, u_nW.shape[-1:], eps=NORM_EPS)
        return self.linear(_modulate(normed, shift, scale))


class DiffusionMLP(nn.Module):
    """Predict noise and variance of noisy tokens (HART, arXiv 2410.10812, section 3; head of Li et al. 2024, MAR).

    Condition and time are embedded apart from `forward`, so that a sampling loop embeds each condition once and not
    once per step.

    Args:
        target_channels: c.
        condition_channels: C.
        width: W.
        depth: number of residual blocks.
    """

    def __init__(self, target_channels: int, condition_channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.time_embed = TimestepEmbedder(width)
        self.cond_embed = nn.Linear(condition_channels, width)
        self.input_proj = nn.Linear(target_channels, width)
        self.res_blocks = nn.ModuleList(ResidualMLPBlock(width) for _ in range(depth))
        self.final_layer = FinalLayer(width, 2 * target_channels)

    def forward(self, x_nc: Tensor, condition_nW: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the noise in x.

        Args:
            x_nc: [.., n, c] noisy tokens.
            condition_nW: [.., n, W] sum of the embedded time and the embedded condition. With more leading
                dimensions than x, several conditions share one x, and what depends on x alone is computed once.

        Returns:
            The noise and the variance coefficient (about -1 to 1, between the two ends of the log-variance), each
            [.., n, c] with the leading dimensions of the condition, float32.
        """
        u_nW = self.input_proj(x_nc.to(input_dtype(self.input_proj)))
        active_nW = F.silu(condition_nW)  # once for all blocks, each of which begins with it
        for block in self.res_blocks:
            u_nW = block(u_nW, active_nW)
        noise, variance = self.final_layer(u_nW, active_nW).float().chunk(2, dim=-1)
        return noise, variance
