"""True similarities of reused to computed outputs: measured once on the model, for the report and for peers."""

import logging
from dataclasses import dataclass
from pathlib import Path

from hart.benchmark.results import Similarity, Work
from hart.modules.cache.calibration import Calibration
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.pipeline import HARTPipeline

logger = logging.getLogger(__name__)

FILE = "similarity.json"
PICTURES = 8
METRIC = "cosine"
BRANCHES = ("attn", "mlp")


@dataclass(frozen=True)
class MeasuredTable:
    """Similarities by branch, layer and stage, and the file that holds them."""

    path: Path
    means: dict[tuple[str, int, int], float]


def measured_table(pipeline: HARTPipeline, work: Work, folder: Path) -> MeasuredTable:
    """Paint 8 pictures of the run's first prompts with seeds that the run does not use, or read the table of before."""
    path = folder.resolve() / FILE
    if not path.is_file():
        logger.info("measuring similarities on %d pictures", PICTURES)
        prompts = [work.prompts[index % len(work.prompts)] for index in range(PICTURES)]
        text = pipeline.encode(prompts)
        EnhancedHARTForT2I.from_hart(pipeline.model).calibrate_thresholds(
            PICTURES,
            seed=work.seed + work.num_pictures,
            label_B=text.context,
            context_position_ids=text.position_ids,
            context_mask=text.mask,
            cfg=work.guidance_scale,
            sim_path=path,
            progress=False,
        )
    return MeasuredTable(path, Calibration.from_json(path).table())


def similarity_table(measured: MeasuredTable, work: Work) -> Similarity:
    """The same as rows of layers and columns of stages."""
    stages = [side * side for side in work.patch_nums]
    table = {
        branch: [[measured.means.get((branch, layer, stage)) for stage in stages] for layer in range(work.depth)]
        for branch in BRANCHES
    }
    return Similarity(metric=METRIC, stages=stages, table=table)
