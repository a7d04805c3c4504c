"""Evaluate the embedded model: `python -m hart.evaluation --output evaluation.json`."""

import argparse
import json
import logging
import sys
from pathlib import Path

from hart.evaluation.model import SPLITS, evaluate_model

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m hart.evaluation", description="Evaluate the embedded model.")
    parser.add_argument("--output", type=Path, help="JSON file to write; default: standard output")
    parser.add_argument("--num-pictures", type=int, default=500, help="pictures per split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--guidance-scale", type=float, help="default: the pipeline's own")
    return parser


def main() -> None:
    """Evaluate both splits and write one JSON object with a report for each."""
    arguments = build_parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Imported late: help and wrong arguments should not wait for torch.
    from hart.pipeline import HARTPipeline

    pipeline = HARTPipeline.from_pretrained()
    reports = {
        split: evaluate_model(
            pipeline,
            num_pictures=arguments.num_pictures,
            split=split,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            guidance_scale=arguments.guidance_scale,
        )
        for split in SPLITS
    }
    text = json.dumps(reports, indent=2) + "\n"
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        arguments.output.write_text(text, encoding="utf-8")
        logger.info("wrote %s", arguments.output)


if __name__ == "__main__":
    main()
