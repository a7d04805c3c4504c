"""Where the time of a painting goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stopwatch:
    """Seconds between laps, with the device's queue drained at each.

    Args:
        device: whose work is timed.

    Example:
        >>> watch = Stopwatch(torch.device("cpu"))
        >>> seconds = watch.lap()  # since the start, or the last lap or restart
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.restart()

    def restart(self) -> None:
        """Forget the time since the last lap."""
        self._started = self._now()

    def lap(self) -> float:
        """Return the seconds since the last lap and begin a new one."""
        now = self._now()
        seconds, self._started = now - self._started, now
        return seconds

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()


@contextmanager
def timed(owner: Any, name: str, device: torch.device) -> Iterator[list[float]]:
    """Seconds of every call of a method while the context lasts; the method is the old one afterwards."""
    method: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        watch = Stopwatch(device)
        result = method(*args, **kwargs)
        seconds.append(watch.lap())
        return result

    before = owner.__dict__.get(name)
    owner.__dict__[name] = call
    try:
        yield seconds
    finally:
        if before is None:
            owner.__dict__.pop(name, None)
        else:
            owner.__dict__[name] = before
