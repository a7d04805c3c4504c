"""Painting: seeds and batches, callbacks, failures that leave nothing behind, threads, precision, and bad arguments."""

import copy
import gc
import random
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from hart.modules.models.transformer import HARTForT2I, generation
from hart.modules.models.transformer.seeds import PictureRandom
from tests.modules.models.transformer.conftest import SIDES, build, text
from tests.parity import model_of, recording

# On CPU a picture is equal to the bit wherever it stands in a batch. Where a batch is painted as a whole, draws are,
# but products of another number of rows may add up in another order, which costs the last digits.
ROUNDING = 1e-5


def paint(model: HARTForT2I, batch: int = 1, **settings) -> Tensor:
    arguments = text(batch) | {"g_seed": 3, "cfg": 2.0} | settings
    return model.autoregressive_infer_cfg(batch, **arguments)


def row(arguments: dict[str, Tensor], *rows: int) -> dict[str, Tensor]:
    return {name: value[list(rows)] for name, value in arguments.items()}


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=ROUNDING)


def refused(match: str, batch: int = 2, **settings) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        paint(MODEL, batch, **settings)
    assert "\n" not in str(caught.value)


MODEL = build()


# -- what comes out --------------------------------------------------------------------------------------------------


def test_pictures_are_in_range_and_of_the_tokenizers_size():
    img = paint(MODEL, 2)
    assert img.shape == (2, 3, 16, 16)
    assert img.dtype == torch.float32
    assert img.min() >= 0 and img.max() <= 1
    assert img.std() > 0.01


def test_the_latent_map_is_returned_undecoded_on_request():
    latent = paint(MODEL, decode=False)
    assert latent.shape == (1, 4, 8, 8)
    assert torch.equal(MODEL.latent_to_img(latent), paint(MODEL))


def test_no_gradients_are_recorded():
    assert not paint(MODEL).requires_grad


@pytest.mark.parametrize("settings", [{}, {"context_position_ids": None, "context_mask": None}])
def test_without_text_the_null_context_is_painted(settings):
    zeros = {
        "label_B": torch.zeros(2, 5, 12),
        "context_position_ids": torch.zeros(2, 5, dtype=torch.long),
        "context_mask": torch.tensor([[1, 0, 0, 0, 0]] * 2).bool(),
    }
    null = MODEL.autoregressive_infer_cfg(2, None, g_seed=3, cfg=2.0, **settings)
    assert torch.equal(null, MODEL.autoregressive_infer_cfg(2, **zeros, g_seed=3, cfg=2.0))


@pytest.mark.parametrize("flavour", ["llm_adaln", "llm_shared_aln"])
def test_without_text_flavours_that_average_need_no_mask(flavour):
    img = model_of(flavour).autoregressive_infer_cfg(1, None, g_seed=1)
    assert torch.isfinite(img).all()


def test_guidance_and_text_matter():
    plain = paint(MODEL, cfg=0.0)
    assert not torch.equal(plain, paint(MODEL, cfg=4.0))
    assert not torch.equal(plain, paint(MODEL, cfg=0.0, **text(1, seed=1)))


def test_without_guidance_the_unconditional_rows_have_no_effect():
    def other_text(text_RTD: Tensor) -> Tensor:
        embedded = MODEL.embed_text(text_RTD).clone()
        embedded[1:] += torch.randn(embedded[1:].shape, generator=torch.Generator().manual_seed(9))
        return embedded

    changed = copy.deepcopy(MODEL)
    changed.embed_text = other_text
    assert torch.equal(paint(changed, cfg=0.0), paint(MODEL, cfg=0.0))
    assert not torch.equal(paint(changed, cfg=2.0), paint(MODEL, cfg=2.0))


@pytest.mark.parametrize("final_stage", [1, 2, -1])
def test_final_stage_is_a_switch_for_the_residual(final_stage):
    without = paint(MODEL, final_stage=final_stage, decode=False)
    assert torch.equal(without, paint(MODEL, final_stage=1, decode=False))
    residual = paint(MODEL, decode=False) - without
    assert 0 < residual.abs().max() <= 0.6 + ROUNDING


