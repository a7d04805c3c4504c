"""Painting the images of a workload with one model, and timing it: what calibration, timing and planning share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hart.tuning.model import TunedModel
from hart.tuning.workload import Workload
from hart.utils.timing import Stopwatch, timed


@dataclass(frozen=True)
class Painted:
    """Latent maps of a batch and the seconds that they took.

    Args:
        f_hat: latent maps [B, c, P, P].
        seconds: of all stages.
        stages: of each stage; empty unless asked for.
        text: of reading the prompts; 0 where they were read before.
    """

    f_hat: Tensor
    seconds: float
    stages: list[float] = field(default_factory=list)
    text: float = 0.0


class Painter:
    """Paints images of a workload; image i is painted with seed `first_seed` + i.

    Args:
        model: a wrapper that nobody else uses meanwhile.
        workload: the texts.
        first_seed: of image 0.
        cfg: guidance scale.
    """

    def __init__(self, model: TunedModel, workload: Workload, first_seed: int, cfg: float):
        self.model, self.workload, self.first_seed, self.cfg = model, workload, first_seed, cfg

    def paint(
        self, start: int, size: int = 1, arguments: dict[str, Any] | None = None, by_stage: bool = False
    ) -> Painted:
        """Paint images `start` to `start + size` at once.

        Args:
            start, size: which images.
            arguments: their texts, where they were read before.
            by_stage: time every stage, which on a GPU waits for the device after each.
        """
        watch, text, stages = Stopwatch(self.model.device), 0.0, list[float]()
        if arguments is None:
            arguments = self.workload.arguments(start, size)
            text = watch.lap()
        f_hat = self.model.autoregressive_infer_cfg(
            size,
            g_seed=[self.first_seed + start + row for row in range(size)],
            cfg=self.cfg,
            decode=False,
            callback_on_stage_end=(lambda *_: stages.append(watch.lap())) if by_stage else None,
            **arguments,
        )
        return Painted(f_hat, sum(stages) if by_stage else watch.lap(), stages, text)


@contextmanager
def timed_parts(model: Any) -> Iterator[Callable[[], dict[str, float]]]:
    """Gives a function that returns the seconds inside so far: of the blocks, and of the diffusion head.

    Args:
        model: a `HARTForT2I`. The diffusion head is shared by all wrappers of a model, so one measures at a time.
    """
    with timed(model.diffloss, "sample", model.device) as head, timed(model, "run_blocks", model.device) as blocks:
        yield lambda: {"diffusion_head": sum(head), "transformer": sum(blocks)}


__all__ = ["Painted", "Painter", "timed_parts"]
