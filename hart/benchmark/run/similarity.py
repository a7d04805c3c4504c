"""True similarities of reused to computed outputs: measured once on the model, for the report and for peers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hart.benchmark.results import Similarity, Work
from hart.benchmark.run.work import EMBEDDED
from hart.evaluation import draw_scenes
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.similarity_table import Calibration
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.pipeline import HARTPipeline

FILE = "similarity.json"
PICTURES = 8
METRIC = "cosine"
BRANCHES = ("attn", "mlp")


@dataclass(frozen=True)
class MeasuredTable:
    """Similarities by branch, layer and stage, and the file that holds them."""

    path: Path
    means: dict[tuple[str, int, int], float]


def measured_table(pipeline: HARTPipeline, work: Work, folder: Path, progress: bool = False) -> MeasuredTable:
    """Paint up to 8 pictures with seeds that the run does not use, or read the table of before.

    The embedded model paints captions of its training split, so that no setting is calibrated on what it is judged by;
    other checkpoints paint the run's first prompts.
    """
    path = folder.resolve() / FILE
    if not path.is_file():
        count = min(PICTURES, work.num_pictures)
        text = pipeline.encode(_prompts(work, count))
        EnhancedHARTForT2I.from_hart(pipeline.model).calibrate_thresholds(
            count,
            seed=work.seed + work.num_pictures,
            label_B=text.context,
            context_position_ids=text.position_ids,
            context_mask=text.mask,
            cfg=work.guidance_scale,
            sim_path=path,
            progress=progress,
        )
    return MeasuredTable(path, Calibration.from_json(path).table())


def needs_table(config: HARTCacheConfig) -> bool:
    """Whether settings decide by a calibrated table and name none."""
    return config.estimator == "calibrated" and config.sim_path is None


def is_table_of(config: Mapping[str, Any], table: Path) -> bool:
    """Whether settings, as plain values, name this table."""
    path = config["sim_path"]
    return path is not None and Path(path).resolve() == table.resolve()


def _prompts(work: Work, count: int) -> list[str]:
    if work.checkpoint == EMBEDDED:
        return [scene.caption() for scene in draw_scenes(count, "training", work.seed)]
    return work.prompts[:count]


def similarity_table(measured: MeasuredTable, work: Work) -> Similarity:
    """The same as rows of layers and columns of stages."""
    stages = [side * side for side in work.patch_nums]
    table = {
        branch: [[measured.means.get((branch, layer, stage)) for stage in stages] for layer in range(work.depth)]
        for branch in BRANCHES
    }
    return Similarity(metric=METRIC, stages=stages, table=table)