# -- top-k -----------------------------------------------------------------------------------------------------------


def draws(model: HARTForT2I, **settings) -> dict[str, Tensor]:
    with recording(model) as ours:
        paint(model, **settings)
    return {name: value for name, value in ours.items() if name.startswith("idx.")}


def test_top_k_of_one_is_the_most_likely_code():
    assert torch.equal(paint(MODEL, top_k=1, g_seed=1), paint(MODEL, top_k=1, g_seed=1))
    first, second = draws(MODEL, top_k=1, g_seed=1), draws(MODEL, top_k=1, g_seed=2)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_top_k_of_zero_or_beyond_the_codebook_keeps_every_code():
    """This codebook is smaller than the published 600 and 300."""
    assert torch.equal(paint(MODEL, top_k=0), paint(MODEL, top_k=48))
    assert torch.equal(paint(MODEL, top_k=0), paint(MODEL, top_k=5000))


def test_an_explicit_top_k_is_honoured():
    assert not torch.equal(paint(MODEL, top_k=3), paint(MODEL))


def test_the_published_rule_equals_its_numbers():
    """Explicit 600 differs from 0 only from stage index 7, where the rule says 300."""
    model = copy.deepcopy(model_of("llm"))
    with torch.no_grad():
        model.head.weight.mul_(0.01)  # so flat that every kept code is about as likely
    context = {"label_B": torch.randn(1, 12, 48), "context_position_ids": torch.arange(12)[None]}
    maps = {}
    for top_k in (0, 600, 300):
        maps[top_k] = []
        model.autoregressive_infer_cfg(
            1,
            **context,
            g_seed=2,
            top_k=top_k,
            callback_on_stage_end=lambda _, info, k=top_k: maps[k].append(info.f_hat),
        )
    assert all(torch.equal(maps[0][stage], maps[600][stage]) for stage in range(7))
    assert not torch.equal(maps[0][9], maps[600][9])
    assert not torch.equal(maps[0][6], maps[300][6])


# -- seeds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"more_smooth": True}, {"num_maskgit_iters": 3}, {"top_p": 0.8}])
def test_a_seed_means_the_same_picture_in_every_run(settings):
    assert torch.equal(paint(MODEL, 2, **settings), paint(MODEL, 2, **settings))
    assert not torch.equal(paint(MODEL, 2, **settings), paint(MODEL, 2, **settings, g_seed=4))


def paint_in_batches(model: HARTForT2I, **settings) -> list[tuple[Tensor, Tensor]]:
    """Four pictures, each alone and turned around, beside those of all four together."""
    four, how = text(4), {"cfg": 2.0} | settings
    together = model.autoregressive_infer_cfg(4, **four, g_seed=[5, 6, 7, 8], **how)
    pairs = []
    for place in range(4):
        alone = model.autoregressive_infer_cfg(1, **row(four, place), g_seed=5 + place, **how)
        pairs.append((alone, together[place : place + 1]))
    turned = model.autoregressive_infer_cfg(3, **row(four, 3, 1, 0), g_seed=[8, 6, 5], **how)
    return [*pairs, (turned, together[[3, 1, 0]])]


