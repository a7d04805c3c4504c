"""What a fully skipped last stage costs beside computing it: `python benchmarks/full_skip.py CHECKPOINT`.

A static plan: everything the blocks do at the last stage is reused from the stage before (design, section 7). Times
are of the transformer's blocks and of the cache's own work around them, medians over pictures painted in turn.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from hart import embedded_model_path
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.utils.timing import timed


def last_stage_seconds(model: EnhancedHARTForT2I, seed: int) -> float:
    """Seconds of blocks and cache at the last stage of one picture."""
    with timed(model, "run_blocks", model.device) as blocks:
        model.autoregressive_infer_cfg(1, None, g_seed=seed, decode=False)
    return blocks[-1]


def measure(model: EnhancedHARTForT2I, repeats: int) -> dict[str, Any]:
    """Medians of both, and their ratio."""
    last, before = (side * side for side in model.config.patch_nums[:-3:-1])
    skipped = HARTCacheConfig(skip_stages=[last], cache_stages=[before], threshold=0.0)
    times: dict[str, list[float]] = {"computed": [], "skipped": []}
    for repeat in range(repeats + 2):
        for name, config in (("computed", None), ("skipped", skipped)):
            model.set_cache_config(config)
            seconds = last_stage_seconds(model, repeat)
            if repeat >= 2:  # the first two warm up
                times[name].append(seconds)
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {
        "stage": last,
        "depth": model.config.depth,
        "width": model.config.embed_dim,
        "dtype": str(model.dtype).removeprefix("torch."),
        "milliseconds": {name: round(1e3 * seconds, 3) for name, seconds in median.items()},
        "share": round(median["skipped"] / median["computed"], 4),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=embedded_model_path())
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    model = EnhancedHARTForT2I.from_pretrained(arguments.checkpoint, dtype=arguments.dtype)
    print(json.dumps(measure(model, arguments.repeats), indent=1))


if __name__ == "__main__":
    main()
