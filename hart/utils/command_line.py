"""What the command lines share; standard library only."""

import argparse
import io
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

BAD_INPUT, INTERRUPTED = 2, 130
"""Exit statuses, as shells have them."""


class Parser(argparse.ArgumentParser):
    """Reports a bad flag in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with status 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see --help.\n")


def whole_number(lowest: int) -> Callable[[str], int]:
    """A type of argument: a whole number from `lowest`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"it is {text!r}; allowed is a whole number from {lowest}")
        return int(text)

    return parse


def from_zero(text: str) -> float:
    """A type of argument: a finite number from 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"it is {text!r}; allowed is a finite number from 0")
    return value


def fraction(text: str) -> float:
    """A type of argument: a number from 0 to 1."""
    value = from_zero(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"it is {text!r}; allowed is a number from 0 to 1")
    return value


class EndOnInterrupt:
    """Callback after a stage that ends a call of the pipeline once Ctrl-C was pressed.

    A second Ctrl-C raises KeyboardInterrupt at once. Outside the main thread, Ctrl-C stays as it was.

    Args:
        callback: told of every stage, too; None for none.

    Example:
        >>> with EndOnInterrupt() as callback:
        ...     output = pipe(prompts, callback_on_stage_end=callback)
        >>> output.stopped_at  # None, or the stage after which it ended
    """

    def __init__(self, callback: Callable[[int, Any], Any] | None = None):
        self.callback, self.pressed = callback, False

    def __enter__(self) -> "EndOnInterrupt":
        self.in_main_thread = threading.current_thread() is threading.main_thread()
        if self.in_main_thread:
            self.before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error: object) -> None:
        if self.in_main_thread:
            signal.signal(signal.SIGINT, self.before)

    def _press(self, *signal_and_frame: object) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def __call__(self, index: int, info: Any) -> bool:
        """Pass a stage on; say whether to go on."""
        if self.callback is not None:
            self.callback(index, info)
        return not self.pressed


def tell(text: str) -> None:
    """Write a line, whatever letters the terminal can show, and also where nobody reads it any more."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the interpreter would try to flush again at its end, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