@pytest.fixture
def whole_batches(monkeypatch) -> None:
    """Paint a batch as a whole, as on a GPU."""
    monkeypatch.setattr(generation, "paints_one_by_one", lambda device: False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("settings", [{}, {"more_smooth": True}, {"num_maskgit_iters": 3}, {"top_p": 0.8}])
def test_a_picture_does_not_depend_on_its_batch_or_place(settings, dtype):
    model = copy.deepcopy(MODEL).to(dtype)
    for ours, expected in paint_in_batches(model, **settings):
        assert torch.equal(ours, expected)


def test_pictures_of_latent_maps_do_not_depend_on_the_batch():
    f_hat = paint(MODEL, 4, decode=False)
    together = MODEL.latent_to_img(f_hat)
    for place in range(4):
        assert torch.equal(MODEL.latent_to_img(f_hat[place : place + 1])[0], together[place])


# Without the diffusion head, whose first step makes rounding 20,000 times as large.
@pytest.mark.parametrize("settings", [{}, {"more_smooth": True}, {"num_maskgit_iters": 3}, {"top_p": 0.8}])
def test_whole_batches_change_nothing_but_rounding(settings, whole_batches):
    for ours, expected in paint_in_batches(MODEL, final_stage=1, **settings):
        close(ours, expected)


def test_the_draws_of_a_picture_are_equal_to_the_bit_in_whole_batches(whole_batches):
    four = text(4)
    with recording(MODEL) as together:
        MODEL.autoregressive_infer_cfg(4, **four, g_seed=[5, 6, 7, 8], cfg=2.0)
    for place in range(4):
        with recording(MODEL) as alone:
            MODEL.autoregressive_infer_cfg(1, **row(four, place), g_seed=[5 + place], cfg=2.0)
        for name in (name for name in alone if name.startswith("idx.")):
            assert torch.equal(alone[name][0], together[name][place]), name


def test_an_int_counts_up_over_the_batch():
    assert torch.equal(paint(MODEL, 3, g_seed=5), paint(MODEL, 3, g_seed=[5, 6, 7]))


def test_numbers_of_numpy_are_numbers():
    settings = {"cfg": np.float32(2), "top_k": np.int64(9), "top_p": np.float64(0.5), "num_maskgit_iters": np.int32(2)}
    expected = paint(MODEL, 2, **{name: value.item() for name, value in settings.items()})
    assert torch.equal(paint(MODEL, np.int64(2), **settings), expected)
    for seed in (np.int64(3), [np.int32(3), np.int32(4)]):
        assert torch.equal(paint(MODEL, 2, g_seed=seed), paint(MODEL, 2))


def test_the_largest_seed_works():
    paint(MODEL, g_seed=2**63 - 1)


def test_without_a_seed_torchs_global_generator_decides():
    torch.manual_seed(1)
    first, second = paint(MODEL, g_seed=None), paint(MODEL, g_seed=None)
    torch.manual_seed(1)
    assert torch.equal(paint(MODEL, g_seed=None), first)
    assert not torch.equal(first, second)


def test_a_generator_goes_on_from_call_to_call():
    generator = torch.Generator().manual_seed(1)
    first, second = paint(MODEL, 2, g_seed=generator), paint(MODEL, 2, g_seed=generator)
    assert not torch.equal(first, second)
    assert torch.equal(paint(MODEL, 2, g_seed=torch.Generator().manual_seed(1)), first)


@pytest.mark.parametrize("final_stage", [0, 1])
def test_generators_per_picture(final_stage):
    how = {"final_stage": final_stage, "cfg": 2.0}
    both = paint(MODEL, 2, g_seed=[torch.Generator().manual_seed(seed) for seed in (1, 2)], **how)
    alone = MODEL.autoregressive_infer_cfg(1, **row(text(2), 1), g_seed=[torch.Generator().manual_seed(2)], **how)
    assert torch.equal(both[1:], alone)


@pytest.mark.parametrize("more_smooth", [False, True])
def test_one_pictures_draws_are_those_of_the_published_single_generator(more_smooth):
    """The published code draws from one generator, seeded with g_seed."""
    with recording(MODEL) as ours:
        paint(MODEL, g_seed=7, more_smooth=more_smooth)
    with recording(MODEL) as published:
        paint(MODEL, g_seed=torch.Generator().manual_seed(7), more_smooth=more_smooth)
    names = [name for name in ours if name.startswith(("idx.", "h."))]
    assert len(names) == 2 * len(SIDES) - 1
    assert all(torch.equal(ours[name], published[name]) for name in names)


@pytest.mark.parametrize("settings", [{}, {"more_smooth": True}, {"num_maskgit_iters": 3}])
@pytest.mark.parametrize("seed", [3, [3, 9], torch.Generator()])
def test_a_seeded_call_leaves_the_global_generators_alone(seed, settings):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    paint(MODEL, 2, g_seed=seed, **settings)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[2], strict=True))


