"""Ask a pipeline for pictures of random scenes and judge them: do they show what was asked for, and how well."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from hart.evaluation.checker import check_pictures, tabulate
from hart.evaluation.fidelity import fidelity, has_ssim
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

    Taking sizes in turn keeps them equally many; drawn from all scenes alike, two of three would be small.

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
    num_pictures: int = 300,
    split: str = "held-out",
    seed: int = 0,
    batch_size: int = 16,
    guidance_scale: float | None = None,
    progress: bool = True,
    picture_seed: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Let a pipeline paint random scenes; count what came out as asked and measure how near it is to the truth.

    Args:
        pipeline: called as `pipeline(prompts, seed=seeds, output_type="np", batch_size=len(prompts),
            progress=False)`; gives `.images`, float [128, 128, 3] each.
        num_pictures: how many pictures, half big and half small; more than the split has scenes paint them again with
            other seeds.
        split: "held-out" or "training", see `draw_scenes`.
        seed: decides the scenes.
        batch_size: pictures painted at once; more takes more memory, and is faster on a GPU.
        guidance_scale: strength of guidance; None leaves it to the pipeline.
        progress: show a progress bar.
        picture_seed: picture i is painted with this + i, whatever the batch size; None takes `seed`.
        settings: further keyword arguments for the pipeline.

    Returns:
        `table` (see `evaluate_pictures`) and `fidelity` (see `Fidelity.summary`; SSIM where scikit-image is there), the
        same for big and small under `by_size` and `fidelity_by_size`, and the arguments used.

    Raises:
        ValueError: for an unknown split, or a number of pictures or a batch size out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; allowed are 1 and more.")
    scenes = repeated_scenes(num_pictures, split, seed)
    if guidance_scale is not None:
        settings["guidance_scale"] = guidance_scale
    first_seed = seed if picture_seed is None else picture_seed
    pictures = paint_scenes(pipeline, scenes, first_seed, batch_size, progress, **settings)
    checks, captions = check_pictures(pictures, scenes), [scene.caption() for scene in scenes]
    places = {size: [i for i, scene in enumerate(scenes) if scene.size == size] for size in SIDES}
    parts = {size: part for size, part in places.items() if part}
    near = fidelity(pictures, captions, has_ssim())
    return {
        "split": split,
        "num_pictures": num_pictures,
        "num_captions": len(set(captions)),
        "seed": seed,
        "picture_seed": first_seed,
        "guidance_scale": guidance_scale,
        "table": tabulate(checks),
        "by_size": {size: tabulate([checks[i] for i in part]) for size, part in places.items()},
        "fidelity": near.summary(),
        "fidelity_by_size": {size: near.part(part).summary() for size, part in parts.items()},
    }


def repeated_scenes(num_pictures: int, split: str, seed: int = 0) -> list[Scene]:
    """Draw scenes as `draw_scenes` does, and again from the first one on where more are asked for than there are."""
    scenes = draw_scenes(min(num_pictures, num_scenes(split)), split, seed)
    return [scenes[i % len(scenes)] for i in range(num_pictures)]


def paint_scenes(
    pipeline: Pipeline,
    scenes: Sequence[Scene],
    first_seed: int,
    batch_size: int,
    progress: bool = True,
    **settings: Any,
) -> np.ndarray:
    """Paint scene i with seed `first_seed + i`, batch by batch: uint8 [B, H, H, 3]."""
    # Comes with transformers; the judging itself must work without it.
    from tqdm import tqdm

    pictures: list[np.ndarray] = []
    with tqdm(total=len(scenes), unit="picture", disable=not progress) as bar:
        for start in range(0, len(scenes), batch_size):
            batch = scenes[start : start + batch_size]
            seeds = list(range(first_seed + start, first_seed + start + len(batch)))
            prompts = [scene.caption() for scene in batch]
            # One bar over all pictures instead of one per batch, and no smaller batches inside the pipeline.
            fixed = {"output_type": "np", "batch_size": len(batch), "progress": False}
            output = pipeline(prompts, seed=seeds, **fixed, **settings)
            pictures += [np.rint(np.asarray(image) * 255).astype(np.uint8) for image in output.images]
            bar.update(len(batch))
    return np.stack(pictures)
