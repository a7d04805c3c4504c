"""A transformer block: two branches, each a pure function of the tokens, with or without modulation by the text."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hart.modules.cache.branch_cache import ATTENTION, MLP
from hart.modules.networks.attention import SelfAttention
from hart.modules.networks.mlp import build_mlp
from hart.modules.networks.norm import build_norm
from hart.modules.networks.precision import input_dtype
from hart.modules.networks.stage import Stage


class Modulation(NamedTuple):
    """What the text does to one branch: out = gate * branch(norm(x) * (1 + scale) + shift); each [R, 1, C]."""

    gate: Tensor
    scale: Tensor
    shift: Tensor


class Block(nn.Module):
    """Attention and MLP around one shared norm.

    Args:
        index: layer.
        dim, num_heads, mlp_ratio: sizes.
        attn_type, mlp_type: "llama" or "gpt2".
        norm_eps: epsilon of the norm.
        modulation: "none", "adaln" (a linear map of the pooled text per block) or "shared" (a table plus the text).
        attn_l2_norm: see `SelfAttention`.
        drop, attn_drop, drop_path: dropout probabilities in training.
    """

    def __init__(
        self,
        index: int,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        attn_type: str,
        mlp_type: str,
        norm_eps: float,
        modulation: str = "none",
        attn_l2_norm: bool = False,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.index, self.drop_path = index, drop_path
        self.attn = SelfAttention(index, dim, num_heads, attn_type, attn_l2_norm, attn_drop, drop)
        self.ffn = build_mlp(mlp_type, dim, mlp_ratio)
        self.drop = nn.Dropout(drop)
        self.ln_wo_grad = build_norm(attn_type, dim, norm_eps, affine=False)
        if modulation == "adaln":
            self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        elif modulation == "shared":
            self.scale_shift_table = nn.Parameter(torch.randn(6, dim) / dim**0.5)
        self.modulation = modulation

    def forward(self, x_RnC: Tensor, stage: Stage) -> Tensor:
        x_RnC = stage.cache.add(ATTENTION, self.index, self.attention_branch, x_RnC, stage)
        return stage.cache.add(MLP, self.index, self.mlp_branch, x_RnC, stage)

    def append_keys_values(self, x_RnC: Tensor, stage: Stage) -> None:
        """Keys and values alone, for later stages: no query, no attention, no output projection."""
        modulation = self._modulation(stage, 0)
        h = self.ln_wo_grad(x_RnC)
        if modulation is not None:
            h = h * (1 + modulation.scale) + modulation.shift
        self.attn.append_keys_values(h, stage)

    def attention_branch(self, x_RnC: Tensor, stage: Stage) -> Tensor:
        """What attention adds to the residual stream, [R, n, C]."""
        return self._modulated(lambda h: self.attn(h, stage), x_RnC, self._modulation(stage, 0))

    def mlp_branch(self, x_RnC: Tensor, stage: Stage) -> Tensor:
        """What the MLP adds to the residual stream, [R, n, C]."""
        return self._modulated(lambda h: self.drop(self.ffn(h)), x_RnC, self._modulation(stage, 1))

    def _modulated(self, layer, x_RnC: Tensor, modulation: Modulation | None) -> Tensor:
        h = self.ln_wo_grad(x_RnC)
        if modulation is None:
            return self._drop_rows(layer(h))
        return self._drop_rows(layer(h * (1 + modulation.scale) + modulation.shift) * modulation.gate)

    def _modulation(self, stage: Stage, branch: int) -> Modulation | None:
        if self.modulation == "none":
            return None
        condition_RC = stage.condition_RC
        if condition_RC is None:
            raise ValueError(f"condition_RC is None; modulation {self.modulation!r} needs the pooled text [R, C].")
        if self.modulation == "adaln":
            six_R6C = self.ada_lin(condition_RC).unflatten(-1, (6, -1))
        else:
            six_R6C = self.scale_shift_table + condition_RC[:, None]
        gates, scales, shifts = six_R6C.chunk(3, dim=1)  # order: gate, scale, shift; each for attention, then MLP
        return Modulation(*(part[:, branch : branch + 1] for part in (gates, scales, shifts)))

    def _drop_rows(self, branch_RnC: Tensor) -> Tensor:
        """Stochastic depth: leave the whole branch out for some rows of the batch."""
        if not self.training or self.drop_path == 0:
            return branch_RnC
        keep = 1 - self.drop_path
        mask_R11 = torch.rand(len(branch_RnC), 1, 1, device=branch_RnC.device) < keep
        return branch_RnC * mask_R11 / keep


class OutputModulation(nn.Module):
    """Norm before the logits layer, modulated by the strongest text feature (parameters `ln_wo_grad`, `ada_lin`)."""

    def __init__(self, dim: int, flavour: str, norm_eps: float):
        super().__init__()
        self.ln_wo_grad = build_norm(flavour, dim, norm_eps, affine=False)
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def condition(self, text_RTC: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift [R, 1, C] of the embedded text [R, T, C]; constant over a generation."""
        pooled_RC = text_RTC.amax(dim=1).to(input_dtype(self.ada_lin[-1]))
        scale, shift = self.ada_lin(pooled_RC)[:, None].float().chunk(2, dim=-1)
        return scale, shift

    def forward(self, x_RnC: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        scale, shift = condition
        return self.ln_wo_grad(x_RnC.float()) * (1 + scale) + shift
