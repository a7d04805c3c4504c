"""Ask a pipeline for pictures of random scenes and judge them."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from hart.evaluation.checker import PictureCheck, check_pictures, tabulate
from hart.evaluation.scenes import SIDES, Scene, all_scenes, is_held_out

SPLITS = ("held-out", "training")


class Pipeline(Protocol):
    """What evaluation needs of a pipeline: `images` in what a call gives.

    Called as `pipe(prompts, seed=[...], output_type="np", batch_size=len(prompts), progress=False)` and with the
    caller's further settings.
    """

    def __call__(self, *args: Any, **settings: Any) -> Any: ...


def draw_scenes(num_pictures: int, split: str, seed: int = 0) -> list[Scene]:
    """Draw different random scenes of a split, big and small ones in turn.

    Taking sizes in turn keeps them equally many; drawn from all scenes alike, five of six would be small.

    Args:
        num_pictures: how many; at least 1.
        split: "held-out" (colours never trained with the object and style) or "training".
        seed: decides the draw.

    Raises:
        ValueError: for an unknown split, or more pictures than the split has scenes.
    """
    pool, most = _scenes_of(split), num_scenes(split)
    rng = np.random.default_rng(seed)
    by_size = [[pool[i] for i in rng.permutation(len(pool)) if pool[i].size == size] for size in SIDES]
    if not 1 <= num_pictures <= most:
        raise ValueError(f"num_pictures is {num_pictures}; allowed are 1 to {most} for the split {split!r}.")
    return [by_size[i % len(SIDES)][i // len(SIDES)] for i in range(num_pictures)]


def num_scenes(split: str) -> int:
    """The most scenes that `draw_scenes` draws of a split: as many of the rarer size, twice.

    Raises:
        ValueError: for an unknown split.
    """
    sizes = [scene.size for scene in _scenes_of(split)]
    return len(SIDES) * min(sizes.count(size) for size in SIDES)


def _scenes_of(split: str) -> list[Scene]:
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; allowed are {', '.join(SPLITS)}.")
    return [scene for scene in all_scenes() if is_held_out(scene) == (split == "held-out")]


def evaluate_model(
    pipeline: Pipeline,
    num_pictures: int = 500,
    split: str = "held-out",
    seed: int = 0,
    batch_size: int = 16,
    guidance_scale: float | None = None,
    progress: bool = True,
    **settings: Any,
) -> dict[str, Any]:
    """Let a pipeline paint random scenes and count what came out as asked.

    Args:
        pipeline: called as `pipeline(prompts, seed=seeds, output_type="np", batch_size=len(prompts),
            progress=False)`; gives `.images`, float [H, H, 3] each.
        num_pictures: how many pictures, half big and half small.
        split: "held-out" or "training", see `draw_scenes`.
        seed: decides the scenes; picture i is painted with seed `seed + i`, whatever the batch size.
        batch_size: pictures painted at once; more takes more memory, and is faster on a GPU.
        guidance_scale: strength of guidance; None leaves it to the pipeline.
        progress: show a progress bar.
        settings: further keyword arguments for the pipeline.

    Returns:
        `table` (see `evaluate_pictures`), the same under `by_size` for big and small, and the arguments used.

    Raises:
        ValueError: for an unknown split, or a number of pictures or a batch size out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; allowed are 1 and more.")
    scenes = draw_scenes(num_pictures, split, seed)
    if guidance_scale is not None:
        settings["guidance_scale"] = guidance_scale
    checks = _paint_and_check(pipeline, scenes, seed, batch_size, progress, settings)
    by_size = {size: [c for c, s in zip(checks, scenes, strict=True) if s.size == size] for size in SIDES}
    return {
        "split": split,
        "num_pictures": num_pictures,
        "seed": seed,
        "guidance_scale": guidance_scale,
        "table": tabulate(checks),
        "by_size": {size: tabulate(part) for size, part in by_size.items()},
    }


def _paint_and_check(
    pipeline: Pipeline,
    scenes: Sequence[Scene],
    seed: int,
    batch_size: int,
    progress: bool,
    settings: dict[str, Any],
) -> list[PictureCheck]:
    """Paint batch by batch, so that pictures need not all be kept."""
    # Comes with transformers; the judging itself must work without it.
    from tqdm import tqdm

    checks: list[PictureCheck] = []
    with tqdm(total=len(scenes), unit="picture", disable=not progress) as bar:
        for start in range(0, len(scenes), batch_size):
            batch = scenes[start : start + batch_size]
            seeds = list(range(seed + start, seed + start + len(batch)))
            prompts = [scene.caption() for scene in batch]
            # One bar over all pictures instead of one per batch, and no smaller batches inside the pipeline.
            fixed = {"output_type": "np", "batch_size": len(batch), "progress": False}
            output = pipeline(prompts, seed=seeds, **fixed, **settings)
            checks += check_pictures(output.images, batch)
            bar.update(len(batch))
    return checks
