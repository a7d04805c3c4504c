"""The public face and the guarantees of the stage cache (design, sections 3 and 9)."""

import copy
import gc
import json
import logging
from threading import Barrier, Thread

import pytest
import torch
from torch import Tensor

from hart.modules.cache.branch_cache import NoCache
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I, create_enhanced_hart_model
from hart.modules.models.transformer import HARTForT2I
from hart.modules.models.transformer.configuration import HARTForT2IConfig
from tests.golden import FIXTURES
from tests.modules.models.transformer.conftest import TRANSFORMER, text

ALWAYS = {"threshold": 0.0}


def paint(model: HARTForT2I, seed: int = 3, batch: int = 1, **settings) -> Tensor:
    return model.autoregressive_infer_cfg(batch, None, seed, decode=False, **settings)


def config(**settings) -> HARTCacheConfig:
    given = {"skip_stages": [169, 256], "cache_stages": [100, 169], "threshold": 0.0}
    return HARTCacheConfig(**(given | settings))


# -- the snippets of the guide -----------------------------------------------------------------------------------------


def test_the_snippets_run_as_written(checkpoint_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = HARTForT2IConfig.from_pretrained(checkpoint_root)
    model = create_enhanced_hart_model(config=config, cache_preset="original-cache")
    images = model.autoregressive_infer_cfg(B=4, label_B=None, g_seed=42, cfg=1.5)
    assert images.shape == (4, 3, 128, 128) and images.isfinite().all()
    cache_config = HARTCacheConfig(
        skip_stages=[100, 169, 256], cache_stages=[64, 100, 169], enable_attn_cache=True, enable_mlp_cache=True,
        threshold=0.65, adaptive_threshold=True, interpolation_mode="bilinear",
    )  # fmt: skip
    model = create_enhanced_hart_model(config=config, custom_cache_config=cache_config)

    cache_config = HARTCacheConfig.from_preset("aggressive-cache")
    results = model.benchmark_performance(num_samples=2, batch_size=1)
    assert results["benchmark"]["mean_time"] > 0
    assert results["benchmark"]["throughput_img_per_sec"] == pytest.approx(1 / results["benchmark"]["mean_time"])
    assert 0 <= results["benchmark"]["cache_hit_rate"] <= 1
    recommendations = model.calibrate_thresholds(num_samples=2)
    cache_config.threshold = recommendations["attn_threshold"]
    assert 0 < recommendations["mlp_threshold"] <= 1
    model.set_cache_config(cache_config)
    model.autoregressive_infer_cfg(B=1, label_B=None, g_seed=0)
    stats = model.get_cache_statistics()
    assert stats["cache_hit_rate"] >= 0 and stats["similarity_stats"]["attn"]["count"] > 0
    assert stats["config"] == cache_config.to_dict() and json.dumps(stats)
    model.save_cache_config("my_config.json")
    model.load_cache_config("my_config.json")
    assert model.cache_config == cache_config
    cache_config.to_json("preset_config.json")
    HARTCacheConfig.from_json("preset_config.json")
    cache_config.validate()


def test_the_older_interface(checkpoint_root):
    # The published config is silent about the tokenizer's sizes; a loaded model's knows them.
    config = HARTForT2I.from_pretrained(checkpoint_root).config
    model = HARTForT2I(config)
    before = paint(model)
    model.use_cache = True
    assert model.use_cache and model.caching.config == HARTCacheConfig.from_preset("original-cache")
    model.caching.set_config(HARTCacheConfig(skip_stages=[256], cache_stages=[100], **ALWAYS))
    assert not torch.equal(paint(model), before)
    assert model.caching.get_statistics()["hits"] > 0
    model.use_cache = False
    assert torch.equal(paint(model), before)
    enhanced = EnhancedHARTForT2I(config)
    enhanced.use_cache = True
    enhanced.set_cache_config(HARTCacheConfig.from_preset("aggressive-cache"))
    assert enhanced.use_cache and enhanced.cache_config.threshold == 0.6


def test_a_plain_model_that_was_never_asked_has_no_cache(checkpoint_root):
    model = HARTForT2I(HARTForT2IConfig.from_pretrained(checkpoint_root))
    model.use_cache, model.calibration, model.sim_path = False, False, None
    assert (model.use_cache, model.calibration, model.sim_path) == (False, False, None)
    assert type(model.new_cache()) is NoCache
    names = set(model.state_dict())
    model.use_cache = True
    assert set(model.state_dict()) == names
    assert copy.deepcopy(model).use_cache


@pytest.mark.parametrize("plain", [True, False])
def test_calibration_records_and_reuses_nothing(ten_stages, tmp_path, plain):
    model = HARTForT2I.from_pretrained(FIXTURES / "llm", dtype=torch.float32) if plain else ten_stages
    model = model if plain else EnhancedHARTForT2I.from_hart(model)
    before = paint(model)
    model.use_cache, model.calibration, model.sim_path = True, True, tmp_path / "table.json"
    assert torch.equal(paint(model), before)
    model.calibration = False
    model.caching.set_config(config(threshold=0.5, sim_path=str(tmp_path / "table.json")))
    paint(model)
    assert model.caching.get_statistics()["similarity_stats"]["mlp"]["count"] == 6


def test_trained_or_random_weights(checkpoint_root, caplog):
    config = HARTForT2IConfig.from_pretrained(checkpoint_root)
    trained = create_enhanced_hart_model(config)
    state = HARTForT2I.from_pretrained(checkpoint_root).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.state_dict().items())
    assert trained.cache_config == HARTCacheConfig.from_preset("original-cache") and not caplog.records
    with caplog.at_level(logging.WARNING):
        create_enhanced_hart_model(
            HARTForT2IConfig(**TRANSFORMER), custom_cache_config=HARTCacheConfig(skip_stages=[64], cache_stages=[16])
        )
    assert "random weights" in caplog.text
    with pytest.raises(ValueError, match=r"both given; allowed is one of them\.$"):
        create_enhanced_hart_model(config, "ultra-fast", HARTCacheConfig())


