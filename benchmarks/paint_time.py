"""Seconds per call by part, beside the matrix-product peak of the same run: `python benchmarks/paint_time.py`.

Prints JSON: medians over repetitions after a warm-up. Operations are those of the transformer's blocks, attention
included.
"""

import argparse
import json
import statistics
from typing import Any

import torch
from matrix_peak import matrix_product_peak

from hart.benchmark.run.batches import full_flops
from hart.pipeline import HARTPipeline
from hart.utils.timing import timed

PROMPT = "a 3d fox on a yellow background"


def paint_times(pipe: HARTPipeline, prompts: list[str]) -> dict[str, Any]:
    """The pipeline's own times of one call, with the diffusion head's apart from the last stage's."""
    with timed(pipe.model.diffloss, "sample", pipe.device) as head:
        times = dict(pipe(prompts, seed=0, batch_size=len(prompts)).timings)
    times["diffusion_head"] = sum(head)
    times["stages"] = [*times["stages"][:-1], times["stages"][-1] - sum(head)]
    return times


def main(given: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path")
    parser.add_argument("--dtype")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args(given)
    pipe = HARTPipeline.from_pretrained(arguments.model_path, dtype=arguments.dtype, progress=False)
    prompts = [PROMPT] * arguments.batch_size
    runs = [paint_times(pipe, prompts) for _ in range(arguments.repeats + 2)][2:]
    parts = ("text", "diffusion_head", "decoder", "total")
    median = {part: round(statistics.median(run[part] for run in runs), 4) for part in parts}
    stages = [round(statistics.median(values), 4) for values in zip(*(run["stages"] for run in runs), strict=True)]
    gflop = sum(full_flops(pipe.model, arguments.batch_size)) / 1e9
    report = {
        "dtype": str(pipe.dtype),
        "threads": torch.get_num_threads(),
        "pictures": arguments.batch_size,
        "seconds": median | {"stages": stages},
        "transformer_gflop": round(gflop, 2),
        "transformer_gflop_per_second": round(gflop / sum(stages), 1),
        "matrix_product_peak_gflop_per_second": round(matrix_product_peak(pipe.device, pipe.dtype), 1),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
