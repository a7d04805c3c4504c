"""Judge an export by the pictures it paints, and decide whether it may replace what ships."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hart import HARTPipeline
from hart.evaluation import Scene, draw_scenes, evaluate_pictures
from hart.evaluation.fidelity import Fidelity, fidelity, has_ssim
from hart.modules.cache_config import HARTCacheConfig
from hart.utils import grid, save_png, to_pil
from training.assemble import Sampling, assemble, sampling_of
from training.common import EMBEDDED

SCENES_SEED, PAINT_SEED = 5, 900
SPLITS = ("held-out", "training")
SHEET = "pictures.png"
# What a model that is broken or of another kind raises while it is loaded or paints.
NOT_PAINTING = (OSError, ValueError, RuntimeError, KeyError, TypeError)


@dataclass(frozen=True)
class Judging:
    """How much to paint.

    Args:
        pictures: of each split; 0 paints nothing.
        late_stages: for so many of the last stages, what leaving them out costs on held-out captions.
        batch: pictures painted at once.
    """

    pictures: int = 48
    late_stages: int = 3
    batch: int = 16

    def check(self) -> None:
        """Raise a ValueError, before anything is trained, if there are not so many scenes of each split."""
        for split in SPLITS if self.pictures else ():
            draw_scenes(self.pictures, split)


@dataclass(frozen=True)
class Verdict:
    """Whether an export may replace what ships, and why in one sentence."""

    replaces: bool
    reason: str


def may_replace(new: Fidelity | None, shipped: Fidelity | None) -> Verdict:
    """The rule: an export that does not load, or paints worse on held-out captions, stays outside.

    Args:
        new, shipped: of pictures of the same captions and seeds; None where the model does not load or paint.
    """
    if new is None:
        return Verdict(False, "The export does not load or does not paint.")
    if shipped is None:
        return Verdict(True, "What ships does not paint these captions.")
    row = new.minus(shipped)["psnr"]
    gain, rest = row["value"], f"by {abs(row['value']):.2f} dB on {len(new.captions)} held-out captions"
    if not np.isfinite(gain) or gain < 0:
        return Verdict(False, f"The export is worse than what ships {rest}.")
    return Verdict(True, f"The export is no worse than what ships, better {rest}.")


class Painter:
    """Paints scenes with a model, each with its own seed.

    Args:
        pipeline: of the model.
        sampling: how to paint.
        batch: pictures painted at once.
    """

    def __init__(self, pipeline: HARTPipeline, sampling: Sampling, batch: int):
        self.pipeline, self.sampling, self.batch = pipeline, sampling, batch

    def __call__(self, scenes: Sequence[Scene], left_out: int = 0) -> list[np.ndarray]:
        """Pictures float [128, 128, 3]; the last `left_out` stages are not run."""
        sides = self.pipeline.model.config.patch_nums
        dropped = sorted(side * side for side in sides[len(sides) - left_out :])
        self.pipeline.model.set_cache_config(HARTCacheConfig(drop_stages=dropped))
        images: list[np.ndarray] = []
        for start in range(0, len(scenes), self.batch):
            captions = [scene.caption() for scene in scenes[start : start + self.batch]]
            seeds = list(range(PAINT_SEED + start, PAINT_SEED + start + len(captions)))
            fixed: dict[str, Any] = {"output_type": "np", "batch_size": len(captions), "progress": False}
            images += list(self.pipeline(captions, seed=seeds, **fixed, **asdict(self.sampling)).images)
        return images


def score(images: Sequence[np.ndarray], scenes: Sequence[Scene]) -> tuple[dict[str, Any], Fidelity]:
    """Share of pictures that show their caption, and fidelity: a report, and the fidelity for comparisons."""
    near = fidelity(images, [scene.caption() for scene in scenes], ssim=has_ssim())
    table = evaluate_pictures(images, scenes)
    return {"prompt_score": table["overall"]["share"], "fidelity": near.summary()}, near


@contextlib.contextmanager
def assembled(run: Path, sampling: Sampling) -> Iterator[Path]:
    """A run's export as a checkpoint folder, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assemble(run, folder, sampling)
        if not (folder / "tokenizer").is_dir():
            shutil.copytree(EMBEDDED / "tokenizer", folder / "tokenizer")
        yield folder


def judge(run: Path, sampling: Sampling, judging: Judging, device: torch.device) -> tuple[dict[str, Any], Verdict]:
    """Paint with an export and with what ships.

    Args:
        run: folder with the export; a sheet of pictures is written there.
        sampling: how the export is to paint.
        judging: how much to paint; at least one picture.
        device: where.

    Returns:
        A report with `held-out`, `training`, `left_out` (what leaving out the last 1, 2, ... stages costs) and
        `shipped`, and the verdict.
    """
    report: dict[str, Any] = {"sampling": asdict(sampling), "pictures": judging.pictures}
    scenes, others = (draw_scenes(judging.pictures, split, SCENES_SEED) for split in SPLITS)
    try:
        with assembled(run, sampling) as folder:
            painter = Painter(
                HARTPipeline.from_pretrained(folder, device=device, system_prompt=""), sampling, judging.batch
            )
            images = painter(scenes)
            report["held-out"], new = score(images, scenes)
            report["left_out"] = {
                str(count): new.minus(score(painter(scenes, count), scenes)[1])["psnr"]
                for count in range(1, judging.late_stages + 1)
            }
            report["training"], _ = score(painter(others), others)
            write_sheet(images, run / SHEET)
    except NOT_PAINTING as error:
        report["error"] = f"{type(error).__name__}: {error}"
        return report, may_replace(None, None)
    shipped = score_shipped(scenes, judging, device, report)
    return report, may_replace(new, shipped)


def score_shipped(
    scenes: Sequence[Scene], judging: Judging, device: torch.device, report: dict[str, Any]
) -> Fidelity | None:
    """Fidelity of what ships on the same scenes and seeds, noted in the report; None where it does not paint."""
    try:
        painter = Painter(HARTPipeline.from_pretrained(device=device), sampling_of(EMBEDDED / "llm"), judging.batch)
        report["shipped"], near = score(painter(scenes), scenes)
    except NOT_PAINTING as error:
        report["shipped"] = {"error": str(error)}
        return None
    return near


def write_sheet(images: Sequence[np.ndarray], path: Path, most: int = 24) -> None:
    """The first pictures in rows of eight."""
    tiles = torch.from_numpy(np.stack(images[:most])).permute(0, 3, 1, 2)
    save_png(grid(to_pil(tiles), columns=8), path)
