"""The object that blocks consult when nothing is cached, and the names of the two branches."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

ATTENTION = "attn"
MLP = "mlp"

Branch = Callable[[Tensor, Any], Tensor]
"""A pure function of the tokens x [rows, n, C] and the stage they belong to: what is added to the residual stream."""


class NoCache:
    """Computes every branch."""

    def run(self, kind: str, layer: int, branch: Branch, x_BLC: Tensor, stage: Any) -> Tensor:
        """Output [rows, n, C] of a branch at this layer for the stage's tokens."""
        return branch(x_BLC, stage)
