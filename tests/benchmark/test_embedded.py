"""The embedded model end to end, short: two held-out scenes under two settings."""

from hart import HARTPipeline
from hart.benchmark.run.runner import run_benchmark
from hart.benchmark.run.work import WorkRequest
from hart.benchmark.settings.choose import choose_settings


def test_prompts_are_judged(tmp_path):
    pipeline = HARTPipeline.from_pretrained(device="cpu", progress=False)
    config = pipeline.model.config
    settings = choose_settings(config.patch_nums, config.depth, ["peer/stop-early-3"])
    request = WorkRequest(num_pictures=2, batch_size=2)
    results = run_benchmark(pipeline, settings, request, tmp_path, memory=False, progress=False)
    plain, stopped = results.settings
    assert results.work.checkpoint == "embedded"
    assert plain.quality.prompt_drop.value == 0 <= plain.quality.prompt_score.value <= 1
    assert plain.quality.fidelity_lost.value == 0 and 5 < stopped.quality.fidelity.value < 60
    assert len(stopped.quality.fidelity_of_pictures) == 2
    assert stopped.speed_up.median > 1 and 10 < stopped.quality.psnr.value < 60
    assert stopped.quality.frechet > 0 and stopped.flops_saved > 0.5
