"""The noise schedule against the tables of the published code, and the parser of step counts."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hart.modules.diffusion.schedule import DiffusionSchedule, StepConstants, respaced_steps
from tests.golden import load

UNITS, NOTES = load("units")
KEPT_STEPS = NOTES["tensors_checksums"]["space_timesteps_1000"]

PUBLISHED_NAMES = {
    "clean_from_x": "sqrt_recip_alphas_cumprod",
    "clean_from_noise": "sqrt_recipm1_alphas_cumprod",
    "mean_from_clean": "posterior_mean_coef1",
    "mean_from_x": "posterior_mean_coef2",
    "log_variance_min": "posterior_log_variance_clipped",
}


def column(schedule: DiffusionSchedule, field: str) -> torch.Tensor:
    return torch.from_numpy(schedule.table[:, StepConstants._fields.index(field)])


@pytest.mark.parametrize(("spacing", "steps"), KEPT_STEPS.items())
def test_kept_steps_are_the_published_ones(spacing, steps):
    assert respaced_steps(1000, spacing) == steps


@pytest.mark.parametrize(("field", "published"), PUBLISHED_NAMES.items())
def test_table_of_eight_steps_equals_the_published_one(field, published):
    expected = UNITS[f"diffusion.{published}"]
    actual = column(DiffusionSchedule.respaced("8"), field)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


def test_betas_signal_and_step_map_equal_the_published_ones():
    schedule = DiffusionSchedule.respaced("8")
    same = partial(torch.testing.assert_close, rtol=1e-12, atol=0)
    same(torch.from_numpy(schedule.betas), UNITS["diffusion.betas"])
    same(torch.from_numpy(schedule.signal), UNITS["diffusion.alphas_cumprod"])
    assert list(schedule.base_steps) == UNITS["diffusion.timestep_map"].tolist()
    hundreds = torch.from_numpy(DiffusionSchedule.full().signal[::100])
    same(hundreds, UNITS["diffusion.full.alphas_cumprod.every100"])


def test_numbers_of_a_step_equal_the_tensors_of_a_row():
    schedule = DiffusionSchedule.respaced("8")
    rows = schedule.at_rows(torch.tensor([7, 0, 3]))
    for row, step in enumerate([7, 0, 3]):
        for number, tensor in zip(schedule.at_step(step), rows, strict=True):
            assert tensor.shape == (3, 1)
            assert tensor.dtype == torch.float32
            assert tensor[row].item() == np.float32(number)


def test_posterior_of_the_true_noise_is_centred_between_target_and_noisy_token():
    constants = DiffusionSchedule.full().at_step(500)
    clean, noise = torch.tensor([[0.5, -0.25]]), torch.tensor([[1.0, 2.0]])
    noisy = constants.sqrt_signal * clean + constants.sqrt_noise * noise
    mean, log_variance = constants.posterior(noisy, noise, torch.ones_like(noise), clamp=True)
    torch.testing.assert_close(mean, constants.mean_from_clean * clean + constants.mean_from_x * noisy)
    torch.testing.assert_close(log_variance, torch.full_like(noise, constants.log_variance_max))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_every_section_gives_its_count_in_ascending_order(counts):
    steps = respaced_steps(1000, ",".join(map(str, counts)))
    assert len(steps) == sum(counts)
    assert steps == sorted(set(steps))
    assert set(steps) <= set(range(1000))


@pytest.mark.parametrize("spacing", ["", "0", "-3", "8,", "eight", "ddim", "ddimx", "3.5", "1001", "500,501"])
def test_a_text_that_is_no_step_count_is_refused_by_name(spacing):
    with pytest.raises(ValueError, match=r"num_sampling_steps"):
        respaced_steps(1000, spacing)


def test_a_count_without_whole_number_distance_is_refused():
    with pytest.raises(ValueError, match=r"'ddim999'.*whole-number distance"):
        respaced_steps(1000, "ddim999")


def test_a_single_step_is_refused():
    with pytest.raises(ValueError, match=r"'1' keeps a single step; sampling needs at least 2 steps"):
        DiffusionSchedule.respaced("1")
