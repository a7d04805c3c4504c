"""Throughput and averages of a training, without making the host wait for the device at every step."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.matrix_peak import matrix_product_peak
from hart.utils.timing import Stopwatch

PEAK_REPEATS = 3


class Averages:
    """Sums of tensors that stay on their device until `take`."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor], count: int = 1) -> None:
        """Add means over `count` samples each."""
        for name, value in values.items():
            weighted = value.detach() * count
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
            self.counts[name] = self.counts.get(name, 0) + count

    def take(self, digits: int = 3) -> dict[str, Any]:
        """Means since the last time as numbers or lists of numbers, rounded; waits for the device."""
        means = {name: _rounded(total / self.counts[name], digits) for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def _rounded(value: Tensor, digits: int) -> Any:
    numbers = value.tolist()
    return [round(v, digits) for v in numbers] if isinstance(numbers, list) else round(numbers, digits)


def count_operations(step: Callable[[], Any]) -> int:
    """Multiplications and additions in the matrix products of a step, its backward pass included."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


class Throughput:
    """Samples a second, and the share of what the device reaches in one large bfloat16 product.

    Args:
        device: where training runs; its peak is measured now.
        size: side of the matrices that the peak is measured with; None: large enough for the device.
    """

    def __init__(self, device: torch.device, size: int | None = None):
        # Operations a second; nothing else of the machine can say more than this measures.
        self.peak = 1e9 * matrix_product_peak(device, torch.bfloat16, PEAK_REPEATS, size)
        self.watch, self.samples, self.operations = Stopwatch(device), 0, 0

    def add(self, samples: int, operations: int) -> None:
        self.samples += samples
        self.operations += operations

    def restart(self) -> None:
        """Forget what was counted, as after an evaluation."""
        self.samples, self.operations = 0, 0
        self.watch.restart()

    def take(self) -> dict[str, float]:
        """Since the last time: `samples_per_second` and `peak_share`, 0 to 1; waits for the device."""
        seconds = max(self.watch.lap(), 1e-9)
        record = {
            "samples_per_second": round(self.samples / seconds, 2),
            "peak_share": round(self.operations / seconds / self.peak, 4),
        }
        self.samples, self.operations = 0, 0
        return record
