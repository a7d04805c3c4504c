"""The pictures of one call, batch by batch.

Shapes: N pictures of a call, B pictures of a batch, c code channels, P side of the latent map.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from hart.modules.models.transformer import HARTForT2I
from hart.pipeline.callbacks import StageCallback
from hart.pipeline.output import OutputType, PipelineOutput, Run, as_output, joined
from hart.pipeline.settings import Settings
from hart.pipeline.text import CallText
from hart.utils.timing import Stopwatch


@dataclass(frozen=True)
class Call:
    """Everything that a call paints with; all of it has been checked.

    Args:
        model: the image model.
        text: prompts of N pictures, and what encodes them.
        seeds: one per picture.
        settings: how to paint each.
        output_type: what form pictures are given back in.
        callback: called after every stage; False ends the call.
        batch_size: pictures painted at once.
        text_first: encode all prompts before the first picture, so that the text model can be put away.
        progress: show a bar over stages.
    """

    model: HARTForT2I
    text: CallText
    seeds: list[int]
    settings: Settings
    output_type: OutputType
    callback: StageCallback | None
    batch_size: int
    text_first: bool
    progress: bool

    @torch.no_grad()
    def paint(self) -> PipelineOutput:
        """Paint all pictures, or those up to the stage at which the callback ended the call."""
        device, num_stages, count = self.model.device, len(self.model.config.patch_nums), len(self.seeds)
        starts = range(0, count, self.batch_size)
        total = Stopwatch(device)
        with tqdm(total=len(starts) * num_stages, desc="painting", unit="stage", disable=not self.progress) as bar:
            run = Run(device, num_stages, self.callback, bar)
            if self.text_first:
                run.watch.restart()
                self.text.encode_all()
                run.text += run.watch.lap()
            parts, painted = [], 0
            for start in starts:
                batch = slice(start, min(start + self.batch_size, count))
                # Now, not at the end: a long list of pictures would not fit beside the model on a GPU.
                parts.append(as_output(self._batch(batch, run).cpu(), self.output_type))
                painted = batch.stop
                if run.stopped_at is not None:
                    break
        images = joined(parts, self.output_type)
        return PipelineOutput(
            images=images,
            prompts=self.text.prompts[:painted],
            seeds=self.seeds[:painted],
            timings=run.timings() | {"total": total.lap()},
            latents=images if self.output_type == "latent" else None,
            stopped_at=run.stopped_at,
        )

    def _batch(self, batch: slice, run: Run) -> Tensor:
        """Pictures [B, 3, H, W] or latent maps [B, c, P, P] of one batch."""
        run.watch.restart()
        text, negative = self.text.batch(batch)
        run.text += run.watch.lap()
        against: dict[str, Any] = {}
        if negative is not None:
            against = {
                "negative_context": negative.context,
                "negative_position_ids": negative.position_ids,
                "negative_mask": negative.mask,
            }
        f_hat = self.model.autoregressive_infer_cfg(
            len(text.context),
            text.context,
            self.seeds[batch],
            context_position_ids=text.position_ids,
            context_mask=text.mask,
            callback_on_stage_end=run.stage_done,
            decode=False,
            **against,
            **vars(self.settings),
        )
        if self.output_type == "latent":
            return f_hat
        run.watch.restart()
        images = self.model.latent_to_img(f_hat)
        run.decoder += run.watch.lap()
        return images
