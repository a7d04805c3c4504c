"""The base class of the caches that blocks consult, and the names of the two branches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

ATTENTION = "attn"
MLP = "mlp"

Branch = Callable[[Tensor, Any], Tensor]
"""A pure function of the tokens x [R, n, C] and their stage: what the branch adds to the residual stream [R, n, C]."""


@dataclass(frozen=True)
class StageStart:
    """What is known when a stage begins.

    Args:
        index: 0-based stage.
        x_RnC: its input tokens.
        map_before_BcPP: accumulated latent map before the last computed stage.
        map_BcPP: accumulated latent map now.
        seeds: of the pictures.
    """

    index: int
    x_RnC: Tensor
    map_before_BcPP: Tensor
    map_BcPP: Tensor
    seeds: tuple[int, ...] = (0,)


class BranchCache:
    """What blocks and generation ask of a cache. By itself it runs every stage and computes every branch."""

    def drops(self, index: int) -> bool:
        """Whether a stage is not run at all."""
        return False

    def unguided(self, index: int) -> bool:
        """Whether a stage, and all after it, runs the conditional rows alone."""
        return False

    def keep_rows(self, rows: int) -> None:
        """Only the first rows go on from here."""

    def begin_stage(self, start: StageStart) -> Tensor | None:
        """Decide how a stage is run; the places [R, m] of the only tokens to run, or None for all."""
        return None

    def add(self, kind: str, layer: int, branch: Branch, x_RnC: Tensor, stage: Any) -> Tensor:
        """The residual stream [R, n, C] after a branch ("attn" or "mlp") of this layer."""
        return x_RnC + branch(x_RnC, stage)

    def reused_tokens(self) -> Tensor | None:
        """Bool [R, n], which tokens' features were reused at this stage and want soft codes; None for none."""
        return None

    def finish(self) -> None:
        """The picture is done: hand over what was observed."""

    def finish_call(self) -> None:
        """All pictures of the call are done; told to the first one's cache."""


NoCache = BranchCache
"""The name where it means that nothing is cached."""
