"""What a run paints: prompts and seeds, batch by batch, and the checkpoint that paints them."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hart.benchmark.results import Work
from hart.benchmark.run.batches import Batch
from hart.embedded import is_embedded
from hart.evaluation import Scene, draw_scenes, num_scenes, parse_caption
from hart.modules.models.transformer import HARTForT2I
from hart.pipeline import HARTPipeline
from hart.utils.digest import tensors_digest

EMBEDDED = "embedded"
SPLIT = "held-out"
WEIGHT_FILES = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class WorkRequest:
    """What to paint, and how.

    Args:
        num_pictures: N of each setting.
        batch_size: pictures painted at once; the last batch may be smaller, and counts in no median of seconds.
        guidance_scale: see `HARTPipeline`; None is the model's own.
        seed: picture i is painted with seed + i; it also decides which held-out scenes are drawn.
        prompts: texts, used again and again, with other seeds, where there are fewer than N; empty: captions of
            held-out scenes (154 at most), which the embedded model can be judged on.
        compiled: the branches are compiled.
        metadata: an entry per prompt, for exports; empty for none.
    """

    num_pictures: int = 32
    batch_size: int = 4
    guidance_scale: float | None = None
    seed: int = 0
    prompts: Sequence[str] = ()
    compiled: bool = False
    metadata: Sequence[dict[str, Any]] = ()

    def __post_init__(self) -> None:
        for name in ("num_pictures", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is a whole number from 1.")

    def texts(self) -> list[str]:
        """The prompt of every picture."""
        prompts = self.prompts or self._captions()
        return [prompts[index % len(prompts)] for index in range(self.num_pictures)]

    def _captions(self) -> list[str]:
        count = min(self.num_pictures, num_scenes(SPLIT))
        return [scene.caption() for scene in draw_scenes(count, SPLIT, self.seed)]


def describe_work(pipeline: HARTPipeline, checkpoint: str | os.PathLike[str] | None, request: WorkRequest) -> Work:
    """The request with what the model and the machine add to it."""
    config, guidance = pipeline.model.config, request.guidance_scale
    return Work(
        checkpoint=EMBEDDED if checkpoint is None or is_embedded(checkpoint) else os.fspath(checkpoint),
        patch_nums=list(config.patch_nums),
        depth=config.depth,
        embed_dim=config.embed_dim,
        device=str(pipeline.device),
        dtype=str(pipeline.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        compiled=request.compiled,
        batch_size=request.batch_size,
        num_pictures=request.num_pictures,
        guidance_scale=pipeline.generation_config["guidance_scale"] if guidance is None else guidance,
        seed=request.seed,
        prompts=request.texts(),
        weights=weights_digest(pipeline.model),
        other_weights={
            "tokenizer": tensors_digest(pipeline.model.vae),
            "text model": tensors_digest(pipeline.text_model),
        },
        metadata=list(request.metadata),
    )


def weights_digest(model: HARTForT2I) -> str:
    """SHA-256 of the image model's weights: of the files that they were read from, else of the tensors."""
    folder = Path(model.config.name_or_path) if model.config.name_or_path else None
    files = sorted(file for suffix in WEIGHT_FILES for file in folder.glob(suffix)) if folder is not None else []
    if not files:
        return tensors_digest(model)
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
    return digest.hexdigest()


def scenes_of(work: Work) -> list[Scene] | None:
    """The scene that every picture should show; None where no program can judge them.

    Only the embedded model is judged so, on prompts that are all captions of its scenes.
    """
    if work.checkpoint != EMBEDDED:
        return None
    try:
        return [parse_caption(prompt) for prompt in work.prompts]
    except ValueError:
        return None


def batches(work: Work) -> Iterator[Batch]:
    """Every batch of a run, in order."""
    for index, start in enumerate(range(0, work.num_pictures, work.batch_size)):
        prompts = work.prompts[start : start + work.batch_size]
        yield Batch(index, prompts, [work.seed + start + row for row in range(len(prompts))])
