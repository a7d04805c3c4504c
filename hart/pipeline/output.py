"""What a call of the pipeline gives back, and the clock that runs meanwhile.

Shapes: N pictures of a call, c code channels, P side of the latent map, K stages.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hart.pipeline.callbacks import StageCallback
from hart.utils.images import to_pil
from hart.utils.timing import Stopwatch

OutputType = Literal["pil", "pt", "np", "latent"]
OUTPUT_TYPES = ("pil", "pt", "np", "latent")


@dataclass
class PipelineOutput:
    """What a call painted, in the order of the prompts; all pictures of the first prompt come first.

    Args:
        images: N pictures: a list of Pillow pictures ("pil"), a float32 tensor [N, 3, H, W] ("pt") or array
            [N, H, W, 3] ("np") in 0 to 1, or the latent maps [N, c, P, P] ("latent").
        prompts: prompt of every picture.
        seeds: seed of every picture; it paints the same picture again (to the bit on CPU; a GPU rounds differently in
            batches of other sizes).
        timings: seconds for all pictures together: `text`, `stages` (a list of K; the last includes the diffusion
            head), `decoder`, and `total`. A callback's own time counts in none but `total`.
        latents: the latent maps, for the output type "latent" only.
        cache_statistics: what the stage cache did in this call (`EnhancedHARTForT2I.get_cache_statistics`); None where
            it is off.
        stopped_at: index of the stage after which a callback ended the call. The pictures of that batch are then as
            this stage left them, and those of later batches are missing here. None where all were finished.
    """

    images: Any
    prompts: list[str]
    seeds: list[int]
    timings: dict[str, Any]
    latents: Tensor | None = None
    cache_statistics: dict[str, Any] | None = None
    stopped_at: int | None = None


@dataclass
class Run:
    """Clock, progress bar and callback of one call."""

    device: torch.device
    num_stages: int
    callback: StageCallback | None
    bar: Any
    text: float = 0.0
    decoder: float = 0.0
    stopped_at: int | None = None
    stages: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = Stopwatch(self.device)
        self.stages = [0.0] * self.num_stages

    def stage_done(self, index: int, info: Any) -> bool:
        """Note a stage's time, then let the caller have its turn off the clock; False ends the painting."""
        self.stages[index] += self.watch.lap()
        self.bar.update()
        if self.callback is not None:
            if self.callback(index, info) is False:
                self.stopped_at = index
            self.watch.restart()
        return self.stopped_at is None

    def timings(self) -> dict[str, Any]:
        return {"text": self.text, "stages": self.stages, "decoder": self.decoder}


def joined(parts: list[Any], output_type: OutputType) -> Any:
    """The outputs of all batches as one."""
    if output_type == "pil":
        return [image for part in parts for image in part]
    return np.concatenate(parts) if output_type == "np" else torch.cat(parts)


def as_output(painted: Tensor, output_type: OutputType) -> Any:
    """Pictures [B, 3, H, W] or latent maps in the form that was asked for."""
    if output_type == "pil":
        return to_pil(painted)
    if output_type == "np":
        return painted.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return painted.clamp(0, 1) if output_type == "pt" else painted
