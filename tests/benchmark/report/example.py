"""Made-up results with pictures, for tests of the report; `python -m tests.benchmark.report.example FOLDER`."""

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from hart.benchmark.report import write_report
from hart.benchmark.results import (
    Goal,
    Interval,
    Kind,
    Machine,
    Memory,
    Quality,
    Recommendation,
    Results,
    Setting,
    Similarity,
    Spread,
    Work,
)

SIDES = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
STAGES = [side * side for side in SIDES]
DEPTH = 6
PROMPTS = [
    "a 3d fox on a blue background",
    "a flat hamburger on a pink background",
    "a 3d penguin on a yellow background",
    "a small flat rocket on a purple background at the top right",
    "two red apples on a white background",
    "a large green cactus on a yellow background at the bottom left",
    "a flat owl on a pink background",
]
# name, kind, speed-up, prompt score, PSNR, stages reused, hit rate
ROWS: list[tuple[str, Kind, float, float, float | None, list[int], float]] = [
    ("no-cache", "preset", 1.00, 0.67, None, [], 0.0),
    ("high-quality", "preset", 1.04, 0.67, 34.1, [256], 0.06),
    ("conservative-cache", "preset", 1.12, 0.66, 29.3, [256], 0.08),
    ("production-balanced", "preset", 1.31, 0.64, 25.2, [169, 256], 0.17),
    ("memory-efficient", "preset", 1.14, 0.65, 27.0, [256], 0.05),
    ("original-cache", "preset", 1.36, 0.63, 24.8, [169, 256], 0.19),
    ("aggressive-cache", "preset", 1.58, 0.51, 20.3, [64, 100, 169, 256], 0.36),
    ("peer/fastvar", "peer", 1.33, 0.65, 26.1, [169, 256], 0.15),
    ("peer/skipping", "peer", 1.29, 0.61, 23.5, [100, 169], 0.16),
    ("peer/lazyvar", "peer", 1.24, 0.64, 25.0, [169, 256], 0.12),
    ("peer/drop-unconditional", "peer", 1.26, 0.66, 24.1, [], 0.0),
    ("peer/stop-early-1", "peer", 1.38, 0.65, 26.4, [256], 0.1),
    ("peer/stop-early-2", "peer", 1.71, 0.55, 22.7, [169, 256], 0.2),
    ("peer/stop-early-3", "peer", 1.90, 0.38, 19.9, [100, 169, 256], 0.3),
    ("threshold=0.5", "sweep", 1.42, 0.61, 24.1, [169, 256], 0.20),
    ("threshold=0.6", "sweep", 1.40, 0.62, 24.3, [169, 256], 0.20),
    ("threshold=0.7", "sweep", 1.36, 0.63, 24.8, [169, 256], 0.19),
    ("threshold=0.8", "sweep", 1.17, 0.65, 27.7, [169, 256], 0.10),
    ("threshold=0.9", "sweep", 1.03, 0.67, 36.0, [256], 0.02),
    ("plan at 1% drop", "plan", 1.45, 0.66, 28.2, [169, 256], 0.14),
    ("my-setting.json", "file", 1.21, 0.66, 30.2, [256], 0.07),
]


def example(folder: Path, pictures: bool = True) -> Results:
    """Results of all `ROWS`; their pictures lie in `folder` unless told otherwise."""
    settings = [_setting(*row) for row in ROWS]
    if pictures:
        for setting in settings:
            _paint(folder, setting)
    return Results(
        created="2026-11-23T22:10:00+00:00",
        command="python -m hart.benchmark --settings presets peers --sweep threshold=0.5:0.9:0.1 --pictures 100",
        machine=Machine(
            processor="AMD EPYC 7B13",
            cores=2,
            memory_gib=7.8,
            accelerator=None,
            platform="Linux-6.1-x86_64",
            python="3.11.7",
            torch="2.9.0+cpu",
            transformers="5.2.0",
            hart="0.4.0",
            git_revision="beac290",
        ),
        work=Work(
            checkpoint="embedded",
            patch_nums=SIDES,
            depth=DEPTH,
            embed_dim=256,
            device="cpu",
            dtype="float32",
            threads=2,
            compiled=False,
            batch_size=4,
            num_pictures=100,
            guidance_scale=4.0,
            seed=7,
            prompts=PROMPTS,
        ),
        settings=settings,
        similarity=_similarity(),
        recommendations=[
            _recommend("speed", "peer/stop-early-2", "The fastest setting that loses at most 15 points."),
            _recommend("balance", "plan at 1% drop", "The fastest setting whose loss this run cannot tell from none."),
            _recommend("quality", "high-quality", "The nearest to no-cache among those that are faster."),
            _recommend("memory", "memory-efficient", "The smallest peak among settings that are faster."),
        ],
    )


def _recommend(goal: Goal, setting: str, why: str) -> Recommendation:
    return Recommendation(goal=goal, setting=setting, why=why)


def _around(median: float, share: float) -> Spread:
    return Spread(median=median, q1=median * (1 - share), q3=median * (1 + share))