def test_random_weights_take_a_dtype_and_nothing_unknown(tmp_path):
    config, settings = HARTForT2IConfig(**TRANSFORMER), HARTCacheConfig(skip_stages=[64], cache_stages=[16])
    for dtype in (torch.bfloat16, "bfloat16"):
        model = create_enhanced_hart_model(config, custom_cache_config=settings, dtype=dtype)
        dtypes = {name: value.dtype for name, value in model.named_parameters()}
        assert {value for name, value in dtypes.items() if not name.startswith("head")} == {torch.bfloat16}
        assert {value for name, value in dtypes.items() if name.startswith("head")} == {torch.float32}
    with pytest.raises(ValueError, match="unknown argument 'dtyp', nearest to it is 'dtype'"):
        create_enhanced_hart_model(config, custom_cache_config=settings, dtyp=torch.bfloat16)
    config.name_or_path = str(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="gone', which is no folder any more; read it again with"):
        create_enhanced_hart_model(config, custom_cache_config=settings)


def test_statistics_always_have_their_keys(tiny):
    assert tiny.get_cache_statistics()["config"] is None
    assert tiny.get_cache_statistics()["adaptive_thresholds"] == {}
    tiny.set_cache_config(HARTCacheConfig(skip_stages=[64], cache_stages=[16]))
    paint(tiny)
    assert tiny.get_cache_statistics()["adaptive_thresholds"] == {}
    settings = {"skip_stages": [16, 64], "cache_stages": [4, 16], "threshold": 0.8, "adaptive_threshold": True}
    tiny.set_cache_config(HARTCacheConfig(threshold_schedule="rising", adaptive_range=0.0, **settings))
    for seed in range(5):
        paint(tiny, seed, final_stage=1)
    adapted = tiny.get_cache_statistics()["adaptive_thresholds"]
    assert adapted["attn"] == {"0": pytest.approx(0.8 * 7 / 8), "1": pytest.approx(0.8 * 7 / 8)}