# -- the caller's things ---------------------------------------------------------------------------------------------


def test_the_callers_tensors_are_not_changed():
    arguments = text(2)
    arguments["orders"] = torch.stack([torch.randperm(64) for _ in range(2)])
    before = {name: value.clone() for name, value in arguments.items()}
    weights = {name: value.clone() for name, value in MODEL.state_dict().items()}
    noise = [torch.randn(128, 4) for _ in range(27)]
    noise_before = [value.clone() for value in noise]
    paint(MODEL, 2, **arguments, num_maskgit_iters=3, diffusion_noise=noise, top_p=0.9, more_smooth=True)
    assert all(torch.equal(value, before[name]) for name, value in arguments.items())
    assert all(torch.equal(ours, expected) for ours, expected in zip(noise, noise_before, strict=True))
    assert all(torch.equal(value, weights[name]) for name, value in MODEL.state_dict().items())


def test_injected_orders_are_used():
    orders = torch.arange(64).flip(0)[None]
    settings = {"num_maskgit_iters": 2}
    paint(MODEL, orders=orders, **settings)
    assert torch.equal(paint(MODEL, orders=orders.int(), **settings), paint(MODEL, orders=orders, **settings))
    assert not torch.equal(paint(MODEL, orders=orders.flip(1), **settings), paint(MODEL, orders=orders, **settings))


@pytest.mark.parametrize("rounds", [1, 2, 5, 64])
def test_every_number_of_rounds_paints_every_token_once(rounds):
    with recording(MODEL) as ours:
        paint(MODEL, num_maskgit_iters=rounds)
    decoded = [value.shape[1] for name, value in ours.items() if name.startswith("idx.s3.it")]
    assert len(decoded) == rounds and sum(decoded) == 64
    assert paint(MODEL, num_maskgit_iters=rounds).std() > 0


# -- callbacks -------------------------------------------------------------------------------------------------------


def test_the_callback_sees_every_stage():
    seen = []
    final = paint(MODEL, 2, callback_on_stage_end=lambda index, info: seen.append((index, info)), decode=False)
    assert [index for index, _ in seen] == [0, 1, 2, 3]
    for index, info in seen:
        assert (info.index, info.num_stages, info.side) == (index, 4, SIDES[index])
        assert info.f_hat.shape == (2, 4, 8, 8)
        assert info.preview().shape == (2, 3, 16, 16)
    assert torch.equal(seen[-1][1].f_hat, final)
    assert torch.equal(seen[-1][1].preview(), MODEL.latent_to_img(final))
    assert not torch.equal(seen[0][1].f_hat, seen[1][1].f_hat)  # kept maps are not overwritten by later stages


def test_a_callback_changes_nothing():
    assert torch.equal(paint(MODEL, callback_on_stage_end=lambda index, info: info.preview()), paint(MODEL))


@pytest.mark.parametrize("stage", range(4))
def test_an_exception_half_way_leaves_the_next_picture_unchanged(stage):
    class Stop(Exception):
        pass

    def stop(index, info):
        if index == stage:
            raise Stop

    expected = paint(MODEL)
    with pytest.raises(Stop):
        paint(MODEL, callback_on_stage_end=stop)
    assert torch.equal(paint(MODEL), expected)


# -- state -----------------------------------------------------------------------------------------------------------


def test_two_threads_paint_with_one_model():
    expected = {seed: paint(MODEL, 2, g_seed=seed, num_maskgit_iters=2) for seed in (1, 2)}
    painted: dict[int, list[Tensor]] = {1: [], 2: []}
    barrier = threading.Barrier(2)

    def work(seed: int) -> None:
        def wait(index, info):  # both threads are in the same stage at the same time
            barrier.wait(timeout=20)

        for _ in range(3):
            painted[seed].append(paint(MODEL, 2, g_seed=seed, num_maskgit_iters=2, callback_on_stage_end=wait))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in painted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, pictures in painted.items():
        assert len(pictures) == 3
        assert all(torch.equal(picture, expected[seed]) for picture in pictures)


