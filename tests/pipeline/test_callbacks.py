"""Callbacks after stages: ours, diffusers', and how either ends a call."""

import numpy as np
import pytest
import torch

from hart.modules.cache_config import HARTCacheConfig
from hart.modules.models.transformer import HARTForT2I

PROMPTS = ["a cat", "a dog", "a tree"]


def stop_at(stage: int, times: int = 1):
    """A callback that returns False when it has seen a stage so often."""
    seen = []

    def callback(index, info):
        seen.append(index)
        return seen.count(stage) < times

    return callback


def test_a_step_is_told_as_diffusers_does(pipeline):
    told = []

    def callback(pipe, step, timestep, tensors):
        told.append((pipe, step, timestep, tensors["latents"]))
        return tensors

    output = pipeline("a cat", seed=1, output_type="latent", callback_on_step_end=callback)
    assert [entry[:3] for entry in told] == [
        (pipeline, index, side**2) for index, side in enumerate(pipeline.model.config.patch_nums)
    ]
    assert torch.equal(told[-1][3], output.latents)


def test_both_callbacks_are_told_and_either_may_return_nothing(pipeline):
    told = []
    pipeline(
        "a cat",
        seed=1,
        output_type="latent",
        callback_on_stage_end=lambda index, info: told.append("stage"),
        callback_on_step_end=lambda pipe, step, timestep, tensors: told.append(sorted(tensors)),
        callback_on_step_end_tensor_inputs=[],
    )
    assert told == ["stage", []] * 10


def test_false_ends_the_call_with_what_is_painted(pipeline):
    whole = pipeline(PROMPTS, seed=1, output_type="pt", batch_size=1)
    output = pipeline(PROMPTS, seed=1, output_type="pt", batch_size=1, callback_on_stage_end=stop_at(4, times=2))
    assert output.stopped_at == 4 and whole.stopped_at is None
    assert output.prompts == PROMPTS[:2] and output.seeds == whole.seeds[:2] and len(output.images) == 2
    assert torch.equal(output.images[0], whole.images[0])
    assert not torch.allclose(output.images[1], whole.images[1], atol=1e-3)
    assert torch.equal(pipeline(PROMPTS, seed=1, output_type="pt").images, whole.images)  # nothing is left behind


def test_a_step_callback_ends_the_call_too(pipeline):
    seen = []

    def callback(pipe, step, timestep, tensors):
        seen.append(tensors["latents"])
        return step < 2

    output = pipeline("a cat", seed=1, output_type="latent", callback_on_step_end=callback)
    assert output.stopped_at == 2 and len(seen) == 3 and torch.equal(output.latents, seen[-1])


@pytest.mark.parametrize("nothing", [None, 0, "", np.False_])
def test_only_false_itself_ends_a_call(pipeline, nothing):
    assert pipeline("a cat", seed=1, callback_on_stage_end=lambda *_: nothing).stopped_at is None


def test_a_stopped_call_counts_what_the_cache_did(pipeline, checkpoint_root):
    from hart import HARTPipeline

    cached = HARTPipeline(
        **(pipeline.components | {"model": HARTForT2I.from_pretrained(checkpoint_root, dtype=torch.float32)}),
        progress=False,
        cache=HARTCacheConfig(skip_stages=[169, 256], cache_stages=[100], threshold=0.0),
    )
    hits = cached("a cat", seed=1).cache_statistics["hits"]
    stopped = cached("a cat", seed=1, callback_on_stage_end=stop_at(8))
    assert stopped.stopped_at == 8 and stopped.cache_statistics["hits"] == hits // 2


def test_the_model_stops_for_a_callback_as_well(pipeline):
    model, context = pipeline.model, pipeline.encode_prompt("a cat")
    seen = []
    f_hat = model.autoregressive_infer_cfg(
        1,
        context.context,
        1,
        context_position_ids=context.position_ids,
        context_mask=context.mask,
        callback_on_stage_end=lambda index, info: seen.append(info.f_hat) or index < 3,
        decode=False,
    )
    assert len(seen) == 4 and torch.equal(f_hat, seen[-1])


def test_latents_cannot_be_changed(pipeline):
    def callback(pipe, step, timestep, tensors):
        return {"latents": tensors["latents"] + 1}

    with pytest.raises(ValueError, match=r"must return the latents that it was given, got others"):
        pipeline("a cat", seed=1, callback_on_step_end=callback)
