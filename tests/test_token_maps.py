"""What became of tokens, for every way in which a setting spares work."""

import pytest
import torch

from hart import HARTPipeline
from hart.modules.cache_config import HARTCacheConfig
from hart.token_maps import watched_pipeline

SKIPPED = {"skip_stages": [169, 256], "cache_stages": [100, 169], "threshold": 0.0}


@pytest.fixture(scope="module")
def pipeline(checkpoint_root) -> HARTPipeline:
    return HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)


@pytest.fixture
def watch(pipeline):
    """Gives what became of the tokens of one picture, and the cache's statistics."""

    def painted(config, seed=3, **call):
        watched = watched_pipeline(pipeline, config)
        model = watched.model
        output = watched("a cat", seed=seed, output_type="pt", callback_on_stage_end=model.note_tokens, **call)
        assert [token_map.index for token_map in model.token_maps] == list(range(10))
        assert [token_map.side for token_map in model.token_maps] == list(model.config.patch_nums)
        return model.token_maps, output

    return painted


@pytest.mark.parametrize("config", [None, "no-cache", HARTCacheConfig(**SKIPPED | {"threshold": 1.0})])
def test_everything_is_computed_where_nothing_is_spared(watch, config):
    maps, _ = watch(config)
    assert all(torch.equal(token_map.computed_pp, torch.ones_like(token_map.computed_pp)) for token_map in maps)


def test_watching_changes_no_picture(watch, pipeline):
    _, output = watch(None)
    assert torch.equal(output.images, pipeline("a cat", seed=3, output_type="pt").images)


def test_a_full_skip_reuses_every_token(watch):
    maps, output = watch(HARTCacheConfig(**SKIPPED))
    assert [token_map.computed for token_map in maps] == [1.0] * 8 + [0.0] * 2
    assert all(token_map.reuses for token_map in maps)
    assert output.cache_statistics["cache_hit_rate"] == 1.0


def test_of_two_branches_one_is_half(watch):
    maps, _ = watch(HARTCacheConfig(**SKIPPED, enable_mlp_cache=False))
    assert [token_map.computed for token_map in maps[-2:]] == [0.5, 0.5]


@pytest.mark.parametrize(
    "further", [{}, {"unselected": "nothing"}, {"select_per_branch": True, "select_per_row": True}]
)
def test_the_tokens_that_a_ratio_names_are_computed(watch, further):
    maps, _ = watch(HARTCacheConfig(**SKIPPED, refresh_ratio={169: 0.5, 256: 0.25}, **further))
    computed = [int((token_map.computed_pp == 1).sum()) for token_map in maps[-2:]]
    if "select_per_branch" in further:  # every branch chooses its own tokens
        assert 85 <= computed[0] <= 169 and 64 <= computed[1] <= 256
    else:
        assert computed == [85, 64]
    assert all(set(token_map.computed_pp.unique().tolist()) <= {0.0, 1.0} for token_map in maps)
    assert maps[-1].reuses == (further.get("unselected") != "nothing")


def test_attention_alone_is_spared_at_tokens_left_out(watch):
    config = HARTCacheConfig(
        **SKIPPED, enable_mlp_cache=False, refresh_ratio={169: 0.5, 256: 0.25}, unselected="nothing"
    )
    maps, _ = watch(config)
    assert maps[-1].computed == pytest.approx(0.5 + 0.5 * 0.25)
    assert not maps[-1].reuses


def test_a_dropped_stage_runs_no_token(watch):
    maps, _ = watch(HARTCacheConfig(drop_stages=[169, 256]))
    assert [token_map.computed for token_map in maps] == [1.0] * 8 + [0.0] * 2
    assert not maps[-1].reuses


def test_every_call_begins_anew_and_the_first_picture_counts(watch):
    one, _ = watch("original-cache")
    two, _ = watch("original-cache", seed=[3, 4], num_images_per_prompt=2, batch_size=2)
    assert all(torch.equal(a.computed_pp, b.computed_pp) for a, b in zip(one, two, strict=True))


def test_the_watched_pipeline_keeps_what_the_checkpoint_paints_with(checkpoint_root):
    pipeline = HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)
    pipeline.generation_config["top_k"] = 3
    watched = watched_pipeline(pipeline, "original-cache")
    assert watched.generation_config["top_k"] == 3 and watched.text_model is pipeline.text_model
    assert watched.model is not pipeline.model and not pipeline.model.use_cache