def test_memory_does_not_grow_over_many_generations():
    """The published code kept position tensors of every generation for ever."""

    def objects() -> tuple[int, int]:
        gc.collect()
        alive = gc.get_objects()
        # By type: asking lazy modules for their class would import them, and count what that makes.
        return len(alive), sum(issubclass(type(thing), Tensor) for thing in alive)

    paint(MODEL, 2)
    objects()  # what counting itself makes is made once
    all_before, tensors_before = objects()
    for seed in range(30):
        paint(MODEL, 2, g_seed=seed)
    all_after, tensors_after = objects()
    assert tensors_after == tensors_before
    assert all_after - all_before < 30  # fewer than one per generation


def test_nothing_of_a_call_stays_on_the_modules():
    model = copy.deepcopy(MODEL)
    before = {id(module): dict(vars(module)) for module in model.modules()}
    paint(model)
    for module in model.modules():
        assert set(vars(module)) == set(before[id(module)])
    assert all(set(vars(module)) == set(before[id(module)]) for module in model.modules())


# -- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["llm", "llm_l2norm", "llm_adaln", "llm_gpt2"])
def test_bfloat16_paints_finite_pictures(folder):
    model = HARTForT2I.from_pretrained(model_of(folder).name_or_path, dtype=torch.bfloat16)
    assert model.head.weight.dtype == torch.float32
    context = {"label_B": torch.randn(1, 12, 48), "context_position_ids": torch.arange(12)[None]}
    context["context_mask"] = torch.ones(1, 12, dtype=torch.long)
    img = model.autoregressive_infer_cfg(1, **context, g_seed=1, cfg=3.0, more_smooth=True)
    assert img.dtype == torch.float32
    assert torch.isfinite(img).all() and img.std() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_text_features_of_half_precision_are_accepted(dtype):
    half = text(1) | {"label_B": text(1)["label_B"].to(dtype)}
    exact = text(1) | {"label_B": half["label_B"].float()}
    assert torch.equal(paint(MODEL, **half), paint(MODEL, **exact))