def test_a_model_without_cache_counts_what_it_computes(tiny):
    paint(tiny)
    whole = tiny.get_cache_statistics()["flops_computed"]
    tiny.reset_cache_statistics()
    tiny.set_cache_config(HARTCacheConfig(skip_stages=[64], cache_stages=[16], **ALWAYS))
    paint(tiny)
    counted = tiny.get_cache_statistics()
    assert whole == counted["flops_computed"] + counted["flops_saved"] > counted["flops_computed"] > 0


def test_switching(enhanced):
    assert not enhanced.is_cache_enabled
    enhanced.enable_cache()
    assert enhanced.is_cache_enabled and enhanced.cache_config.skip_stages == [169, 256]
    enhanced.disable_cache()
    assert not enhanced.use_cache and enhanced.cache_config is not None
    enhanced.enable_cache("ultra-fast")
    with pytest.raises(ValueError, match="skip_stages names stage 255"):
        enhanced.set_cache_config(config(skip_stages=[255]))
    assert enhanced.is_cache_enabled and enhanced.cache_config.threshold == 0.5
    enhanced.set_cache_config(None)
    assert not enhanced.is_cache_enabled
    with pytest.raises(ValueError, match="cache_config is None"):
        enhanced.save_cache_config("x.json")


def test_a_wrapper_shares_weights_and_no_settings(ten_stages):
    wrapper = EnhancedHARTForT2I.from_hart(ten_stages, "aggressive-cache")
    assert wrapper.blocks is ten_stages.blocks and wrapper.vae is ten_stages.vae
    assert wrapper.is_cache_enabled and not ten_stages.is_cache_enabled


def test_a_wrapper_shares_nothing_but_weights_and_tokenizer(ten_stages):
    one, other = (EnhancedHARTForT2I.from_hart(ten_stages) for _ in range(2))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    blocks, called = one.blocks, []
    one.register_forward_pre_hook(lambda *_: called.append(1))
    one.blocks = torch.nn.ModuleList()
    one.calibration, one.sim_path = True, "table.json"
    paint(one)
    assert other.blocks is ten_stages.blocks is blocks and not other._forward_pre_hooks
    assert not other.calibration and other.sim_path is None and not len(other.recorded_similarities)
    assert other.get_cache_statistics()["flops_computed"] == 0


def test_a_wrapper_of_a_subclass_keeps_its_class(tiny):
    assert type(EnhancedHARTForT2I.from_hart(Mirrored.from_hart(tiny))) is Mirrored


def test_settings_that_are_read_are_a_copy(enhanced):
    enhanced.set_cache_config(config(threshold=0.5))
    before = paint(enhanced)
    enhanced.cache_config.threshold = 5.0
    enhanced.cache_config.skip_stages.append(7777)
    assert enhanced.cache_config == config(threshold=0.5)
    assert torch.equal(paint(enhanced), before)


def test_settings_are_copied(enhanced):
    settings = config()
    enhanced.set_cache_config(settings)
    settings.skip_stages.clear()
    assert enhanced.cache_config.skip_stages == [169, 256]


def test_the_public_upsampling(enhanced):
    features = torch.rand(2, 4, 3, 3)
    assert enhanced.enhanced_feature_interpolate(features).shape == (2, 4, 4, 4)  # the next stage's
    assert enhanced.enhanced_feature_interpolate(features, "bicubic", side=5).shape == (2, 4, 5, 5)
    near = enhanced.enhanced_feature_interpolate(features, mode="nearest", side=6)
    assert torch.equal(near[..., ::2, ::2], features)
    with pytest.raises(ValueError, match="x has side 16; allowed without a side given are sides below 16"):
        enhanced.enhanced_feature_interpolate(torch.rand(2, 4, 16, 16))


