"""Floating-point operations of whole batches, counted operator by operator as torch runs them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


@contextmanager
def counted_operations() -> Iterator[dict[str, int]]:
    """Operations of what runs inside, by operator ("aten.mm", say); filled when the block ends.

    Products of matrices, convolutions and attention count, a multiplication and an addition as two. What runs in a
    compiled graph is not seen.
    """
    found: dict[str, int] = {}
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU) as counter:
        yield found
    found |= {str(operator): int(count) for operator, count in counter.get_flop_counts()["Global"].items()}


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))


ATTENTION_ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""What to add to torch's counter, which knows the attention kernels of GPUs alone."""


__all__ = ["ATTENTION_ON_CPU", "counted_operations"]
