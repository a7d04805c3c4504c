"""Reuse, refresh and drop as they are computed: against recorded FastVAR, against each other, on random settings."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hart.modules.cache import stage_cache
from hart.modules.cache.config_checks import NOT_WITH_NOTHING
from hart.modules.cache.registries import SCHEDULES
from hart.modules.cache.thresholds import register_schedule
from hart.modules.cache.token_selectors import select_tokens
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.modules.models.transformer import generation
from tests.golden import load
from tests.modules.models.transformer.conftest import build, text
from tests.modules.test_enhanced_hart import config, paint

FASTVAR = HARTCacheConfig(
    skip_stages=[169, 256],
    cache_stages=[100],
    threshold=0.0,
    interpolation_mode="area",
    refresh_ratio={169: 0.5, 256: 0.25},
    token_selector="fastvar",
    select_per_branch=True,
    select_per_row=True,
    attn_kv="drop",
)


def recorded_noise(seed: int, tokens: int, channels: int, steps: int) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(tokens, channels)] + [torch.randn(2 * tokens, channels) for _ in range(steps)]


def test_fastvar_s_recorded_run_is_reproduced(enhanced, monkeypatch):
    recorded, about = load("fastvar.argmax")
    enhanced.set_cache_config(FASTVAR)
    blocks: dict[tuple[int, int], Tensor] = {}
    lengths: dict[int, list[int]] = {}
    maps: dict[int, Tensor] = {}
    kept: list[Tensor] = []

    def select(*given):
        kept.append(select_tokens(*given))
        return kept[-1]

    monkeypatch.setattr(stage_cache, "select_tokens", select)
    hooks = [
        block.register_forward_hook(
            lambda _, given, out, i=i: (
                (
                    blocks.__setitem__((i, given[1].index), out),
                    lengths.__setitem__(given[1].index, list(given[1].kv.lengths)),
                )[2:]
                or None
            )
        )
        for i, block in enumerate(enhanced.blocks)
    ]
    image = enhanced.autoregressive_infer_cfg(
        1,
        recorded["in.context"],
        3,
        cfg=about["cfg"],
        top_k=1,
        context_position_ids=recorded["in.context_position_ids"],
        context_mask=recorded["in.context_mask"],
        diffusion_noise=recorded_noise(about["torch_seed"], 256, enhanced.config.latent_channels, 8),
        callback_on_stage_end=lambda index, info: maps.__setitem__(index, info.f_hat),
    )
    for hook in hooks:
        hook.remove()
    for layer in range(3):
        for stage in (8, 9):
            name = f"block{layer}.s{stage}"
            ours = blocks[layer, stage][:, recorded[f"{name}.idx"]]
            torch.testing.assert_close(ours, recorded[name], atol=2e-5, rtol=0)
    for call in range(12):
        name = f"kept_sorted.side{(13, 16)[call // 6]}.call{call % 6}"
        assert torch.equal(kept[call], recorded[name].long()), name
    torch.testing.assert_close(maps[9], recorded["f_hat.final"], atol=1e-4, rtol=0)
    step = image.shape[-1] // recorded["image"].shape[-1]
    torch.testing.assert_close(image[..., ::step, ::step], recorded["image"], atol=2e-5, rtol=0)
    before = enhanced.config.context_token + sum(side * side for side in enhanced.config.patch_nums[1:8])
    assert lengths[8] == [before + 85] * 3 and lengths[9] == [before + 85 + 64] * 3


SMALL = {"skip_stages": [16, 64], "cache_stages": [4, 16], "threshold": 0.0}


def small(**changes) -> HARTCacheConfig:
    return HARTCacheConfig(**(SMALL | changes))


@pytest.mark.parametrize("changes", [{}, {"enable_mlp_cache": False}, {"first_layers": 1}, {"corrector_layers": 1}])
def test_fused_reuse_is_per_branch_reuse(tiny, changes, monkeypatch):
    tiny.set_cache_config(small(attn_kv="drop", **changes))
    fused = paint(tiny)
    monkeypatch.setattr("hart.modules.cache.plan.is_linear", lambda mode: False)
    torch.testing.assert_close(paint(tiny), fused, atol=1e-3, rtol=1e-3)


def test_fused_reuse_keeps_one_map(enhanced):
    enhanced.set_cache_config(config(attn_kv="drop"))
    paint(enhanced)
    width = enhanced.config.embed_dim
    # One sum and the input of a stage, while the next pair takes their place.
    assert enhanced.get_cache_statistics()["cache_peak_bytes"] <= 3 * 2 * 169 * width * 4


@pytest.mark.parametrize("kind, other", [("attn", "mlp"), ("mlp", "attn")])
def test_one_branch_alone(enhanced, kind, other):
    enhanced.set_cache_config(config(**{f"enable_{other}_cache": False}))
    called: list[tuple[str, int]] = []
    parts = [(block.attn, "attn") for block in enhanced.blocks] + [(block.ffn, "mlp") for block in enhanced.blocks]
    hooks = [
        part.register_forward_hook(lambda _, given, out, name=name: called.append((name, given[0].shape[1])))
        for part, name in parts
    ]
    paint(enhanced)
    for hook in hooks:
        hook.remove()
    assert {name for name, tokens in called if tokens in (169, 256)} == {other}
    assert list(enhanced.get_cache_statistics()["per_branch"]) == [kind]


def test_keys_and_values_of_reused_attention(enhanced):
    pictures = {}
    for attn_kv in ("append", "drop"):
        enhanced.set_cache_config(config(skip_stages=[169], cache_stages=[100], attn_kv=attn_kv))
        lengths: list[int] = []
        hook = enhanced.blocks[0].register_forward_hook(
            lambda _, given, out, lengths=lengths: lengths.append(given[1].kv.lengths[0])
        )
        pictures[attn_kv] = paint(enhanced)
        hook.remove()
        assert lengths[8] - lengths[7] == (169 if attn_kv == "append" else 0)
    assert not torch.equal(pictures["append"], pictures["drop"])


def key_lengths(model: EnhancedHARTForT2I, **settings) -> list[int]:
    """Keys of the first layer after every call of the blocks."""
    lengths: list[int] = []
    hook = model.blocks[0].register_forward_hook(lambda _, given, out: lengths.append(given[1].kv.lengths[0]))
    paint(model, **settings)
    hook.remove()
    return lengths


def test_rounds_at_the_last_stage_read_the_keys_of_the_stage_before(tiny):
    tiny.set_cache_config(small())
    assert key_lengths(tiny)[2] - key_lengths(tiny)[1] == 0  # all later attention is reused
    lengths = key_lengths(tiny, num_maskgit_iters=2)
    assert lengths[2] - lengths[1] == 16 and lengths[-1] == 5 + 4 + 16 + 64


def test_a_budget_that_refuses_maps_loses_no_keys(tiny):
    # The maps of side 2 fit (2 rows, 4 tokens, 16 wide, float32: 512 bytes each), those of side 4 do not.
    tiny.set_cache_config(small(memory_budget_mb=1200 / 2**20))
    assert key_lengths(tiny) == [5, 5 + 4, 5 + 4 + 16, 5 + 4 + 16 + 64]
    counted = tiny.get_cache_statistics()["per_stage"]
    assert counted["16"]["hits"] == 4 and counted["64"]["misses"]["empty"] == 4
    assert tiny.get_cache_statistics()["cache_peak_bytes"] <= 1200


@pytest.mark.parametrize("cache_stages, budget", [([], None), ([16], None), ([16], 0.0)])
def test_selecting_by_change_with_and_without_a_kept_stage(tiny, cache_stages, budget):
    pictures = {}
    for selector in ("fastvar", "change"):
        tiny.set_cache_config(
            HARTCacheConfig(
                skip_stages=[64],
                cache_stages=cache_stages,
                unselected="nothing",
                refresh_ratio={64: 0.25},
                token_selector=selector,
                memory_budget_mb=budget,
            )
        )
        pictures[selector] = paint(tiny)
    kept = bool(cache_stages) and budget is None
    assert torch.equal(pictures["fastvar"], pictures["change"]) != kept


def test_reuse_at_the_last_stage_appends_nothing(enhanced):
    enhanced.set_cache_config(config(skip_stages=[256]))
    paint(enhanced)
    assert enhanced.get_cache_statistics()["flops_saved"] > 0


def test_tokens_that_add_nothing_leave_the_map_alone(tiny):
    maps: dict[int, Tensor] = {}
    tiny.set_cache_config(HARTCacheConfig(skip_stages=[64], unselected="nothing", refresh_ratio={64: 0.25}))
    paint(tiny, callback_on_stage_end=lambda index, info: maps.__setitem__(index, info.f_hat))
    changed = (maps[3] != maps[2]).any(1).flatten(1).sum(1)
    assert changed.tolist() == [16]


@pytest.mark.parametrize(
    "changes", [{"drop_stages": [64]}, {"skip_stages": [64], "unselected": "nothing"}], ids=["drop", "nothing"]
)
def test_the_last_stage_left_out(tiny, changes):
    maps: dict[int, Tensor] = {}
    tiny.set_cache_config(HARTCacheConfig(**changes))
    paint(tiny, callback_on_stage_end=lambda index, info: maps.__setitem__(index, info.f_hat))
    assert torch.equal(maps[3], maps[2])


def test_a_stage_dropped_in_the_middle(tiny):
    tiny.set_cache_config(HARTCacheConfig(drop_stages=[16]))
    maps: dict[int, Tensor] = {}
    paint(tiny, callback_on_stage_end=lambda index, info: maps.__setitem__(index, info.f_hat))
    assert torch.equal(maps[2], maps[1]) and not torch.equal(maps[3], maps[2])
    assert tiny.get_cache_statistics()["flops_saved"] > 0


@pytest.mark.parametrize("more_smooth", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"drop_stages": [16]},
        {"drop_stages": [4], "skip_stages": [16], "refresh_ratio": {16: 0.5}, "unselected": "nothing"},
        {"skip_stages": [16, 64], "refresh_ratio": {16: 0.25, 64: 0.5}, "unselected": "nothing"},
    ],
)
def test_tokens_left_out_leave_their_random_numbers_unused(tiny, changes, more_smooth):
    """Later draws are those of the full run, so a seed's picture stays as near to it as it can."""
    states = []
    for cache in (None, HARTCacheConfig(**changes)):
        tiny.set_cache_config(cache)
        generator = torch.Generator().manual_seed(5)
        tiny.autoregressive_infer_cfg(1, None, [generator], decode=False, more_smooth=more_smooth)
        states.append(generator.get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("injected", [False, True])
def test_computed_tokens_keep_their_diffusion_noise(tiny, monkeypatch, injected):
    seen: list[list[Tensor]] = []
    sample = type(tiny.diffloss).sample

    def spy(head, z, **given):
        noise = (
            given["noise"] if "noise" in given else head._noise(len(z) // 2, z.device, True, None, given["generators"])
        )
        seen.append([part[: len(z) // 2] for part in noise][: head.num_sampling_steps])
        return sample(head, z, **{k: v for k, v in given.items() if k != "generators"} | {"noise": noise})

    monkeypatch.setattr(type(tiny.diffloss), "sample", spy)
    chosen: list[Tensor] = []
    pick = stage_cache.select_tokens
    monkeypatch.setattr(stage_cache, "select_tokens", lambda *a: chosen.append(pick(*a)) or chosen[-1])
    noise = recorded_noise(0, 64, 4, 8) if injected else None
    for cache in (None, HARTCacheConfig(skip_stages=[64], refresh_ratio={64: 0.25}, unselected="nothing")):
        tiny.set_cache_config(cache)
        paint(tiny, diffusion_noise=noise)
    plain, ours = seen
    assert len(chosen[0][0]) == 16
    for all_tokens, some in zip(plain, ours, strict=True):
        assert torch.equal(all_tokens[chosen[0][0]], some)


def drawn_codes(model: EnhancedHARTForT2I, monkeypatch, **settings) -> list[tuple[Tensor, Tensor]]:
    """Of every stage: codes, and the expectation of the distribution that they were drawn from."""
    found: list[tuple[Tensor, Tensor]] = []
    sample, draw = generation.sample_codes, generation.Generation.draw_codes
    expected: list[Tensor] = []

    def note(logits_BnV, *given):
        expected.append(logits_BnV.softmax(-1) @ model.vae.quantize.embedding.weight.float())
        return sample(logits_BnV, *given)

    def keep(run, *given):
        idx_Bn, codes_Bnc = draw(run, *given)
        found.append((codes_Bnc, expected[-1]))
        return idx_Bn, codes_Bnc

    with monkeypatch.context() as patch:
        patch.setattr(generation, "sample_codes", note)
        patch.setattr(generation.Generation, "draw_codes", keep)
        paint(model, **settings)
    return found


@pytest.mark.parametrize("more_smooth", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_soft_codes_of_reused_tokens_are_the_expectation(tiny, monkeypatch, seed, more_smooth):
    tiny.set_cache_config(small(skip_stages=[16], reuse_codes="soft"))
    plain, _, soft, _ = drawn_codes(tiny, monkeypatch, seed=seed, more_smooth=more_smooth)
    torch.testing.assert_close(*soft, rtol=0, atol=1e-4)
    assert (plain[0] - plain[1]).abs().max() > 0.1


@pytest.mark.parametrize("more_smooth", [False, True])
@pytest.mark.parametrize("per_branch", [False, True])
def test_computed_tokens_are_drawn_as_always(tiny, monkeypatch, per_branch, more_smooth):
    """Half of stage 16 is refreshed: it draws what it does without soft codes, and the random numbers are used up."""
    maps, states = {}, {}
    for codes in ("sampled", "soft"):
        generator = torch.Generator().manual_seed(5)
        tiny.set_cache_config(
            small(
                skip_stages=[16],
                refresh_ratio={16: 0.5},
                reuse_codes=codes,
                select_per_branch=per_branch,
                first_layers=1,
            )
        )
        found = drawn_codes(tiny, monkeypatch, seed=[generator], more_smooth=more_smooth)
        maps[codes], states[codes] = found[2], generator.get_state()
    assert torch.equal(states["sampled"], states["soft"])
    (sampled, _), (soft, expected) = maps["sampled"], maps["soft"]
    same = (sampled == soft).all(-1)
    assert torch.equal(soft[~same], expected[~same])
    assert same.sum() >= 8 if per_branch else same.sum() == 8


def test_the_random_selector_follows_the_seed(tiny, monkeypatch):
    chosen: list[list[int]] = []
    pick = stage_cache.select_tokens
    monkeypatch.setattr(
        stage_cache, "select_tokens", lambda *a: chosen.append(pick(*a)[0].tolist()) or torch.tensor(2 * [chosen[-1]])
    )
    tiny.set_cache_config(
        HARTCacheConfig([64], refresh_ratio={64: 0.25}, unselected="nothing", token_selector="random")
    )
    for seed in (1, 2, 1):
        paint(tiny, seed)
    paint(tiny, [2, 1], batch=2)
    assert chosen[0] == chosen[2] == chosen[4] != chosen[1] == chosen[3]


def test_bytes_of_pictures_side_by_side_are_counted_together(tiny):
    tiny.set_cache_config(small())
    peaks = []
    for batch in (1, 3):
        tiny.reset_cache_statistics()
        paint(tiny, batch=batch)
        peaks.append(tiny.get_cache_statistics()["cache_peak_bytes"])
    assert peaks[1] >= 3 * peaks[0] > 0


@pytest.mark.parametrize("rounds", [2, 4])
def test_rounds_of_masked_decoding(tiny, rounds):
    plain = paint(tiny, num_maskgit_iters=rounds)
    tiny.set_cache_config(small(skip_stages=[64], cache_stages=[16]))
    # A round has no whole map: the last stage is computed, so nothing changes.
    assert torch.equal(paint(tiny, num_maskgit_iters=rounds), plain)
    tiny.set_cache_config(small(refresh_ratio={16: 0.5}))
    assert paint(tiny, num_maskgit_iters=rounds).isfinite().all()


def test_operations_by_hand(tiny):
    tiny.set_cache_config(HARTCacheConfig(drop_stages=[64]))
    paint(tiny)
    width, rows, layers = 16, 2, 2
    block = tiny.blocks[0]
    weights = sum(p.numel() for part in (block.attn, block.ffn) for p in part.parameters() if p.dim() == 2)
    seen, by_stage = 0, []
    for tokens in (5, 4, 16, 64):
        seen += tokens
        by_stage.append(layers * rows * (2 * weights * tokens + 4 * tokens * seen * width))
    statistics = tiny.get_cache_statistics()
    assert statistics["flops_computed"] == sum(by_stage[:3]) and statistics["flops_saved"] == by_stage[3]


# -- decisions in a model --------------------------------------------------------------------------------------------


SCHEDULES_OF_TESTS = {
    "by-layer": (lambda stage, layer, branch, base: float(layer == 1), ({"attn": 2, "mlp": 2}, {"16": 2, "64": 2})),
    "by-branch": (
        lambda stage, layer, branch, base: float(branch == "mlp"),
        ({"attn": 4, "mlp": 0}, {"16": 2, "64": 2}),
    ),
    "by-stage": (lambda stage, layer, branch, base: float(stage == 64), ({"attn": 2, "mlp": 2}, {"16": 4, "64": 0})),
}


@pytest.mark.parametrize("name", SCHEDULES_OF_TESTS)
def test_a_schedule_decides_by_stage_layer_and_branch(tiny, name):
    schedule, (by_branch, by_stage) = SCHEDULES_OF_TESTS[name]
    register_schedule(name, schedule)
    try:
        tiny.set_cache_config(small(threshold=0.5, threshold_schedule=name))
        paint(tiny)
    finally:
        SCHEDULES.remove(name)
    counted = tiny.get_cache_statistics()
    assert {branch: entry["hits"] for branch, entry in counted["per_branch"].items()} == by_branch
    assert {stage: entry["hits"] for stage, entry in counted["per_stage"].items()} == by_stage


@pytest.mark.parametrize("changes, hits", [({"layers": [1]}, 4), ({"attn_layers": [0], "mlp_layers": []}, 2)])
def test_layers_decide(tiny, changes, hits):
    tiny.set_cache_config(small(**changes))
    paint(tiny)
    assert tiny.get_cache_statistics()["hits"] == hits


def test_a_table_decides_by_place(tiny, tmp_path):
    row = {"low": 0.0, "count": 1, "mean": 0.1}
    rows = [row | {"branch": b, "layer": n, "stage": s} for b in ("attn", "mlp") for n in (0, 1) for s in (16, 64)]
    rows[3]["mean"] = 0.9  # attention of layer 1 at stage 64
    table = {"format": "hart-similarity-table", "version": 1, "rows": rows}
    (tmp_path / "table.json").write_text(json.dumps(table))
    tiny.set_cache_config(small(threshold=0.5, sim_path=str(tmp_path / "table.json")))
    paint(tiny)
    assert tiny.get_cache_statistics()["hits_per_branch_and_stage"] == {"attn": {"64": 1}}


def test_adaptive_thresholds_come_down_to_what_is_typical(tiny):
    tiny.set_cache_config(small(threshold=0.9999, adaptive_threshold=True, adaptive_range=0.99))
    paint(tiny)
    assert tiny.get_cache_statistics()["hits"] == 0
    for seed in range(12):
        paint(tiny, seed)
    assert tiny.get_cache_statistics()["hits"] > 0
    adapted = tiny.get_cache_statistics()["adaptive_thresholds"]
    assert all(value < 0.9999 for layers in adapted.values() for value in layers.values()) and "attn" in adapted
    tiny.reset_cache_statistics()
    paint(tiny)
    assert tiny.get_cache_statistics()["hits"] == 0


@pytest.mark.parametrize("eviction", ["oldest", "largest", "coarsest", "unused"])
def test_a_budget_is_kept(tiny, eviction):
    budget = 3000
    tiny.set_cache_config(small(attn_kv="drop", threshold=0.3, memory_budget_mb=budget / 2**20, eviction=eviction))
    assert paint(tiny).isfinite().all()
    assert 0 < tiny.get_cache_statistics()["cache_peak_bytes"] <= budget


@pytest.mark.parametrize("settings", [{"more_smooth": True}, {"num_maskgit_iters": 2}, {"num_maskgit_iters": 3}])
@pytest.mark.parametrize(
    "changes", [{"threshold": 1.0}, {"refresh_ratio": {16: 1.0, 64: 1.0}}, {"reuse_codes": "soft"}]
)
def test_other_ways_to_paint_are_bit_identical_without_hits(tiny, settings, changes):
    plain = paint(tiny, **settings)
    tiny.set_cache_config(small(**({"threshold": 1.0} | changes)))
    assert torch.equal(paint(tiny, **settings), plain)
    assert tiny.get_cache_statistics()["hits"] == 0


FOURTEEN = (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64)


@pytest.mark.parametrize("name", HARTCacheConfig.preset_names())
def test_presets_paint_on_fourteen_stages(fourteen_stages, name):
    model = EnhancedHARTForT2I.from_hart(fourteen_stages, name)
    latent = paint(model, final_stage=1)
    assert latent.shape == (1, 4, 64, 64) and latent.isfinite().all()
    assert json.dumps(model.get_cache_statistics())


@pytest.fixture(scope="module")
def fourteen_stages():
    return build(patch_nums=FOURTEEN, depth=1, embed_dim=8)


# -- without the unconditional half ---------------------------------------------------------------------------------


def paint_text(model: EnhancedHARTForT2I, batch: int = 1, **settings) -> Tensor:
    """As `paint`, with features that the unconditional half does not have."""
    sizes = (batch, model.config.context_token, model.config.context_dim)
    features = torch.randn(sizes, generator=torch.Generator().manual_seed(1))
    position, mask = torch.arange(sizes[1]).repeat(batch, 1), torch.ones(sizes[:2], dtype=torch.long)
    given = {"g_seed": 3, "context_position_ids": position, "context_mask": mask, "decode": False} | settings
    return model.autoregressive_infer_cfg(batch, features, **given)


def test_without_guidance_the_unconditional_half_changes_nothing(enhanced):
    guided = paint_text(enhanced, batch=2, cfg=0.0)
    enhanced.set_cache_config(HARTCacheConfig(unguided_from=4))
    torch.testing.assert_close(paint_text(enhanced, batch=2, cfg=0.0), guided, rtol=0, atol=1e-4)


def test_guidance_is_left_at_the_stage_named(enhanced):
    maps: dict[str, list[Tensor]] = {"guided": [], "left": []}

    def note(name: str):
        return lambda index, info: maps[name].append(info.f_hat.clone())

    paint_text(enhanced, cfg=3.0, callback_on_stage_end=note("guided"))
    enhanced.set_cache_config(HARTCacheConfig(unguided_from=100))
    enhanced.reset_cache_statistics()
    paint_text(enhanced, cfg=3.0, callback_on_stage_end=note("left"))
    same = [torch.equal(a, b) for a, b in zip(maps["guided"], maps["left"], strict=True)]
    assert same == [True] * 7 + [False] * 3
    statistics = enhanced.get_cache_statistics()
    assert 0.35 < statistics["flops_saved_ratio"] < 0.5 and statistics["hits"] == 0


def test_kept_maps_go_on_without_the_unconditional_half(enhanced):
    enhanced.set_cache_config(config(unguided_from=256))
    enhanced.reset_cache_statistics()
    assert paint(enhanced, batch=2, cfg=3.0).isfinite().all()
    statistics = enhanced.get_cache_statistics()
    assert statistics["cache_hit_rate"] == 1 and statistics["misses"]["empty"] == 0


STAGES = st.lists(st.integers(2, 6), min_size=1, max_size=3, unique=True).map(lambda sides: (1, *sorted(sides)))


@st.composite
def painting(draw: st.DrawFn) -> tuple[tuple[int, ...], HARTCacheConfig]:
    """A pyramid, and settings that are valid for it."""
    sides = draw(STAGES)
    later = [side * side for side in sides[1:]]
    some = st.lists(st.sampled_from(later), unique=True)
    skip = draw(some)
    chosen = HARTCacheConfig(
        skip_stages=skip,
        cache_stages=draw(st.lists(st.sampled_from([1, *later]), unique=True)),
        enable_attn_cache=draw(st.booleans()),
        enable_mlp_cache=draw(st.booleans()),
        threshold=draw(st.sampled_from([0.0, 0.3, 0.9])),
        adaptive_threshold=draw(st.booleans()),
        interpolation_mode=draw(st.sampled_from(["bilinear", "nearest", "bicubic", "area"])),
        refresh_ratio={stage: draw(st.floats(0, 1)) for stage in skip if draw(st.booleans())},
        unselected=draw(st.sampled_from(["reuse", "nothing"])),
        token_selector=draw(st.sampled_from(["fastvar", "change", "centred_change", "fhat_cosine", "edge", "random"])),
        select_per_branch=draw(st.booleans()),
        select_per_row=draw(st.booleans()),
        reuse_codes=draw(st.sampled_from(["sampled", "soft"])),
        drop_stages=draw(some),
        unguided_from=draw(st.none() | st.sampled_from(later)),
        attn_kv=draw(st.sampled_from(["append", "drop"])),
        estimator=draw(st.sampled_from(["auto", "online"])),
        similarity_metric=draw(st.sampled_from(["cosine", "centred_cosine", "relative_l2"])),
        attn_threshold=draw(st.sampled_from([None, 0.0, 0.8])),
        threshold_schedule=draw(st.sampled_from(["constant", "rising", "mlp_stricter"])),
        mlp_threshold=draw(st.sampled_from([None, 0.0, 0.6])),
        adaptive_range=draw(st.sampled_from([0.0, 0.2, 1.0])),
        similarity_window=draw(st.integers(1, 20)),
        layers=draw(st.none() | st.lists(st.integers(0, 1), unique=True)),
        attn_layers=draw(st.none() | st.lists(st.integers(0, 1), unique=True)),
        mlp_layers=draw(st.none() | st.lists(st.integers(0, 1), unique=True)),
        first_layers=draw(st.integers(0, 2)),
        corrector_layers=draw(st.integers(0, 1)),
        memory_budget_mb=draw(st.sampled_from([None, 0.0, 0.004])),
        eviction=draw(st.sampled_from(["oldest", "largest", "coarsest", "unused"])),
    )
    if chosen.unselected == "nothing":
        chosen = replace(chosen, **{name: allowed for name, (allowed, _) in NOT_WITH_NOTHING.items()})
    return sides, chosen


MODELS: dict[tuple[int, ...], EnhancedHARTForT2I] = {}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(painting(), st.integers(1, 2), st.booleans())
def test_any_valid_settings_paint_finite_pictures(case, batch, rounds):
    sides, chosen = case
    try:
        chosen.validate([side * side for side in sides], depth=2)
    except ValueError:
        assume(False)
    if sides not in MODELS:
        MODELS[sides] = EnhancedHARTForT2I.from_hart(build(patch_nums=sides))
    model = MODELS[sides]
    model.set_cache_config(chosen)
    for seed in range(2):
        arguments = text(batch) | {"num_maskgit_iters": 2 if rounds and sides[-1] > 2 else 1}
        latent = model.autoregressive_infer_cfg(batch, g_seed=seed, decode=False, **arguments)
        assert latent.shape == (batch, 4, sides[-1], sides[-1]) and latent.isfinite().all()
    statistics = model.get_cache_statistics()
    assert 0 <= statistics["cache_hit_rate"] <= 1 and 0 <= statistics["flops_saved_ratio"] <= 1


# -- tokens that add nothing: decided by the latent map, for all branches or for some ---------------------------------


def nothing(**changes) -> HARTCacheConfig:
    return HARTCacheConfig(**({"skip_stages": [64], "unselected": "nothing", "threshold": 0.0} | changes))


def test_a_map_that_changed_much_is_computed_in_full(tiny):
    plain = paint(tiny)
    tiny.set_cache_config(nothing(threshold=1.0, refresh_ratio={64: 0.25}))
    assert torch.equal(paint(tiny), plain)
    statistics = tiny.get_cache_statistics()
    assert statistics["hits"] == 0 and statistics["misses"]["dissimilar"] == 4
    estimate = statistics["similarity_stats"]["attn"]["mean"]
    tiny.set_cache_config(nothing(threshold=max(0.0, estimate - 1e-3), refresh_ratio={64: 0.25}))
    assert not torch.equal(paint(tiny), plain)
    assert tiny.get_cache_statistics()["hits"] == 4


@pytest.mark.parametrize("ratio", [0.0, 0.25])
def test_a_branch_alone_may_add_nothing(tiny, ratio):
    """The other branch runs all tokens; the one named adds zero where it is not run."""
    added: dict[int, Tensor] = {}
    tiny.set_cache_config(nothing(enable_mlp_cache=False, layers=[1], refresh_ratio={64: ratio}))
    hooks = [
        block.register_forward_hook(lambda block, given, out: added.__setitem__(block.index, (given[0], out)))
        for block in tiny.blocks
    ]
    paint(tiny)
    for hook in hooks:
        hook.remove()
    x, out = added[1]
    stage_tokens = (out - x - tiny.blocks[1].mlp_branch(x, None)).abs().amax(-1) < 1e-5
    assert out.shape[1] == 64 and int((~stage_tokens[0]).sum()) == round(64 * ratio)
    assert tiny.get_cache_statistics()["per_branch"]["attn"]["hits"] == 1
