"""Floating-point operations of the transformer's branches: those done, and those of a run that computes everything.

Counted: products with weight matrices (2 per weight, token and row) and attention (4 * n * kv * C per row: scores and
weighted sum). Not counted: norms, activations, modulation, and what lies outside the blocks.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn

from hart.modules.cache.branch_cache import ATTENTION, MLP


class FlopCounter:
    """Counts one generation.

    Args:
        blocks: the transformer's blocks, with `attn` and `ffn`.
        patch_nums: sides of the stages.
    """

    def __init__(self, blocks: Any, patch_nums: Sequence[int]):
        self.tokens = [side * side for side in patch_nums]
        self.weights = {
            (kind, layer): _matrix_weights(part)
            for layer, block in enumerate(blocks)
            for kind, part in ((ATTENTION, block.attn), (MLP, block.ffn))
        }
        self.done: Counter[int] = Counter()
        self.in_rounds: set[int] = set()
        self.rows = self.all_rows = self.text = self.width = 0

    def stage(self, index: int, shape: Sequence[int]) -> None:
        """A stage begins with tokens of this shape [R, n, C]; the first stage's are the text."""
        self.rows = shape[0]
        if index == 0:
            self.all_rows, self.text, self.width = shape
        elif shape[1] < self.tokens[index]:
            self.in_rounds.add(index)

    def branch(self, kind: str, layer: int, index: int, num_tokens: int, stage: Any) -> None:
        """A branch computed this many tokens of every row."""
        kv = getattr(stage, "kv", None)
        seen = kv.lengths[layer] if kind == ATTENTION and kv is not None else num_tokens
        self.done[index] += self.rows * self._cost(kind, layer, num_tokens, seen)

    def keys_values(self, index: int, num_tokens: int) -> None:
        """Keys and values alone were projected."""
        self.done[index] += 2 * 2 * self.width**2 * num_tokens * self.rows

    def totals(self) -> tuple[int, int]:
        """Operations done, and saved against a run that computes everything.

        A stage that was decoded in rounds counts as computed in full.
        """
        full, seen = 0, 0
        for index, tokens in enumerate([self.text, *self.tokens[1:]]):
            seen += tokens
            if index in self.in_rounds:
                full += self.done[index]
            else:
                full += self.all_rows * sum(self._cost(kind, layer, tokens, seen) for kind, layer in self.weights)
        done = sum(self.done.values())
        return done, max(0, full - done)

    def by_stage(self) -> dict[int, int]:
        """Operations done, by stage as a token count."""
        return {self.tokens[index]: count for index, count in self.done.items()}

    def _cost(self, kind: str, layer: int, tokens: int, seen: int) -> int:
        attention = 4 * tokens * seen * self.width if kind == ATTENTION else 0
        return 2 * self.weights[kind, layer] * tokens + attention


def _matrix_weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.dim() == 2)