class Mirrored(EnhancedHARTForT2I):
    """Upsamples by a rule of its own."""

    def enhanced_feature_interpolate(self, x, mode=None, *, side=None):
        return super().enhanced_feature_interpolate(x, mode, side=side).flip(-1)


class Misshapen(EnhancedHARTForT2I):
    def enhanced_feature_interpolate(self, x, mode=None, *, side=None):
        return x


def test_a_subclass_upsamples_its_own_way(tiny):
    settings = HARTCacheConfig(skip_stages=[64], cache_stages=[16], **ALWAYS)
    pictures = [paint(kind.from_hart(tiny, settings)) for kind in (EnhancedHARTForT2I, Mirrored)]
    assert not torch.equal(*pictures)
    mirrored = Mirrored.from_hart(tiny)
    assert torch.equal(paint(mirrored), paint(tiny))
    report = mirrored.benchmark_performance(1, warmup=0, progress=False)
    assert report["run_tag"] == "hart-nocache"
    with pytest.raises(ValueError, match=r"the upsampling method gave .*4, 4\]; allowed is .*8, 8\]"):
        paint(Misshapen.from_hart(tiny, settings))


def test_measuring_keeps_the_subclass(tiny, monkeypatch):
    seen: list[type] = []
    wrap = EnhancedHARTForT2I.from_hart.__func__

    def note(cls, *given):
        seen.append(cls)
        return wrap(cls, *given)

    monkeypatch.setattr(EnhancedHARTForT2I, "from_hart", classmethod(note))
    model = Mirrored.from_hart(tiny, HARTCacheConfig(skip_stages=[64], cache_stages=[16], **ALWAYS))
    model.benchmark_performance(1, warmup=0, progress=False)
    model.calibrate_thresholds(1, progress=False)
    assert set(seen) == {Mirrored}


# -- guarantees --------------------------------------------------------------------------------------------------------

NEVER_HITS = {
    "no-cache": HARTCacheConfig.from_preset("no-cache"),
    "empty": HARTCacheConfig(),
    "threshold": config(threshold=1.0),
    "whole refresh": config(refresh_ratio={169: 1.0, 256: 1.0}),
    "no layer": config(layers=[]),
    "no memory": config(memory_budget_mb=0.0),
}


