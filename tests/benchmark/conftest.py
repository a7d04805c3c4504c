"""A pipeline on the recorded tiny checkpoint, and results to make tables of."""

from collections.abc import Callable
from typing import Any

import pytest

from hart import HARTPipeline
from hart.benchmark.results import Interval, Machine, Memory, Quality, Results, Setting, Spread, Work


@pytest.fixture(scope="session")
def pipeline(checkpoint_root) -> HARTPipeline:
    return HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)


def around(value: float, reach: float = 0.02) -> Spread:
    return Spread(median=value, q1=value - reach, q3=value + reach)


def setting(name: str, speed: float, drop: float | None = None, psnr: float | None = None, **given: Any) -> Setting:
    """A made-up setting; `peak` is its memory over no-cache's, `lost` the fidelity that it loses in dB."""
    peak, lost = given.pop("peak", None), given.pop("lost", None)
    quality = Quality(psnr=None if psnr is None else Interval(value=psnr, low=psnr - 1, high=psnr + 1), frechet=0.5)
    if drop is not None:
        low, high = given.pop("drop_interval", (drop - 0.005, drop + 0.005))
        quality.prompt_drop = Interval(value=drop, low=low, high=high)
        quality.prompt_score = Interval(value=0.8 - drop, low=0.7, high=0.9)
    if lost is not None:
        quality.fidelity = Interval(value=22 - lost, low=21 - lost, high=23 - lost)
        quality.fidelity_lost = Interval(value=lost, low=lost - 0.1 * bool(lost), high=lost + 0.1 * bool(lost))
    memory = Memory(method="VmHWM", peak_bytes=int(1e8 * (peak or 0)), over_no_cache=peak, cache_peak_bytes=7)
    return Setting(
        name=name, kind="preset", why="made up", run_tag="hart-x", config={}, batch_seconds=around(1 / speed),
        speed_up=around(speed), parts={"text": around(0.1)}, stages={"1": around(0.2), "4": around(0.3)}, hit_rate=0.5,
        hits={"attn": {"4": 1.0}, "mlp": {"4": 0.0}}, flops_computed=10, flops_saved=0.25, memory=memory,
        quality=quality, folder=f"pictures/{name}", **given,
    )  # fmt: skip


@pytest.fixture
def results_of() -> Callable[..., Results]:
    def make(*settings: Setting, prompts: tuple[str, ...] = ("a cat", "a dog", "a cat")) -> Results:
        machine = Machine(
            processor="x", cores=2, memory_gib=1.0, accelerator=None, platform="p", python="3", torch="2",
            transformers="5", hart="0", git_revision=None,
        )  # fmt: skip
        work = Work(
            checkpoint="embedded", patch_nums=[1, 2], depth=2, embed_dim=8, device="cpu", dtype="float32", threads=1,
            compiled=False, batch_size=1, num_pictures=len(prompts), guidance_scale=4.5, seed=0, prompts=list(prompts),
        )  # fmt: skip
        return Results(created="now", command="test", machine=machine, work=work, settings=list(settings))

    return make
