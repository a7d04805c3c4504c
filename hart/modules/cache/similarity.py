"""How alike a reused and a computed branch output are: 1 for equal ones, less the further they lie apart.

Shapes: R rows, n tokens, C channels.
"""

import torch
from torch import Tensor

from hart.modules.cache.registries import METRICS
from hart.modules.cache.rules import Metric


def register_metric(name: str, metric: Metric) -> None:
    """Add a similarity metric, (reused [R, n, C], computed [R, n, C]) -> [R].

    Raises:
        ValueError: the name is taken.
    """
    METRICS.register(name, metric)


def similarity(reused_RnC: Tensor, computed_RnC: Tensor, metric: str = "cosine") -> Tensor:
    """Similarity per row [R], float32; it stays on the device.

    Raises:
        ValueError: unknown metric, tensors of different shape, or a metric that does not give one number a row.
    """
    if reused_RnC.shape != computed_RnC.shape:
        raise ValueError(f"reused is {list(reused_RnC.shape)}; allowed is the shape {list(computed_RnC.shape)}.")
    value_R = METRICS.get(metric)(reused_RnC.float(), computed_RnC.float())
    if value_R.shape != computed_RnC.shape[:1]:
        raise ValueError(f"similarity metric {metric!r} gave {list(value_R.shape)}; allowed is one number a row.")
    return value_R


def cosine(reused_RnC: Tensor, computed_RnC: Tensor) -> Tensor:
    """Cosine per token, averaged over tokens; two tokens that are both zero count as equal."""
    dot_Rn = (reused_RnC * computed_RnC).sum(-1)
    norms_Rn = reused_RnC.norm(dim=-1) * computed_RnC.norm(dim=-1)
    both_zero_Rn = (reused_RnC == 0).all(-1) & (computed_RnC == 0).all(-1)
    tiny = torch.finfo(dot_Rn.dtype).tiny
    return torch.where(both_zero_Rn, 1.0, dot_Rn / norms_Rn.clamp_min(tiny)).clamp(-1, 1).mean(-1)


def centred_cosine(reused_RnC: Tensor, computed_RnC: Tensor) -> Tensor:
    """Cosine after each stage's mean token is taken away: a direction that all tokens share no longer counts."""
    return cosine(
        reused_RnC - reused_RnC.mean(1, keepdim=True),
        computed_RnC - computed_RnC.mean(1, keepdim=True),
    )


def relative_l2(reused_RnC: Tensor, computed_RnC: Tensor) -> Tensor:
    """1 - |reused - computed| / |computed| over a whole row; below 0 where reuse is worse than adding nothing."""
    distance_R = (reused_RnC - computed_RnC).flatten(1).norm(dim=1)
    size_R = computed_RnC.flatten(1).norm(dim=1)
    return 1 - torch.where(distance_R == 0, 0.0, distance_R / size_R.clamp_min(torch.finfo(size_R.dtype).eps))


register_metric("cosine", cosine)
register_metric("centred_cosine", centred_cosine)
register_metric("relative_l2", relative_l2)