@pytest.mark.parametrize("settings", NEVER_HITS.values(), ids=NEVER_HITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_hits_pictures_are_bit_identical(ten_stages, settings, dtype):
    plain = HARTForT2I.from_pretrained(FIXTURES / "llm", dtype=dtype)
    enhanced = EnhancedHARTForT2I.from_hart(plain, settings)
    assert torch.equal(paint(enhanced), paint(plain))
    assert enhanced.get_cache_statistics()["cache_hit_rate"] == 0.0


def test_off_again_is_bit_identical_and_the_same_settings_give_the_same_picture(enhanced):
    before = paint(enhanced)
    enhanced.set_cache_config(config())
    cached = paint(enhanced)
    assert not torch.equal(cached, before)
    assert torch.equal(paint(enhanced), cached)
    enhanced.disable_cache()
    assert torch.equal(paint(enhanced), before)
    enhanced.enable_cache()
    assert torch.equal(paint(enhanced), cached)


def test_a_failure_half_way_leaves_nothing(enhanced):
    enhanced.set_cache_config(config(adaptive_threshold=True, threshold=0.5))
    cached, statistics = paint(enhanced), enhanced.get_cache_statistics()

    def fail(index: int, _: object) -> None:
        if index == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint(enhanced, callback_on_stage_end=fail)
    assert enhanced.get_cache_statistics() == statistics
    assert torch.equal(paint(enhanced), cached)


def test_two_threads_on_one_model(enhanced):
    enhanced.set_cache_config(config())
    alone = [paint(enhanced, seed) for seed in (1, 2)]
    found: dict[int, list[Tensor]] = {1: [], 2: []}
    threads = [Thread(target=lambda s=s: found[s].extend(paint(enhanced, s) for _ in range(3))) for s in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, expected in zip((1, 2), alone, strict=True):
        assert len(found[seed]) == 3 and all(torch.equal(picture, expected) for picture in found[seed])


def test_a_config_change_leaves_no_trace(enhanced):
    enhanced.set_cache_config(config())
    first = paint(enhanced)
    for name in ("ultra-fast", "memory-efficient"):
        enhanced.set_cache_config(name)
        paint(enhanced)
    enhanced.set_cache_config(config())
    assert torch.equal(paint(enhanced), first)


def test_a_static_decision_does_not_depend_on_batch_neighbours(enhanced):
    enhanced.set_cache_config(config(refresh_ratio={256: 0.5}))
    together = enhanced.autoregressive_infer_cfg(2, None, [5, 6])
    alone = [enhanced.autoregressive_infer_cfg(1, None, [seed]) for seed in (5, 6)]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-4, rtol=0)


def test_memory_is_flat_over_many_generations_with_changing_settings(tiny):
    names = [
        HARTCacheConfig(skip_stages=[16, 64], cache_stages=[4, 16], **ALWAYS),
        HARTCacheConfig(skip_stages=[64], cache_stages=[16], threshold=0.5, adaptive_threshold=True),
        HARTCacheConfig(skip_stages=[64], unselected="nothing", refresh_ratio={64: 0.5}),
        None,
    ]

    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    counts = []
    for index in range(200):
        tiny.set_cache_config(names[index % 4])
        paint(tiny, index, final_stage=1)
        if index in (20, 199):
            counts.append(alive())
    assert counts[0] == counts[1]


def test_statistics_of_one_run_join_the_model_s(enhanced):
    enhanced.set_cache_config(config())
    with enhanced.caching.separate_statistics() as statistics:
        paint(enhanced)
        own = statistics()
    assert own["hits"] == 12 == enhanced.get_cache_statistics()["hits"]
    paint(enhanced)
    assert enhanced.get_cache_statistics()["hits"] == 24
    enhanced.reset_cache_statistics()
    assert enhanced.get_cache_statistics()["hits"] == 0


def test_two_threads_count_apart(tiny):
    """Enter A, enter B, leave A, leave B: each counts its own, the model both, and later runs go to the model alone."""
    tiny.set_cache_config(HARTCacheConfig(skip_stages=[64], cache_stages=[16], **ALWAYS))
    turns, found = [Barrier(2) for _ in range(3)], {}

    def call(name: str, pictures: int) -> None:
        if name == "B":
            turns[0].wait()
        with tiny.caching.separate_statistics() as statistics:
            if name == "A":
                turns[0].wait()
            for seed in range(pictures):
                paint(tiny, seed)
            turns[1].wait()
            found[name] = statistics()["hits"]
            if name == "B":
                turns[2].wait()
        if name == "A":
            turns[2].wait()

    threads = [Thread(target=call, args=given) for given in (("A", 1), ("B", 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"A": 4, "B": 12}
    assert tiny.get_cache_statistics()["hits"] == 16
    paint(tiny)
    assert tiny.get_cache_statistics()["hits"] == 20


def test_a_wrapper_s_pictures_are_not_counted_in_the_model_s(tiny):
    tiny.set_cache_config(HARTCacheConfig(skip_stages=[64], cache_stages=[16], **ALWAYS))
    with tiny.caching.separate_statistics() as statistics:
        paint(EnhancedHARTForT2I.from_hart(tiny, tiny.cache_config))
        assert statistics()["hits"] == 0
        with tiny.caching.separate_statistics() as inner:
            paint(tiny)
        assert statistics()["hits"] == inner()["hits"] == 4


def test_prompts_of_different_batches(tiny):
    tiny.set_cache_config(HARTCacheConfig(skip_stages=[16, 64], cache_stages=[4, 16], **ALWAYS))
    for batch in (1, 3, 2):
        picture = tiny.autoregressive_infer_cfg(batch, g_seed=1, **text(batch))
        assert picture.shape[0] == batch and picture.isfinite().all()
