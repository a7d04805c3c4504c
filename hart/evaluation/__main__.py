"""Evaluate the embedded model: `python -m hart.evaluation --output evaluation.json --markdown evaluation.md`."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hart.evaluation.fidelity import compare_settings, has_ssim
from hart.evaluation.model import SPLITS, evaluate_model, paint_scenes, repeated_scenes
from hart.evaluation.report import markdown_report
from hart.utils.files import write_whole

if TYPE_CHECKING:
    from hart.modules.cache_config import HARTCacheConfig
    from hart.pipeline import HARTPipeline

logger = logging.getLogger(__name__)

LATE_STAGES = 3
"""The last one, two, ... so many stages are left out, to see what they pay."""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m hart.evaluation", description="Evaluate the embedded model.")
    parser.add_argument("--output", type=Path, help="JSON file to write; default: standard output")
    parser.add_argument("--markdown", type=Path, help="Markdown file to write, too")
    parser.add_argument("--num-pictures", type=int, default=300, help="pictures per split")
    parser.add_argument("--seed", type=int, default=0, help="decides which captions are drawn")
    parser.add_argument("--picture-seed", type=int, help="seed of the first picture; default: --seed")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--guidance-scale", type=float, help="default: the pipeline's own")
    setting = parser.add_mutually_exclusive_group()
    setting.add_argument("--cache", help="preset of the stage cache to paint with; default: no cache")
    setting.add_argument("--leave-out", type=int, metavar="N", help="paint without the last N stages")
    parser.add_argument(
        "--late-pictures",
        type=int,
        default=48,
        help=f"pictures per split on which the cost of leaving out the last 1 to {LATE_STAGES} stages is measured; "
        "0: not measured",
    )
    return parser


def without_last(pipeline: "HARTPipeline", count: int) -> "HARTCacheConfig":
    """Settings that leave out the last stages.

    Raises:
        ValueError: no stage, or all of them.
    """
    from hart.modules.cache_config import HARTCacheConfig

    sides = pipeline.model.config.patch_nums
    if not 1 <= count < len(sides):
        raise ValueError(f"leave-out must be 1 to {len(sides) - 1} stages, got {count}.")
    return HARTCacheConfig(drop_stages=[side * side for side in sides[-count:]])


def measure_costs(
    pipeline: "HARTPipeline", setting: "HARTCacheConfig | str | None", split: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Compare no cache, the setting asked for and leaving out late stages on the same captions and seeds."""
    scenes = repeated_scenes(arguments.late_pictures, split, arguments.seed)
    seed = arguments.seed if arguments.picture_seed is None else arguments.picture_seed
    chosen: dict[str, Any] = {"no cache": None}
    if setting is not None:
        chosen[str(arguments.cache or f"the last {arguments.leave_out} left out, as asked")] = setting
    for count in range(1, LATE_STAGES + 1):
        chosen[f"last {count} left out"] = without_last(pipeline, count)

    def paint(config: "HARTCacheConfig | str | None") -> np.ndarray:
        pipeline.model.set_cache_config(config)
        return paint_scenes(pipeline, scenes, seed, arguments.batch_size, guidance_scale=arguments.guidance_scale)

    painters = {name: lambda config=config: paint(config) for name, config in chosen.items()}
    try:
        return compare_settings(painters, [scene.caption() for scene in scenes], has_ssim())
    finally:
        pipeline.model.set_cache_config(setting)


def evaluate(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Evaluate both splits: a report for each."""
    for split in SPLITS:  # before an hour of painting
        repeated_scenes(arguments.num_pictures, split)
        repeated_scenes(arguments.late_pictures or 1, split)
    # Imported late: help and wrong arguments should not wait for torch.
    from hart.pipeline import HARTPipeline

    pipeline = HARTPipeline.from_pretrained()
    setting = arguments.cache if arguments.leave_out is None else without_last(pipeline, arguments.leave_out)
    pipeline.model.set_cache_config(setting)
    reports = {}
    for split in SPLITS:
        reports[split] = evaluate_model(
            pipeline,
            num_pictures=arguments.num_pictures,
            split=split,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            guidance_scale=arguments.guidance_scale,
            picture_seed=arguments.picture_seed,
        ) | {"cache": arguments.cache, "left_out": arguments.leave_out}
        if arguments.late_pictures:
            costs = measure_costs(pipeline, setting, split, arguments)
            reports[split] |= {"cost_pictures": arguments.late_pictures, "costs": costs}
    return reports


def main() -> None:
    """Evaluate both splits; write one JSON object with a report for each, and a Markdown page if asked."""
    arguments = build_parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not has_ssim():
        logger.info("SSIM is left out: it needs `pip install hart-stage-cache[benchmark]`.")
    reports = evaluate(arguments)
    text = json.dumps(reports, indent=2) + "\n"
    if arguments.markdown is not None:
        write_whole(arguments.markdown, markdown_report(reports))
        logger.info("wrote %s", arguments.markdown)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        write_whole(arguments.output, text)
        logger.info("wrote %s", arguments.output)


if __name__ == "__main__":
    main()
