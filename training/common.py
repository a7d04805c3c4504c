"""What every training script shares: run folders, where to run, logs, files that are whole."""

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hart.utils.devices import default_device, parse_device
from hart.utils.files import written_beside

RUNS = Path(__file__).parent / "runs"
EMBEDDED = Path(__file__).parent.parent / "hart" / "assets" / "embedded"
BACKGROUND_NICENESS = 15


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments `--device` and `--background`, read by `chosen_device`."""
    parser.add_argument("--device", help="cuda, cuda:N, mps or cpu; default: the best there is")
    parser.add_argument("--background", action="store_true", help="one thread at low priority, beside other work")


def chosen_device(arguments: argparse.Namespace) -> torch.device:
    """Take `--device` and `--background` out of the arguments, and follow them.

    Raises:
        ValueError: an unknown device, or one that this machine has not.
    """
    device, background = arguments.__dict__.pop("device"), arguments.__dict__.pop("background")
    if background:
        torch.set_num_threads(1)
        os.nice(BACKGROUND_NICENESS)
    return default_device() if device is None else parse_device(device)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 for matrix products, as each device type does it."""
    return torch.autocast(device.type, dtype=torch.bfloat16)


def draw_places(chances_N: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Places [count] drawn by their chances [N]; unlike `torch.multinomial` it never makes the host wait."""
    cumulative_N = chances_N.cumsum(0)
    drawn = torch.rand(count, generator=generator, device=chances_N.device) * cumulative_N[-1]
    return torch.searchsorted(cumulative_N, drawn, right=True).clamp_max(len(chances_N) - 1)


def tokenizer_folder(run: Path) -> Path:
    """The tokenizer of a run: its own, else the one that ships."""
    own = run / "tokenizer"
    return own if own.is_dir() else EMBEDDED / "tokenizer"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside the old file, then replace it: an interrupt never loses the last checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as unfinished:
        torch.save(state, unfinished)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def swap_folder(fresh: Path, folder: Path) -> None:
    """Put a whole new folder in the place of another."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


class Log:
    """Appends one JSON line per record to `losses.jsonl` and echoes it; seconds go on after a resume.

    A line that the disk has no room for is only echoed: training goes on.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "losses.jsonl"
        self.start = time.monotonic() - last_seconds(self.path)

    def __call__(self, **record: Any) -> None:
        record["seconds"] = round(time.monotonic() - self.start, 1)
        line = json.dumps(record)
        try:
            with self.path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            print(f"the log cannot be written ({error}); training goes on", flush=True)
        print(line, flush=True)


def last_seconds(path: Path) -> float:
    """Seconds of a log's last whole line; a line that was cut short is passed over."""
    for line in reversed(path.read_text().splitlines() if path.exists() else []):
        try:
            return json.loads(line)["seconds"]
        except ValueError:
            continue
    return 0.0