def _interval(value: float, half: float) -> Interval:
    return Interval(value=value, low=value - half, high=value + half)


def _setting(
    name: str, kind: Kind, speed: float, score: float, psnr: float | None, reused: list[int], hit_rate: float
) -> Setting:
    seconds = 6.4 / speed
    return Setting(
        name=name,
        kind=kind,
        why=f"Made up for tests: {name} reuses {', '.join(map(str, reused)) or 'nothing'} (arXiv 2503.23367).",
        run_tag=name.replace("/", "-"),
        config=_config(name, reused),
        batch_seconds=_around(seconds, 0.02),
        speed_up=_around(speed, 0.015),
        parts={
            "text": _around(0.21, 0.01),
            "decoder": _around(0.94, 0.01),
            "diffusion_head": _around(0.55, 0.01),
            "transformer": _around(seconds - 1.9, 0.01),
        },
        stages=_stage_seconds(seconds - 0.21 - 0.94 - 0.55, reused),
        hit_rate=hit_rate,
        hits={branch: _hits(reused, share, hit_rate) for branch, share in (("attn", 0.8), ("mlp", 1.0))},
        flops_computed=int(9.1e11 * (1 - hit_rate)),
        flops_saved=1.6 * hit_rate,
        computed={str(stage): 1 - min(1.0, 5 * hit_rate) if stage in reused else 1.0 for stage in STAGES},
        memory=_memory(name, reused),
        quality=_quality(score, psnr),
        folder=f"pictures/{name.replace('/', '-').replace(' ', '-')}",
    )


def _config(name: str, reused: list[int]) -> dict[str, Any]:
    config: dict[str, Any] = {"skip_stages": reused, "cache_stages": [100, 169], "threshold": 0.7, "refresh_ratio": {}}
    if name.startswith("threshold="):
        config |= {"skip_stages": [169, 256], "threshold": float(name.partition("=")[2])}
    return config


def _stage_seconds(total: float, reused: list[int]) -> dict[str, Spread]:
    weights = {stage: (stage + 12) * (0.3 if stage in reused else 1.0) for stage in STAGES}
    whole = sum(weights.values())
    seconds = {str(stage): _around(total * weight / whole, 0.02) for stage, weight in weights.items()}
    seconds[str(STAGES[-1])] = _around(seconds[str(STAGES[-1])].median + 0.55, 0.02)
    return seconds


def _hits(reused: list[int], share: float, hit_rate: float) -> dict[str, float]:
    return {str(stage): share * min(1.0, 5 * hit_rate) if stage in reused else 0.0 for stage in STAGES}


def _memory(name: str, reused: list[int]) -> Memory:
    stored = (len(reused) * (2 if name == "memory-efficient" else 5)) << 20
    baseline = 812 << 20
    return Memory(
        method="resident set of a fresh process",
        peak_bytes=baseline + stored,
        over_no_cache=(baseline + stored) / baseline,
        cache_peak_bytes=stored,
    )


def _quality(score: float, psnr: float | None) -> Quality:
    if psnr is None:
        return Quality(prompt_score=_interval(score, 0.09), attributes={"object": 0.8, "background": 0.97})
    return Quality(
        prompt_score=_interval(score, 0.09),
        attributes={"object": score + 0.1, "background": 0.96},
        prompt_drop=_interval(0.67 - score, 0.035),
        psnr=_interval(psnr, 0.7),
        ssim=_interval(1 - 3 / psnr, 0.01),
        feature_distance=_interval(6 / psnr, 0.02),
        frechet=200 / psnr,
        frechet_limits=(190 / psnr, 220 / psnr),
    )


def _similarity() -> Similarity:
    def row(layer: int, lift: float) -> list[float | None]:
        return [None] + [min(0.99, 0.25 + lift + 0.06 * k - 0.05 * (layer % 3)) for k in range(1, len(STAGES))]

    table = {"attn": [row(layer, 0.0) for layer in range(DEPTH)], "mlp": [row(layer, 0.12) for layer in range(DEPTH)]}
    return Similarity(metric="centred_cosine", stages=STAGES, table=table)


def _paint(folder: Path, setting: Setting) -> None:
    """A shape on a coloured ground per prompt; the lower the PSNR, the more noise."""
    target = folder / str(setting.folder)
    target.mkdir(parents=True, exist_ok=True)
    psnr = setting.quality.psnr
    for index in range(len(PROMPTS)):
        dice = random.Random(index)
        image = Image.new("RGB", (256, 256), tuple(dice.randrange(90, 250) for _ in range(3)))
        shape = tuple(dice.randrange(30, 200) for _ in range(3))
        ImageDraw.Draw(image).ellipse((60, 50, 190 + 8 * index, 200), fill=shape, outline="black", width=4)
        pixels = np.asarray(image, dtype=np.float64)
        if psnr is not None:
            noise = np.random.default_rng(index).normal(0, 255 / 10 ** (psnr.value / 20), (64, 64, 1))
            pixels = (pixels + noise.repeat(4, 0).repeat(4, 1)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(target / f"{index:05d}.png")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    write_report(example(place), place)
