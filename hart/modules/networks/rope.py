"""Rotary position tables for text (one coordinate) and token maps (row and column).

Shapes: R rows, n tokens, d = head width, H heads.
"""

from typing import NamedTuple

import torch
from torch import Tensor

THETA = 10000.0


class Rope(NamedTuple):
    """Cosines and sines [R, 1, n, d], in the dtype of the queries."""

    cos: Tensor
    sin: Tensor

    def select(self, index_Rn: Tensor) -> "Rope":
        """The tables at the given tokens of every row, index [R, m]."""
        index = index_Rn[:, None, :, None].expand(-1, 1, -1, self.cos.shape[-1])
        return Rope(self.cos.gather(2, index), self.sin.gather(2, index))


def text_rope(position_Rn: Tensor, head_dim: int, dtype: torch.dtype) -> Rope:
    """Tables for text: position k turns element pair j by k * theta**(-2j/d)."""
    frequency = THETA ** (-torch.arange(0, head_dim, 2, device=position_Rn.device, dtype=torch.float32) / head_dim)
    angle = position_Rn.float()[..., None] * frequency
    return _tables(torch.cat([angle, angle], dim=-1), dtype)


def image_rope(position_Rn2: Tensor, head_dim: int, dtype: torch.dtype) -> Rope:
    """Tables for a token map: rows turn the first half of a head, columns the second.

    A pair (k, k + d/2) is thus turned by two different angles. The published model was trained so; keep it.
    """
    exponent = -torch.arange(0, head_dim // 2, 2, device=position_Rn2.device, dtype=torch.float32) / (head_dim // 2)
    angle = position_Rn2.float()[..., None] * THETA**exponent  # [R, n, 2, d/4]
    row, column = angle.unbind(-2)
    return _tables(torch.cat([row, row, column, column], dim=-1), dtype)


def token_map_positions(side: int, full_side: int, offset_R: Tensor) -> Tensor:
    """Row and column [R, side*side, 2] of a token map's tokens, on the grid of the last stage.

    Args:
        side: side p of the map.
        full_side: side P of the last stage's map.
        offset_R: where the picture starts: the last entry of the row's text positions.
    """
    axis = torch.arange(side, device=offset_R.device, dtype=torch.float32) / side * full_side
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([row, column], dim=-1).view(1, -1, 2) + offset_R.float().view(-1, 1, 1)


def rotate(x_RHnd: Tensor, rope: Rope) -> Tensor:
    """Half-rotation of queries or keys [R, H, n, d]."""
    first, second = x_RHnd.chunk(2, dim=-1)
    return x_RHnd * rope.cos + torch.cat([-second, first], dim=-1) * rope.sin


def _tables(angle_Rnd: Tensor, dtype: torch.dtype) -> Rope:
    return Rope(angle_Rnd.cos().to(dtype).unsqueeze(1), angle_Rnd.sin().to(dtype).unsqueeze(1))
