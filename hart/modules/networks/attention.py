"""Self-attention of both flavours; they differ in the projection's name and in rotary positions.

Shapes: R rows, n tokens, H heads, d = C / H.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hart.modules.networks.rope import rotate
from hart.modules.networks.stage import Span, Stage

MAX_LOG_SCALE = math.log(100)


class SelfAttention(nn.Module):
    """Multi-head attention over this stage's tokens and everything before them.

    Args:
        index: layer, for the KV cache.
        dim: width C.
        num_heads: heads H; C / H must be a multiple of 4 for rotary positions.
        flavour: "llama" (projection `qkv_proj`) or "gpt2" (`mat_qkv`).
        l2_norm: normalise queries and keys and learn a scale per head.
        attn_drop, proj_drop: dropout probabilities in training.
    """

    zero_k_bias: Tensor

    def __init__(
        self,
        index: int,
        dim: int,
        num_heads: int,
        flavour: str,
        l2_norm: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ):
        super().__init__()
        self.index, self.num_heads, self.attn_drop = index, num_heads, attn_drop
        # The factor 0.25 is the published one, beside the usual 1/sqrt(d).
        self.scale = 1.0 if l2_norm else 0.25 / math.sqrt(dim // num_heads)
        self.projection_name = "qkv_proj" if flavour == "llama" else "mat_qkv"
        setattr(self, self.projection_name, nn.Linear(dim, 3 * dim, bias=False))
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("zero_k_bias", torch.zeros(dim))
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, num_heads, 1, 1), math.log(4.0))) if l2_norm else None
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def reset_biases(self) -> None:
        """Starting values of what is no layer of its own."""
        nn.init.zeros_(self.q_bias)
        nn.init.zeros_(self.v_bias)
        nn.init.zeros_(self.zero_k_bias)
        if self.scale_mul_1H11 is not None:
            nn.init.constant_(self.scale_mul_1H11, math.log(4.0))

    def project(self, x_RnC: Tensor, stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [R, H, n, d], normalised and rotated."""
        weight = getattr(self, self.projection_name).weight
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        qkv = F.linear(x_RnC, weight, bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.scale_mul_1H11 is not None:
            q = F.normalize(q.float(), dim=-1) * self.scale_mul_1H11.float().clamp_max(MAX_LOG_SCALE).exp()
            k = F.normalize(k.float(), dim=-1)
            q, k = q.to(v.dtype), k.to(v.dtype)
        if stage.rope is not None:
            q, k = rotate(q, stage.rope), rotate(k, stage.rope)
        return q, k, v

    def append_keys_values(self, x_RnC: Tensor, stage: Stage) -> None:
        """Project and append keys and values only, two thirds of the projection."""
        dim = x_RnC.shape[-1]
        weight = getattr(self, self.projection_name).weight[dim:]
        kv = F.linear(x_RnC, weight, torch.cat([self.zero_k_bias, self.v_bias])).unflatten(-1, (2, self.num_heads, -1))
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.scale_mul_1H11 is not None:
            k = F.normalize(k.float(), dim=-1).to(v.dtype)
        if stage.rope is not None:
            k = rotate(k, stage.rope)
        if stage.kv is not None:
            stage.kv.append(self.index, k, v)

    def forward(self, x_RnC: Tensor, stage: Stage) -> Tensor:
        q, k, v = self.project(x_RnC, stage)
        if stage.kv is not None:
            k, v = stage.kv.append(self.index, k, v)
        dropout = self.attn_drop if self.training else 0.0
        if stage.spans:
            out = attend_spans(q, k, v, stage.spans, dropout, self.scale)
        else:
            out = attend(q, k, v, stage.mask, dropout, self.scale)
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, scale: float) -> Tensor:
    """softmax(scale * q k^T) v, over the tokens [1, 1, n, n] that a bool mask lets through.

    The fused kernel, except in training on CPU: its backward pass there takes two to three times as long as plain
    products (bf16, 48 x 4 heads x 110 tokens: 103 ms against 32 ms).
    """
    if dropout == 0 and q.requires_grad and q.device.type == "cpu":
        scores = (q * scale) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return scores.softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)


def attend_spans(q: Tensor, k: Tensor, v: Tensor, spans: tuple[Span, ...], dropout: float, scale: float) -> Tensor:
    """`attend` span by span: what a span never sees is not computed, and most spans need no mask."""
    queries = q.split([span.stop - span.start for span in spans], dim=2)
    parts = [
        attend(part, k[:, :, : span.stop], v[:, :, : span.stop], span.mask, dropout, scale)
        for part, span in zip(queries, spans, strict=True)
    ]
    return torch.cat(parts, dim=2)
