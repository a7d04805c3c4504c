"""The training loss: its pieces by hand arithmetic, its gradients, its noise."""

import math

import pytest
import torch

from hart.modules.diffusion import DiffusionSchedule, ResidualDiffusionHead
from hart.modules.diffusion.loss import diffusion_loss, discretized_log_likelihood, gaussian_divergence
from tests.golden import weights

CHANNELS, WIDTH, ROWS = 8, 64, 64


@pytest.fixture
def head() -> ResidualDiffusionHead:
    head = ResidualDiffusionHead(CHANNELS, WIDTH, width=WIDTH, depth=2, num_sampling_steps="8")
    head.load_state_dict(weights("llm", "diffloss."))
    return head


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = 0.2 * torch.randn(ROWS, CHANNELS, generator=generator)
    return target, torch.randn(ROWS, WIDTH, generator=generator)


def test_divergence_agrees_with_torch_distributions():
    p = torch.distributions.Normal(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.5]))
    q = torch.distributions.Normal(torch.tensor([0.3, 1.0]), torch.tensor([2.0, 0.5]))
    ours = gaussian_divergence(p.mean, p.variance.log(), q.mean, q.variance.log())
    torch.testing.assert_close(ours, torch.distributions.kl_divergence(p, q))


def test_likelihood_is_the_mass_of_the_bin_and_sums_to_one():
    centres = torch.linspace(-1, 1, 256, dtype=torch.float64)
    log_scale = torch.full_like(centres, math.log(0.3))
    log_likelihood = discretized_log_likelihood(centres, torch.full_like(centres, 0.1), log_scale)
    assert log_likelihood.exp().sum().item() == pytest.approx(1.0, abs=1e-9)
    normal = torch.distributions.Normal(0.1, 0.3)
    mass = normal.cdf(centres[100] + 1 / 255) - normal.cdf(centres[100] - 1 / 255)
    assert log_likelihood[100].exp().item() == pytest.approx(mass.item(), rel=5e-3)


def test_a_perfect_prediction_costs_nothing():
    """With the true noise and the smallest variance both terms vanish (steps above 0)."""
    target, _ = batch()
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    steps = torch.arange(1, ROWS + 1)
    per_row = diffusion_loss(
        DiffusionSchedule.full(), lambda noisy: (noise, torch.full_like(noisy, -1.0)), target, steps, noise
    )
    torch.testing.assert_close(per_row, torch.zeros(ROWS), rtol=0, atol=1e-5)


def test_a_prediction_of_zero_costs_the_noise_itself_plus_a_positive_bound():
    target, _ = batch()
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    steps = torch.arange(1, ROWS + 1) * 10
    zero = torch.zeros_like(noise)
    per_row = diffusion_loss(DiffusionSchedule.full(), lambda noisy: (zero, zero), target, steps, noise)
    assert (per_row > noise.square().mean(dim=1)).all()


def test_the_bound_sends_no_gradient_into_the_predicted_noise():
    target, _ = batch()
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    predicted = torch.zeros_like(noise, requires_grad=True)
    variance = torch.zeros_like(noise, requires_grad=True)
    steps = torch.arange(ROWS)
    diffusion_loss(DiffusionSchedule.full(), lambda _: (predicted, variance), target, steps, noise).sum().backward()
    torch.testing.assert_close(predicted.grad, -2 * noise / CHANNELS)
    assert (variance.grad != 0).any(dim=1).all()


def test_loss_repeats_with_a_generator_and_leaves_the_global_one_alone(head):
    state = torch.get_rng_state()
    first, second = (head.loss(*batch(), generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_global_draws_come_in_the_published_order(head):
    torch.manual_seed(5)
    steps, noise = torch.randint(0, 1000, (ROWS,)), torch.randn(ROWS, CHANNELS)
    torch.manual_seed(5)
    assert torch.equal(head.loss(*batch()), head.loss(*batch(), steps_R=steps, noise_Rc=noise))


@pytest.mark.parametrize("autocast", [False, True])
def test_loss_and_gradients_are_finite(head, autocast):
    target, z = batch()
    steps = torch.linspace(0, 999, ROWS).long()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = head.loss(target, z.requires_grad_(), generator=torch.Generator().manual_seed(0), steps_R=steps)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert z.grad is not None and z.grad.abs().sum() > 0
