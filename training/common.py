"""What every training script shares: run folders, logs, checkpoints, learning-rate schedule."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

RUNS = Path(__file__).parent / "runs"
EMBEDDED = Path(__file__).parent.parent / "hart" / "assets" / "embedded"


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
    """Appends one JSON line per record to `losses.jsonl` and echoes it; seconds go on after a resume."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "losses.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.start = time.monotonic() - (json.loads(lines[-1])["seconds"] if lines else 0.0)

    def __call__(self, **record: Any) -> None:
        record["seconds"] = round(time.monotonic() - self.start, 1)
        line = json.dumps(record)
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


class MuonAdamW:
    """Muon on the weights of hidden layers, AdamW on everything else, with one learning-rate factor for both.

    Convolution kernels are trained as matrices [out, in*kh*kw]. At 150 steps of the tokenizer Muon had reached
    15.0 dB where AdamW alone was at 11.4 dB.

    Args:
        module: what to train; parameters without `requires_grad` are left out.
        hidden: names of the parameters that Muon gets.
        muon_rate, adam_rate: peak learning rates.
        betas: of AdamW.
    """

    def __init__(
        self, module: nn.Module, hidden: set[str], muon_rate: float, adam_rate: float, betas: tuple[float, float]
    ):
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.hidden = [p for name, p in named.items() if name in hidden]
        self.matrices = [_as_matrix(p.detach()) for p in self.hidden]  # share memory with the parameters
        others = [p for name, p in named.items() if name not in hidden]
        self.muon = torch.optim.Muon(self.matrices, lr=muon_rate, weight_decay=0.01, momentum=0.9)
        self.adam = torch.optim.AdamW(others, lr=adam_rate, betas=betas, weight_decay=0.01)
        self.rates = (muon_rate, adam_rate)
        self.parameters = list(named.values())

    def step(self, factor: float, clip: float = 1.0) -> None:
        """One update at `factor` times the peak rates, then clear the gradients."""
        nn.utils.clip_grad_norm_(self.parameters, clip)
        for optimizer, rate in zip((self.muon, self.adam), self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        for matrix, parameter in zip(self.matrices, self.hidden, strict=True):
            matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad)
        self.muon.step()
        self.adam.step()
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def _as_matrix(kernel: Tensor) -> Tensor:
    """A kernel [out, in, kh, kw], channels last in memory, as a matrix [out, kh*kw*in]; a matrix stays itself."""
    return kernel if kernel.ndim == 2 else kernel.permute(0, 2, 3, 1).flatten(1)
