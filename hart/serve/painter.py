"""Painting one batch of jobs with a pipeline, in whatever thread it is called."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from hart.pipeline import HARTPipeline
from hart.utils.images import png_bytes, to_pil
from hart.utils.prompts import count_tokens

if TYPE_CHECKING:
    pass

PartialCallback = Callable[[int, bytes], None]


class AbandonedError(Exception):
    """Nobody waits for any picture of the batch."""


@dataclass(eq=False)
class Job:
    """One picture to paint.

    Args:
        prompt: a text that the pipeline takes.
        seed: of the picture.
        partial_images: how many pictures to show on the way.
        on_partial: gets their index and PNG, in the painting thread.
        abandoned: set once nobody waits for the picture any more.
    """

    prompt: str
    seed: int
    partial_images: int = 0
    on_partial: PartialCallback | None = None
    abandoned: bool = field(default=False)


class Painter:
    """A pipeline as the service uses it: PNGs for jobs, previews on the way, and an end where nobody waits.

    Args:
        pipeline: its safety checker is for `check`; painting does not ask it again.
        guidance_scale: of every picture; None is the model's own.
        batch_size: pictures painted at once; None is the pipeline's own.
    """

    def __init__(self, pipeline: HARTPipeline, guidance_scale: float | None = None, batch_size: int | None = None):
        self.safety_checker = pipeline.safety_checker
        self.pipeline = copy.copy(pipeline)
        self.pipeline.safety_checker = None
        self.guidance_scale = guidance_scale
        self.batch_size = batch_size or pipeline.default_batch_size
        config = pipeline.model.config
        self.sides: list[int] = list(config.patch_nums)
        self.size = self._picture_size(config.latent_channels)

    @torch.no_grad()
    def _picture_size(self, channels: int) -> str:
        """WIDTHxHEIGHT of a picture, from one pass of the decoder."""
        device, side = self.pipeline.device, self.sides[-1]
        picture = self.pipeline.model.latent_to_img(torch.zeros(1, channels, side, side, device=device))
        return f"{picture.shape[-1]}x{picture.shape[-2]}"

    def tokens(self, prompt: str) -> tuple[int, int]:
        """Return how many text tokens a prompt has and how many image tokens a picture takes.

        Raises:
            ValueError: a prompt that is blank or has too many tokens.
        """
        self.pipeline.checked_prompts(prompt)
        (text,) = count_tokens([prompt], self.pipeline.tokenizer)
        return text, sum(side * side for side in self.sides)

    def is_refused(self, prompt: str) -> bool:
        """Return whether the safety checker refuses a prompt.

        Raises:
            ValueError: the checker answers for another number of prompts.
        """
        if self.safety_checker is None:
            return False
        answers = self.safety_checker([prompt])
        if len(answers) != 1:
            raise ValueError(f"safety_checker must return one answer per prompt, got {len(answers)}.")
        return bool(answers[0])

    def paint(self, jobs: Sequence[Job]) -> list[bytes]:
        """Paint one batch and return a PNG per job.

        Raises:
            AbandonedError: all jobs were abandoned, before or on the way.
        """
        stages = [partial_stages(job.partial_images, len(self.sides)) for job in jobs]

        def stage_done(index: int, info: Any) -> None:
            if all(job.abandoned for job in jobs):
                raise AbandonedError
            wanted = [(job, at.index(index)) for job, at in zip(jobs, stages, strict=True) if index in at]
            if wanted:
                previews = dict(zip(jobs, to_pil(info.preview()), strict=True))
                for job, count in wanted:
                    if job.on_partial is not None:
                        job.on_partial(count, png_bytes(previews[job]))

        if all(job.abandoned for job in jobs):
            raise AbandonedError
        output = self.pipeline(
            [job.prompt for job in jobs],
            guidance_scale=self.guidance_scale,
            seed=[job.seed for job in jobs],
            batch_size=len(jobs),
            callback_on_stage_end=stage_done,
        )
        return [png_bytes(image) for image in output.images]


def partial_stages(count: int, num_stages: int) -> list[int]:
    """Return the 0-based stages after which pictures are shown, spread evenly; the last stage is never among them."""
    return [(part + 1) * num_stages // (count + 1) - 1 for part in range(count)]
