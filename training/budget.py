"""How long to train: a budget of steps or minutes, its pieces, and the learning rate that follows its share."""

import argparse
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

DECAY = 0.2
WARMUP_STEPS = 30
SAVE_MINUTES = 4.0
"""Minutes between two exports: the most that a kill or a full disk can cost."""


@dataclass
class Budget:
    """What a training may use, over all its pieces.

    Args:
        steps: updates in all; None: no limit.
        minutes: time of training in all; None: no limit.
        piece_minutes: time of training in this piece; the run then stops without having ended.
        done_seconds: seconds of training that earlier pieces have used.

    Raises:
        ValueError: neither steps nor minutes, or a number that is not above zero.
    """

    steps: int | None = None
    minutes: float | None = None
    piece_minutes: float | None = None
    done_seconds: float = 0.0
    started: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("steps or minutes must be given, got neither.")
        for name in ("steps", "minutes", "piece_minutes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}.")

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier pieces included."""
        return self.done_seconds + time.monotonic() - self.started

    def share(self, step: int) -> float:
        """Share of the budget used, 0 to 1: of steps or of minutes, whichever is further."""
        by_steps = step / self.steps if self.steps is not None else 0.0
        by_minutes = self.seconds / 60 / self.minutes if self.minutes is not None else 0.0
        return min(1.0, max(by_steps, by_minutes))

    def piece_is_over(self) -> bool:
        return self.piece_minutes is not None and time.monotonic() - self.started >= 60 * self.piece_minutes


def decay_factor(share: float, decay: float = DECAY) -> float:
    """Factor on the learning rate by the share of the budget used: 1, then linear to 0 over the last `decay` of it."""
    return min(1.0, max(0.0, (1 - share) / decay))


def rate_factor(share: float, steps_since_start: int, decay: float = DECAY, warmup: int = WARMUP_STEPS) -> float:
    """`decay_factor` with a linear warm-up after every start, while the optimiser finds its averages again."""
    return decay_factor(share, decay) * min(1.0, (steps_since_start + 1) / warmup)


def add_budget_arguments(parser: argparse.ArgumentParser, steps: int | None = None) -> None:
    """Arguments `--steps`, `--minutes` and `--piece_minutes`, read by `budget_from`."""
    parser.add_argument("--steps", type=int, help=f"updates in all; default: {steps} where no minutes are given")
    parser.add_argument("--minutes", type=float, help="minutes of training in all, over all pieces")
    parser.add_argument("--piece_minutes", type=float, help="stop after so many minutes; the same command goes on")
    parser.set_defaults(default_steps=steps)


def budget_from(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take the budget's arguments out: keyword arguments of `Budget`."""
    taken = {name: arguments.__dict__.pop(name) for name in ("steps", "minutes", "piece_minutes")}
    default = arguments.__dict__.pop("default_steps")
    if taken["steps"] is None and taken["minutes"] is None:
        taken["steps"] = default
    return taken


class Stop:
    """Whether somebody asked for the end; true after a Ctrl-C or SIGTERM."""

    asked = False


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Let Ctrl-C and SIGTERM ask for the end instead of ending at once; a second Ctrl-C ends at once."""
    stop = Stop()

    def ask(number: int, frame: Any) -> None:
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
