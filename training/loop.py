"""The loop that both trainings share: steps, log, evaluation, exports, and an orderly end."""

import time
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.budget import DECAY, SAVE_MINUTES, Budget, Stop, rate_factor, stopped_by_signals
from training.common import Log
from training.meter import Averages, Throughput, count_operations
from training.optimizer import MuonAdamW
from training.pieces import check_size, load_export, save_export


class Training(ABC):
    """A model in training; the parts below say what is trained and how.

    Args:
        settings: a dataclass; stored with every export.
        folder: what is written, and gone on from.
        device: where to train.
        compiled: compile what `to_compile` names.
    """

    optimizer: MuonAdamW
    decay = DECAY
    digits = 3
    optional: frozenset[str] = frozenset()
    """Tensors of an export that a new model has not."""

    def __init__(self, settings: Any, folder: Path, device: torch.device, compiled: bool):
        torch.manual_seed(settings.seed)
        self.settings, self.folder, self.device, self.compiled = settings, folder, device, compiled
        self.log, self.step, self.done_seconds, self.operations = Log(folder), 0, 0.0, 0
        self.stopped = False

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """What is trained."""

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Pictures of a step."""

    @abstractmethod
    def backward(self, share: float) -> dict[str, Tensor]:
        """Losses of a fresh batch at a share of the budget, their gradients added to the parameters."""

    @abstractmethod
    def evaluate(self) -> dict[str, Any]:
        """What to log and to store with an export."""

    def tensors(self) -> dict[str, Tensor]:
        """What an export holds."""
        return self.module.state_dict()

    def facts(self) -> dict[str, Any]:
        """What an export says beside the numbers of the run."""
        return {}

    def to_compile(self) -> list[nn.Module]:
        """Modules that `compiled` compiles."""
        return []

    # -- exports -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Tensor] | None:
        """Weights of the folder's export, its steps and seconds taken over; None where there is none.

        Raises:
            ValueError: the export is of another size.
        """
        export = load_export(self.folder)
        if export is None:
            return None
        tensors, facts = export
        own, there = ({name: list(value.shape) for name, value in s.items()} for s in (self.tensors(), tensors))
        for name in sorted(own.keys() | there.keys() - self.optional):
            if own.get(name) != there.get(name):
                raise ValueError(
                    f"the shape of {name} must be {there.get(name)}, that of the run in {str(self.folder)!r}, "
                    f"got {own.get(name)}; name another folder for a model of another size."
                )
        self.step, self.done_seconds = facts["step"], facts["training_seconds"]
        torch.manual_seed(self.settings.seed + 1_000_003 * self.step)  # other draws than those since the start
        return tensors

    def save(self, budget: Budget, report: dict[str, Any]) -> bool:
        """Export the weights; a disk that is full costs this export and not the run."""
        facts = {
            "step": self.step,
            "training_seconds": round(budget.seconds, 1),
            "share": round(budget.share(self.step), 4),
            "device": self.device.type,
            "settings": asdict(self.settings),
            "losses": report,
            **self.facts(),
        }
        try:
            save_export(self.folder, self.tensors(), facts)
        except OSError as error:
            self.log(step=self.step, not_exported=str(error))
            return False
        return True

    # -- the run -----------------------------------------------------------------------------------------------------

    def run(
        self, log_every: int = 20, save_minutes: float = SAVE_MINUTES, peak_size: int | None = None, **limits: Any
    ) -> bool:
        """Train until the budget or this piece of it is used up, or somebody asks for the end; always export.

        Args:
            log_every: steps between two lines of the log.
            save_minutes: minutes between two evaluations and exports.
            peak_size: see `Throughput`.
            limits: `steps`, `minutes` and `piece_minutes` of `Budget`.

        Returns:
            Whether the whole budget is used.

        Raises:
            OSError: the last export could not be written.
        """
        with stopped_by_signals() as stop:
            meter = Throughput(self.device, peak_size)
            self._prepare()
            budget = Budget(**limits, done_seconds=self.done_seconds)
            self._loop(budget, meter, stop, log_every, 60 * save_minutes)
            share, self.stopped = budget.share(self.step), stop.asked
            report = {} if stop.asked else self._evaluate()
            self.log(step=self.step, share=round(share, 4), ended=share >= 1, **report)
            if not self.save(budget, report):
                raise OSError(f"the last export could not be written to {str(self.folder)!r}.")
        return share >= 1

    def _loop(self, budget: Budget, meter: Throughput, stop: Stop, log_every: int, save_seconds: float) -> None:
        averages, first, saved = Averages(), self.step, time.monotonic()
        meter.restart()
        while not stop.asked and not budget.piece_is_over() and (share := budget.share(self.step)) < 1:
            averages.add(self.backward(share))
            self.optimizer.step(rate_factor(share, self.step - first, self.decay))
            self.step += 1
            meter.add(self.batch_size, self.operations)
            if self.step % log_every == 0:
                self.log(step=self.step, share=round(share, 4), **averages.take(self.digits), **meter.take())
            if time.monotonic() - saved >= save_seconds:
                report = self._evaluate()
                self.log(step=self.step, **report)
                self.save(budget, report)
                saved = time.monotonic()
                meter.restart()

    def _evaluate(self) -> dict[str, Any]:
        with torch.compiler.set_stance("force_eager"):  # other shapes than in training would be compiled anew
            return self.evaluate()

    def _prepare(self) -> None:
        """Count a step's operations, then compile; gradients of the counted pass are thrown away."""
        check_size(self.tensors())
        self.operations = count_operations(lambda: self.backward(0.0))
        self.module.zero_grad(set_to_none=True)
        modules = self.to_compile() if self.compiled else []
        for module in modules:
            module.compile()
        dynamo = torch._dynamo.config  # blocks share their code, and each counts as one more version of it
        dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(modules))
