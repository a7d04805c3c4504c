"""How well cheap estimates foretell the true similarity, and which metric foretells damage to pictures.

`python benchmarks/estimators.py --output benchmarks/runs/estimators.json` (design, section 4). Everything is computed
without reuse on the embedded model; the calibrated table comes from training captions, all else from held-out ones.
Spearman rank correlations are over layers, branches, stages and prompts; the cost is the share of what is skipped.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from hart import HARTPipeline
from hart.evaluation import draw_scenes
from hart.modules.cache.branch_cache import Branch, NoCache, StageStart
from hart.modules.cache.similarity import similarity
from hart.modules.cache.upsample import upsample_tokens
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I

METRICS = ("cosine", "centred_cosine", "relative_l2")
SPOT_TOKENS = 8
STAGES = (36, 64, 100, 169, 256)

Sample = dict[str, Any]


class Probe(NoCache):
    """Computes everything and notes, per branch, the true similarity and what every estimate would have said."""

    def __init__(self, sides: Sequence[int], samples: list[Sample]):
        self.sides, self.samples = sides, samples
        self.before: dict[Any, tuple[int, Tensor]] = {}
        self.last: dict[tuple[str, int], float] = {}
        self.stage_wide: dict[str, float] = {}
        self.side = 0

    def begin_stage(self, start: StageStart) -> None:
        self.side = self.sides[start.index]
        cosine_BPP = F.cosine_similarity(start.map_before_BcPP.float(), start.map_BcPP.float(), dim=1)
        self.stage_wide = {"cosine of the latent map": float(cosine_BPP.mean())}
        alike = self.alike("input", start.x_RnC)
        if alike is not None:
            self.stage_wide["stage input"] = alike["cosine"]

    def add(self, kind: str, layer: int, branch: Branch, x_RnC: Tensor, stage: Any) -> Tensor:
        out_RnC = branch(x_RnC, stage)
        own_input = self.alike(("in", kind, layer), x_RnC)
        true = self.alike((kind, layer), out_RnC)
        if true is not None and own_input is not None and self.side**2 in STAGES:
            sample: Sample = {"kind": kind, "layer": layer, "stage": self.side**2} | true | self.stage_wide
            if layer == 0:
                self.stage_wide[f"first block, {kind}"] = true["cosine"]
            first = self.stage_wide.get("first block, mlp")
            if first is not None and layer > 0:
                sample["first block"] = first
            sample |= {"input of the branch": own_input["cosine"], "spot check": true["spot"]}
            if (kind, layer) in self.last:
                sample["last computed transition"] = self.last[kind, layer]
            self.samples.append(sample)
        if true is not None:
            self.last[kind, layer] = true["cosine"]
        return x_RnC + out_RnC

    def alike(self, key: Any, now_RnC: Tensor) -> dict[str, float] | None:
        """Similarities to what the key held at the stage before, upsampled; then it holds this."""
        tokens = self.side * self.side
        before, now_RnC = self.before.get(key), now_RnC[:, -tokens:]
        self.before[key] = (self.side, now_RnC)
        if before is None or before[1].shape[1] != before[0] ** 2:
            return None
        grown = upsample_tokens(before[1], before[0], self.side, "bilinear")
        found = {metric: float(similarity(grown, now_RnC, metric).mean()) for metric in METRICS}
        spread = slice(None, None, max(1, tokens // SPOT_TOKENS))
        return found | {"spot": float(similarity(grown[:, spread], now_RnC[:, spread], "cosine").mean())}


class ProbedHART(EnhancedHARTForT2I):
    """Paints with a `Probe`."""

    samples: list[Sample]

    def new_cache(self, *_: Any, **__: Any) -> NoCache:
        return Probe(self.config.patch_nums, self.samples)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_pictures", type=int, default=48)
    parser.add_argument("--num_damage", type=int, default=12, help="pictures on which single branches are reused")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    pipeline = HARTPipeline.from_pretrained(progress=False)
    table = similarity_table(probe(pipeline, "training", arguments.num_pictures))
    samples = probe(pipeline, "held-out", arguments.num_pictures)
    for sample in samples:
        sample["calibrated table"] = table[place(sample)]
        last = sample.get("last computed transition")
        if last is not None:
            earlier = (sample["kind"], sample["layer"], STAGES[max(0, STAGES.index(sample["stage"]) - 1)])
            sample["table, moved by the last transition"] = table[place(sample)] + last - table[earlier]
    found = {
        "pictures": arguments.num_pictures,
        "stages": STAGES,
        "spearman": estimates(samples),
        "damage": damage(pipeline, arguments.num_damage),
    }
    print(json.dumps(found, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


def probe(pipeline: HARTPipeline, split: str, count: int) -> list[Sample]:
    """Samples of `count` pictures, with the pipeline's default guidance."""
    model, samples = pipeline.model, []
    probed = ProbedHART.from_hart(model)
    probed.samples = samples
    for index, given in enumerate(tqdm(texts(pipeline, split, count), total=count, desc=f"probing, {split}")):
        size = len(samples)
        probed.autoregressive_infer_cfg(1, g_seed=index, decode=False, cfg=4.5, **given)
        for sample in samples[size:]:
            sample["picture"] = index
    return samples


