"""The diffusion head against recorded runs, and what it promises about noise, batches and precision."""

import pytest
import torch

from hart.modules.diffusion import ResidualDiffusionHead, init_diffusion_weights
from hart.modules.networks.embeddings import sinusoidal_features
from tests.golden import load, weights

CHANNELS, WIDTH = 8, 64
ROUNDING = 1e-4  # the noisiest step multiplies errors by 2e4, and products round by processor and row count


@pytest.fixture
def head() -> ResidualDiffusionHead:
    """The head of the fixture checkpoint `llm`; strict loading pins the published names."""
    head = ResidualDiffusionHead(CHANNELS, WIDTH, width=WIDTH, depth=2, num_sampling_steps="8")
    head.load_state_dict(weights("llm", "diffloss."), strict=True)
    return head


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def conditions(num_pictures: int, tokens: int = 32) -> torch.Tensor:
    """[2 * num_pictures * tokens, WIDTH], a different condition for every picture in both halves."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, num_pictures, tokens, WIDTH, generator=generator).flatten(0, 2)


def pictures_of(z: torch.Tensor, picture: int, num_pictures: int) -> torch.Tensor:
    """The conditions of one picture, both halves."""
    return z.view(2, num_pictures, -1, WIDTH)[:, picture].flatten(0, 1)


def test_level_features_are_the_published_ones():
    expected = load("units")[0]["tfeat.levels0_13"]
    # A sine of an angle up to 13 moves by a unit in the last place of the angle.
    torch.testing.assert_close(sinusoidal_features(torch.arange(14)), expected, rtol=0, atol=2e-6)


def test_guided_sampling_repeats_the_recorded_run(head):
    recorded, _ = load("llm.argmax")
    rows = recorded["diff.z.it0.idx"]
    noise = [recorded[f"noise.{k}"][rows] for k in range(9)]
    residual = head.sample(recorded["diff.z.it0"].flatten(0, 1), cfg=4.0, noise=noise)
    torch.testing.assert_close(residual, recorded["diff.out.it0"][rows], rtol=0, atol=ROUNDING)


def test_unguided_sampling_repeats_the_recorded_run(head):
    """Here z is not recorded, but what it is made of: z = decoder_norm(x_last + word_embed(codebook[idx]))."""
    recorded, notes = load("llm.cfg_unguided_diffusion")
    rows = recorded["h_last.s9.it0.idx"]
    codebook = weights("tokenizer")["vae.quantize.embedding.weight"]
    model = weights("llm")
    embedded = codebook[recorded["idx.s9.it0"][0, rows]] @ model["word_embed.weight"].T + model["word_embed.bias"]
    z = recorded["h_last.s9.it0"] + embedded
    z = z * torch.rsqrt(z.square().mean(-1, keepdim=True) + 1e-6) * model["decoder_norm.weight"]

    torch.manual_seed(notes["torch_seed"])
    noise = [torch.randn(512, CHANNELS)[rows] for _ in range(9)]
    residual = head.sample(z.flatten(0, 1), cfg=1.0, noise=noise)
    torch.testing.assert_close(residual, recorded["diff.out.it0"][rows], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("cfg", "first_rows"), [(4.0, 32), (0.0, 32), (1.0, 64)])
def test_without_generators_the_global_one_is_drawn_in_the_published_order(head, cfg, first_rows):
    z = conditions(1)
    torch.manual_seed(7)
    noise = [torch.randn(first_rows, CHANNELS)] + [torch.randn(64, CHANNELS) for _ in range(8)]
    state = torch.get_rng_state()
    torch.manual_seed(7)
    residual = head.sample(z, cfg=cfg)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(residual, head.sample(z, cfg=cfg, noise=noise))


@pytest.mark.parametrize("cfg", [4.0, 0.0, 1.0])
def test_a_picture_does_not_depend_on_its_batch(head, cfg):
    """The noise is the same to the bit; the matrix products of another row count may round differently."""
    z = conditions(3)
    batch = head.sample(z, cfg=cfg, generators=generators(11, 12, 13)).unflatten(0, (3, -1))
    for picture, seed in enumerate((11, 12, 13)):
        alone = head.sample(pictures_of(z, picture, 3), cfg=cfg, generators=generators(seed))
        torch.testing.assert_close(batch[picture], alone, rtol=0, atol=ROUNDING)


def test_generators_leave_the_global_one_alone(head):
    state = torch.get_rng_state()
    head.sample(conditions(2), cfg=2.0, generators=generators(1, 2))
    assert torch.equal(torch.get_rng_state(), state)


def test_scale_zero_equals_guidance_with_a_vanishing_scale(head):
    z = conditions(1)
    plain = head.sample(z, cfg=0.0, generators=generators(5))
    nearly = head.sample(z, cfg=1e-12, generators=generators(5))
    torch.testing.assert_close(plain, nearly, rtol=0, atol=ROUNDING)


def test_scale_one_ignores_the_unconditional_half(head):
    z = conditions(1)
    changed = torch.cat([z[:32], torch.full_like(z[32:], torch.nan)])
    assert torch.equal(
        head.sample(z, cfg=1.0, generators=generators(5)), head.sample(changed, cfg=1.0, generators=generators(5))
    )


def test_residuals_are_float32_and_bounded_in_half_precision(head):
    residual = head.to(torch.bfloat16).sample(conditions(1).bfloat16(), cfg=4.0, generators=generators(5))
    assert residual.dtype == torch.float32
    assert residual.shape == (32, CHANNELS)
    assert residual.abs().max() <= 0.6


def test_rows_and_noise_that_do_not_fit_are_refused(head):
    z = conditions(1)
    noise = [torch.zeros(32, CHANNELS)] * 8
    with pytest.raises(ValueError, match=r"63 rows"):
        head.sample(z[:63])
    with pytest.raises(ValueError, match=r"generators has 3 entries for 32 rows"):
        head.sample(z, generators=generators(1, 2, 3))
    with pytest.raises(ValueError, match=r"noise has 7 tensors"):
        head.sample(z, noise=noise[:7])
    with pytest.raises(ValueError, match=r"noise\[2\] has shape \[31, 8\]"):
        head.sample(z, noise=[*noise[:2], torch.zeros(31, CHANNELS), *noise[3:]])
    with pytest.raises(ValueError, match=r"noise and generators are both given"):
        head.sample(z, noise=noise, generators=generators(1))


def test_initial_weights_predict_zero_noise():
    torch.manual_seed(0)
    head = ResidualDiffusionHead(CHANNELS, WIDTH, width=WIDTH, depth=2, num_sampling_steps="8")
    init_diffusion_weights(head)
    noise, variance = head.net(torch.randn(4, CHANNELS), torch.randn(4, WIDTH))
    assert not noise.any() and not variance.any()
    assert 0.015 < head.net.time_embed.mlp[0].weight.std() < 0.025
    bound = (6 / (WIDTH + WIDTH)) ** 0.5
    assert 0.9 * bound < head.net.cond_embed.weight.abs().max() <= bound
    assert not any(p.any() for name, p in head.named_parameters() if name.endswith("bias"))


def test_tables_are_not_in_the_state_dict_and_survive_a_meta_load():
    with torch.device("meta"):
        loaded = ResidualDiffusionHead(CHANNELS, WIDTH, width=WIDTH, depth=2, num_sampling_steps="8")
    state = weights("llm", "diffloss.")
    assert set(loaded.state_dict()) == set(state)
    loaded.load_state_dict(state, assign=True)
    built = ResidualDiffusionHead(CHANNELS, WIDTH, width=WIDTH, depth=2, num_sampling_steps="8")
    built.load_state_dict(state)
    z = conditions(1)
    assert torch.equal(
        loaded.sample(z, cfg=4.0, generators=generators(1)), built.sample(z, cfg=4.0, generators=generators(1))
    )
