"""What every training script shares: run folders, logs, checkpoints, learning-rate schedule."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch

RUNS = Path(__file__).parent / "runs"


def cosine_schedule(step: int, total: int, warmup: int, floor: float = 0.0) -> float:
    """Factor on the learning rate: linear warm-up, then one cosine down to `floor`, by step and never by clock."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside the old file, then replace it: an interrupt never loses the last checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


class Log:
    """Appends one JSON line per record to `losses.jsonl` and echoes it."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "losses.jsonl"
        self.start = time.monotonic()

    def __call__(self, **record: Any) -> None:
        record["seconds"] = round(time.monotonic() - self.start, 1)
        line = json.dumps(record)
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)
