"""Keys and values of the tokens generated so far, preallocated and written in place."""

import torch
from torch import Tensor


class KVCache:
    """One buffer for all layers of one generation.

    Args:
        depth: number of layers.
        rows: rows of the batch, 2B under classifier-free guidance.
        num_heads, head_dim: shape of a key.
        capacity: tokens that fit, text included.
        like: tensor whose device and dtype the buffer takes.
    """

    def __init__(self, depth: int, rows: int, num_heads: int, head_dim: int, capacity: int, like: Tensor):
        self.keys = torch.empty(depth, rows, num_heads, capacity, head_dim, device=like.device, dtype=like.dtype)
        self.values = torch.empty_like(self.keys)
        self.lengths = [0] * depth

    def append(self, layer: int, k_RHnd: Tensor, v_RHnd: Tensor) -> tuple[Tensor, Tensor]:
        """Add a stage's keys and values and return all of that layer so far, [R, H, length, d] each."""
        start = self.lengths[layer]
        end = start + k_RHnd.shape[2]
        self.keys[layer, :, :, start:end] = k_RHnd
        self.values[layer, :, :, start:end] = v_RHnd
        self.lengths[layer] = end
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def keep_rows(self, rows: int) -> None:
        """Only the first rows go on from here."""
        self.keys, self.values = self.keys[:, :rows], self.values[:, :rows]