def test_a_half_precision_overflow_is_named(model):
    with torch.no_grad():
        model.blocks[1].ffn.up_proj.weight.mul_(100)
        model.blocks[1].ffn.down_proj.weight.fill_(60000.0)
    model.to(torch.float16)
    with pytest.raises(ValueError, match=r"stage 0 \(side 1\).*torch\.float16.*bfloat16 or float32") as caught:
        paint(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stage", [1, 3])
def test_a_nan_later_on_names_its_stage(model, stage):
    def spoil(module, arguments, out):
        return out * torch.nan if arguments[1].index == stage else out

    model.blocks[1].register_forward_hook(spoil)
    with pytest.raises(ValueError, match=rf"stage {stage} \(side {SIDES[stage]}\)"):
        paint(model)


# -- arguments that do not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [0, -1, 1.0, "2", None, True])
def test_a_number_of_pictures_that_is_none(batch):
    with pytest.raises(ValueError, match=r"B is .*; allowed is"):
        MODEL.autoregressive_infer_cfg(batch, **text(1))


@pytest.mark.parametrize("shape", [(1, 5, 12), (3, 5, 12), (2, 4, 12), (2, 5, 13), (2, 60), (2, 5, 12, 1)])
def test_text_of_another_shape(shape):
    refused(r"label_B is torch.float32 \[.*allowed is .*\[2, 5, 12\]", label_B=torch.zeros(shape))


@pytest.mark.parametrize("value", [torch.zeros(2, 5, 12).long(), torch.zeros(2, 5, 12).bool(), [[0.0]], "a cat"])
def test_text_of_another_type(value):
    refused("label_B is .*; allowed is a floating-point tensor", label_B=value)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_text_that_is_not_finite(bad):
    context = text(2)["label_B"]
    context[1, 2, 3] = bad
    refused("label_B .*not finite", label_B=context)


@pytest.mark.parametrize("name", ["context_position_ids", "context_mask"])
@pytest.mark.parametrize("value", [torch.zeros(2, 4).long(), torch.zeros(1, 5).long(), torch.zeros(2, 5), 7])
def test_positions_and_mask_that_do_not_fit(name, value):
    refused(rf"{name} is .*; allowed is an? integer.* \[2, 5\]", **{name: value})


def test_text_without_positions():
    refused("context_position_ids is None", context_position_ids=None)


def test_a_flavour_that_averages_needs_a_mask():
    context = {"label_B": torch.randn(1, 12, 48), "context_position_ids": torch.arange(12)[None]}
    with pytest.raises(ValueError, match="context_mask is None"):
        model_of("llm_adaln").autoregressive_infer_cfg(1, **context)


@pytest.mark.parametrize("cfg", [-0.1, torch.nan, torch.inf, -torch.inf, "4", None, 1j, True])
def test_guidance_that_is_negative_or_not_finite(cfg):
    refused("cfg is .*; allowed is a finite guidance scale from 0", cfg=cfg)


@pytest.mark.parametrize("top_k", [-1, 1.5, None, "600"])
def test_top_k_that_is_none(top_k):
    refused("top_k is .*; allowed is", top_k=top_k)


@pytest.mark.parametrize("top_p", [-0.1, 1.1, torch.nan, None, "0.9"])
def test_top_p_that_is_none(top_p):
    refused("top_p is .*; allowed is 0 to 1", top_p=top_p)


@pytest.mark.parametrize("rounds", [0, -1, 65, 1.5, None])
def test_a_number_of_rounds_that_is_none(rounds):
    refused("num_maskgit_iters is .*; allowed are 1 to 64", num_maskgit_iters=rounds)


@pytest.mark.parametrize(
    "seed", [[1], [1, 2, 3], [], "ab", 1.5, [1, 2.5], [1, None], -1, [1, -2], 2**63, True, [torch.Generator()], {1, 2}]
)
def test_seeds_of_the_wrong_count_or_kind(seed):
    refused("g_seed .*; allowed (is|are)", g_seed=seed)


@pytest.mark.parametrize(
    "orders",
    [torch.zeros(2, 63).long(), torch.arange(64).repeat(1, 1), torch.zeros(2, 64), torch.zeros(2, 64).long(), [[0]]],
)
def test_orders_that_are_no_permutations(orders):
    refused("orders .*; allowed is", orders=orders, num_maskgit_iters=2)


@pytest.mark.parametrize("noise", [torch.zeros(9, 128, 4), [0.0] * 9, "noise", {}])
def test_noise_that_is_no_list_of_tensors(noise):
    refused("diffusion_noise is a .*; allowed is a list of tensors", diffusion_noise=noise)


@pytest.mark.parametrize("callback", ["show", 3, [print]])
def test_a_callback_that_cannot_be_called(callback):
    refused("callback_on_stage_end is a .*; allowed is a function", callback_on_stage_end=callback)


def test_a_generator_on_another_device_is_refused_before_painting():
    match = r"g_seed holds a generator on 'cpu'; allowed is .*torch\.Generator\(device='cuda:0'\)"
    for seed in (torch.Generator(), [torch.Generator()]):
        with pytest.raises(ValueError, match=match):
            PictureRandom(seed, 1, torch.device("cuda:0"))


@pytest.mark.parametrize("count", [0, 8, 16])
def test_too_little_noise(count):
    noise = [torch.zeros(96, 4)] * count
    refused(r"diffusion_noise has \d+ tensors; allowed are 17 or more", diffusion_noise=noise, num_maskgit_iters=2)


@pytest.mark.parametrize("shape", [(64, 4), (128, 3)])
def test_noise_of_another_shape(shape):
    refused(r"diffusion_noise\[0\] has shape", diffusion_noise=[torch.zeros(shape)] * 9)
