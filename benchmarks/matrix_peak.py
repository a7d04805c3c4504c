"""What a device reaches in one large matrix product: the yardstick of how much of it a model uses."""

import torch

from hart.utils.timing import Stopwatch

CPU_SIZE, GPU_SIZE = 2048, 8192


def matrix_product_peak(device: torch.device, dtype: torch.dtype, repeats: int = 10, size: int | None = None) -> float:
    """GFLOP/s of a square matrix product, the best of some after one that warms up.

    Args:
        device, dtype: where and in what.
        repeats: how many are timed.
        size: side of the matrices; None: large enough for the device.
    """
    size = size or (CPU_SIZE if device.type == "cpu" else GPU_SIZE)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    watch, seconds = Stopwatch(device), []
    for _ in range(repeats):
        watch.restart()
        a @ b
        seconds.append(watch.lap())
    return 2 * size**3 / min(seconds) / 1e9
