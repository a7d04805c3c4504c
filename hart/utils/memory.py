"""How much memory a piece of work took at its peak."""

from pathlib import Path

import torch

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET_PEAK = "5"


class PeakMemory:
    """Peak in bytes since `restart()`; `method` says what is counted.

    - "torch.cuda.max_memory_allocated": tensors on the device.
    - "VmHWM": resident memory of the whole process, whose peak Linux can forget.
    - "ru_maxrss": the same without forgetting: the largest since the process began.
    - "none": this platform has neither; peaks are 0.

    Args:
        device: whose memory counts.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.method = "torch.cuda.max_memory_allocated" if device.type == "cuda" else _process_method()

    def restart(self) -> None:
        """Forget the peak, where the platform can."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self.method == "VmHWM":
            CLEAR_REFS.write_text(RESET_PEAK)

    def peak_bytes(self) -> int:
        """The largest since `restart()`."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if self.method == "VmHWM":
            return _high_water()
        return _largest_resident()


def _process_method() -> str:
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
        _high_water()
        return "VmHWM"
    except (OSError, ValueError):
        return "ru_maxrss" if _largest_resident() else "none"


def _high_water() -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{STATUS} has no VmHWM.")


def _largest_resident() -> int:
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