def texts(pipeline: HARTPipeline, split: str, count: int) -> Iterator[dict[str, Tensor]]:
    """Arguments of every picture's prompt."""
    for scene in draw_scenes(count, split, 0):
        encoded = pipeline.encode([scene.caption()])
        yield {
            "label_B": encoded.context,
            "context_position_ids": encoded.position_ids,
            "context_mask": encoded.mask,
        }


def place(sample: Sample) -> tuple[str, int, int]:
    return sample["kind"], sample["layer"], sample["stage"]


def similarity_table(samples: Sequence[Sample]) -> dict[tuple[str, int, int], float]:
    """Mean true similarity of every branch, layer and stage."""
    seen: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for sample in samples:
        seen[place(sample)].append(sample["cosine"])
    return {key: sum(values) / len(values) for key, values in seen.items()}


def estimates(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Spearman correlation of every estimate with the true cosine: over all, and over prompts within a place."""
    names = [name for name in samples[-1] if name not in {"kind", "layer", "stage", "picture", "spot", *METRICS}]
    names = [name for name in names if not name.startswith("first block,")]
    return {name: correlations([s for s in samples if name in s], name) for name in names}


def correlations(samples: Sequence[Sample], name: str) -> dict[str, float]:
    """Over everything; and of what is left of both when each place's mean is taken away: prompts alone."""
    true, said = [s["cosine"] for s in samples], [s[name] for s in samples]
    means: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        means[place(sample)].append((sample["cosine"], sample[name]))
    centre = {key: [sum(column) / len(column) for column in zip(*rows, strict=True)] for key, rows in means.items()}
    within = [(s["cosine"] - centre[place(s)][0], s[name] - centre[place(s)][1]) for s in samples]
    return {"all": rank(true, said), "prompts": rank(*(list(column) for column in zip(*within, strict=True)))}


def rank(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one side is constant."""
    if min(max(side) - min(side) for side in (a, b)) < 1e-9:
        return 0.0
    return round(float(spearmanr(a, b).statistic), 3)


def damage(pipeline: HARTPipeline, count: int) -> dict[str, dict[str, float]]:
    """Spearman correlation of each metric with the damage that reusing one branch does to the latent map.

    Given over everything, and apart for the last stage and the one before: a change at an earlier stage is answered
    by later ones.
    """
    plain, painted = EnhancedHARTForT2I.from_hart(pipeline.model), EnhancedHARTForT2I.from_hart(pipeline.model)
    samples = [s for s in probe(pipeline, "held-out", count) if s["stage"] in STAGES[-2:]]
    arguments = list(texts(pipeline, "held-out", count))
    full = [plain.autoregressive_infer_cfg(1, g_seed=i, decode=False, cfg=4.5, **a) for i, a in enumerate(arguments)]
    for sample in tqdm(samples, desc="reusing single branches"):
        painted.set_cache_config(one_branch(sample))
        index = sample["picture"]
        ours = painted.autoregressive_infer_cfg(1, g_seed=index, decode=False, cfg=4.5, **arguments[index])
        sample["damage"] = float(F.mse_loss(ours, full[index]))
    groups = {"last two stages": STAGES[-2:], "last stage": STAGES[-1:], "the stage before": STAGES[-2:-1]}
    return {
        metric: {name: damage_rank(samples, metric, stages) for name, stages in groups.items()} for metric in METRICS
    }


def damage_rank(samples: Sequence[Sample], metric: str, stages: Sequence[int]) -> float:
    chosen = [s for s in samples if s["stage"] in stages]
    return rank([s["damage"] for s in chosen], [1 - s[metric] for s in chosen])


def one_branch(sample: Sample) -> HARTCacheConfig:
    """Settings that reuse one branch of one layer at one stage, from the stage before."""
    before = STAGES[STAGES.index(sample["stage"]) - 1]
    config = HARTCacheConfig(skip_stages=[sample["stage"]], cache_stages=[before], threshold=0.0)
    config.enable_attn_cache, config.enable_mlp_cache = sample["kind"] == "attn", sample["kind"] == "mlp"
    config.layers = [sample["layer"]]
    return config


if __name__ == "__main__":
    main()
