"""Which tokens of the last stage to run, and how many: `python benchmarks/token_selectors.py --output FILE`.

Token selectors alone and joined by rank, at half of the last stage, against an error budget: each picture leaves out as
many tokens as add up to a share of all importance, so that a plain picture runs fewer. On the embedded model's held-out
captions; the tokens that are not run add nothing. PSNR is the median, to the picture without cache.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from tqdm import tqdm

from hart import HARTPipeline
from hart.evaluation import draw_scenes
from hart.modules.cache import stage_cache
from hart.modules.cache.token_selectors import (
    SelectorInput,
    edge,
    fastvar,
    fhat_cosine,
    register_selector,
    select_tokens,
)
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.utils.psnr import psnr

LAST = 256
ALONE = ("fhat_cosine", "edge", "fastvar", "random")
BUDGETS = (0.02, 0.05, 0.1, 0.2)

Select = Callable[..., Tensor]


def by_rank(*selectors: Callable[[SelectorInput], Tensor]) -> Callable[[SelectorInput], Tensor]:
    """The mean of the ranks that selectors give every token; both halves of a picture alike."""

    def score(given: SelectorInput) -> Tensor:
        pictures = len(given.seeds)
        ranks = []
        for selector in selectors:
            scores = selector(given).float()
            shared = scores.view(-1, pictures, scores.shape[1]).mean(0)
            ranks.append(shared.argsort(dim=1).argsort(dim=1).float())
        return torch.stack(ranks).mean(0)

    return score


def map_change(given: SelectorInput) -> Tensor:
    """Squared length of what the last computed stage changed in the accumulated map."""
    before, after = given.need("map_before_BcPP", "map_change"), given.need("map_after_BcPP", "map_change")
    change = (after - before).float().square().sum(1, keepdim=True)
    return torch.nn.functional.interpolate(change, size=(given.side, given.side), mode="area").flatten(1)


JOINED = {
    "map_change": map_change,
    "fhat_cosine-and-edge": by_rank(fhat_cosine, edge),
    "fhat_cosine-and-fastvar": by_rank(fhat_cosine, fastvar),
    "edge-and-fastvar": by_rank(edge, fastvar),
    "all-three": by_rank(fhat_cosine, edge, fastvar),
}


class Counted:
    """Selects tokens, and keeps what share of them it selected.

    Args:
        budget: share of all importance that may be left out; None selects as many as the ratio says.
    """

    def __init__(self, budget: float | None):
        self.budget, self.shares = budget, []

    def __call__(self, scores: Tensor, ratio: float, *others: Any) -> Tensor:
        if self.budget is not None:
            given = scores.float().view(-1, scores.shape[1]).mean(0)
            left_out = int((given.sort().values.cumsum(0) <= self.budget * given.sum()).sum())
            ratio = 1 - left_out / len(given)
        self.shares.append(ratio)
        return select_tokens(scores, ratio, *others)


def measure(pipeline: HARTPipeline, prompts: list[str], selector: str, budget: float | None = None) -> dict[str, float]:
    """Pictures whose last stage runs only what is selected: the share that was run, and their likeness."""
    model = EnhancedHARTForT2I.from_hart(
        pipeline.model,
        HARTCacheConfig(
            skip_stages=[LAST], threshold=0.0, refresh_ratio={LAST: 0.5}, unselected="nothing", token_selector=selector
        ),
    )
    ours = HARTPipeline(model, pipeline.text_model, pipeline.tokenizer, pipeline.system_prompt, progress=False)
    counted, decibels = Counted(budget), []
    with patch.object(stage_cache, "select_tokens", counted):
        for seed, prompt in enumerate(prompts):
            pair = [paint(prompt, seed=seed, output_type="pt").images for paint in (pipeline, ours)]
            decibels += psnr(*pair)
    return {"share": round(statistics.fmean(counted.shares), 3), "psnr": round(statistics.median(decibels), 2)}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_pictures", type=int, default=48)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    pipeline = HARTPipeline.from_pretrained(progress=False)
    prompts = [scene.caption() for scene in draw_scenes(arguments.num_pictures, "held-out", 0)]
    for name, selector in JOINED.items():
        register_selector(name, selector, reads_previous=False)
    runs: list[tuple[str, float | None]] = [(name, None) for name in (*ALONE, *JOINED)]
    runs += [(name, budget) for name in ("fhat_cosine", "map_change") for budget in BUDGETS]
    found = []
    for name, budget in tqdm(runs, unit="variant"):
        found.append({"selector": name, "budget": budget} | measure(pipeline, prompts, name, budget))
        print(found[-1])
    if arguments.output:
        record = {"num_pictures": arguments.num_pictures, "stage": LAST, "found": found}
        arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
