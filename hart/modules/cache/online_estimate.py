"""The online estimate of similarity: how alike each branch was at its last computed transition between stages.

Of the estimates that a run can afford, this one foretells the true similarity best (the guide has the comparison). It
looks at a few tokens only. Shapes: R rows (2B under guidance), n tokens, m of them, C width.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from hart.modules.cache.similarity import similarity

NUM_SPOTS = 64
"""Tokens that are compared. Eight rank branches nearly as well; more make the estimate steadier."""

Resize = Callable[[Tensor, int, int], Tensor]
"""Tokens [R, n, C] of one side, and two sides: the tokens at the other side."""


class TransitionWatch:
    """Compares computed branches with what they gave at the stage before.

    Args:
        sides: of the stages.
        watched: stages (0-based) at which to compare: those before a stage that may reuse.
        metric: name of a similarity metric.
        resize: upsampling of a token map.
    """

    def __init__(self, sides: Sequence[int], watched: Collection[int], metric: str, resize: Resize):
        self.sides, self.watched, self.metric, self.resize = sides, frozenset(watched), metric, resize
        self._expected: dict[int, tuple[int, Tensor]] = {}
        self._seen: dict[int, Tensor] = {}

    def computed(self, branch_index: int, index: int, out_RnC: Tensor, pictures: int) -> None:
        """A branch was computed for all tokens of a stage."""
        expected = self._expected.pop(branch_index, None)
        if expected is not None and expected[0] == index and expected[1].shape[0] == out_RnC.shape[0]:
            alike_R = similarity(expected[1], out_RnC[:, self._spots(index)], self.metric)
            self._seen[branch_index] = alike_R.view(-1, pictures).mean(0).min()
        if index + 1 in self.watched and out_RnC.shape[1] == self.sides[index] ** 2:
            grown_RnC = self.resize(out_RnC, self.sides[index], self.sides[index + 1])
            # A copy: a view would keep the whole map.
            self._expected[branch_index] = index + 1, grown_RnC[:, self._spots(index + 1)].contiguous()

    def estimates(self) -> dict[int, float]:
        """Least similarity over the pictures, by index of the branch; of those compared. One read of the device."""
        if not self._seen:
            return {}
        return dict(zip(self._seen, torch.stack(list(self._seen.values())).tolist(), strict=True))

    def _spots(self, index: int) -> slice:
        return slice(None, None, max(1, self.sides[index] ** 2 // NUM_SPOTS))


def stages_to_watch(skipped: Collection[int]) -> set[int]:
    """The stage before every stage that may reuse (0-based indices); the first two have none before them."""
    return {index - 1 for index in skipped if index >= 3}
