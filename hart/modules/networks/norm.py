"""Norms of the transformer."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root-mean-square norm with a weight; the reduction runs in float32, the product in the input's dtype."""

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        return normed.to(x.dtype) * self.weight.to(x.dtype)


def build_norm(flavour: str, dim: int, eps: float, affine: bool) -> nn.Module:
    """The norm of an attention flavour: RMS with a weight for llama, LayerNorm (affine or not) for gpt2."""
    return RMSNorm(dim, eps) if flavour == "llama" else nn.LayerNorm(dim, eps=eps, elementwise_affine=affine)
