"""Guidance, filters and draws against the published sampler."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hart.modules.networks.sampling import (
    Places,
    _exponential_like,
    guide,
    keep_top_k,
    keep_top_p,
    sample_codes,
    skip_draws,
    soft_codes,
    stage_top_k,
    tokens_to_decode,
)
from tests.golden import load

UNITS, NOTES = load("units")
CASES = list(enumerate(NOTES["sampler_cases"]))


@pytest.mark.parametrize(("number", "case"), CASES)
def test_a_recorded_draw_is_repeated(number, case):
    """Filters, categorical draw and, from the same generator, the Gumbel mixture on the filtered logits."""
    logits = UNITS["sampler.logits"].clone()
    vocab = logits.shape[-1]
    generator = torch.Generator().manual_seed(case["seed"])
    keep_top_p(keep_top_k(logits, case["top_k"]), case["top_p"])
    assert torch.equal(torch.isfinite(logits).sum(-1), UNITS[f"sampler.kept.{number}"])
    assert torch.equal(sample_codes(logits, generator), UNITS[f"sampler.idx.{number}"])
    # With the identity as codebook the mixture is its weights. 1 + ratio = 1.3 and tau = 0.1 were recorded, which no
    # ratio gives together, so the logits carry what is left over of the factor.
    ratio = (1 - 0.1 / 0.27) / 0.95
    scaled = logits * (1.3 / (1 + ratio))
    soft = soft_codes(scaled, ratio, torch.eye(vocab), generator)
    index = UNITS[f"sampler.soft_after_idx.{number}"]
    torch.testing.assert_close(soft.gather(-1, index), UNITS[f"sampler.soft_after.{number}"], rtol=0, atol=2e-5)
    assert not soft[~torch.isfinite(logits)].any()


@pytest.mark.parametrize("key", NOTES["tensors_checksums"]["maskgit_tokens_per_iteration"])
def test_rounds_of_masked_decoding_are_the_published_ones(key):
    length, iterations = (int(part.lstrip("Liters")) for part in key.split("."))
    expected = NOTES["tensors_checksums"]["maskgit_tokens_per_iteration"][key]
    assert tokens_to_decode(math.isqrt(length), iterations) == expected


@given(side=st.integers(1, 20), iterations=st.integers(1, 40))
def test_rounds_cover_every_token_once(side, iterations):
    iterations = min(iterations, side * side)
    counts = tokens_to_decode(side, iterations)
    assert sum(counts) == side * side
    assert len(counts) == iterations
    assert min(counts) >= 1


def test_top_k_rule():
    assert [stage_top_k(0, stage, 4096) for stage in (0, 6, 7, 13)] == [600, 600, 300, 300]
    assert stage_top_k(0, 0, 128) == 128  # the published code fails when the codebook is smaller
    assert stage_top_k(1, 9, 4096) == 1
    assert stage_top_k(5000, 9, 4096) == 4096


def test_ties_at_the_threshold_survive():
    logits = keep_top_k(torch.tensor([[[3.0, 1.0, 2.0, 2.0]]]), 2)
    assert torch.isfinite(logits).tolist() == [[[True, False, True, True]]]


@pytest.mark.parametrize("k", [1, 5, 31])
def test_top_k_keeps_what_lies_at_or_above_the_kth_largest(k):
    logits = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(k))
    kth = logits.sort(dim=-1, descending=True).values[..., k - 1 : k]
    assert torch.equal(torch.isfinite(keep_top_k(logits.clone(), k)), logits >= kth)


def test_top_p_always_keeps_the_largest():
    logits = keep_top_p(torch.tensor([[[0.0, 10.0, 1.0]]]), 1e-9)
    assert torch.isfinite(logits).tolist() == [[[False, True, False]]]


def test_guidance():
    logits = torch.tensor([[[1.0]], [[3.0]]])  # conditional, unconditional
    assert guide(logits, 0.0).item() == 1
    assert guide(logits, 2.0).item() == 3 * 1 - 2 * 3


def test_generators_per_picture_draw_as_if_alone():
    logits = UNITS["sampler.logits"]
    together = sample_codes(logits, [torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)])
    for picture, seed in enumerate((5, 6)):
        alone = sample_codes(logits[picture : picture + 1], torch.Generator().manual_seed(seed))
        assert torch.equal(together[picture : picture + 1], alone)


def test_soft_codes_per_picture_draw_as_if_alone():
    logits, codebook = UNITS["sampler.logits"], torch.randn(640, 8, generator=torch.Generator().manual_seed(0))
    together = soft_codes(logits, 0.5, codebook, [torch.Generator().manual_seed(seed) for seed in (5, 6)])
    for picture, seed in enumerate((5, 6)):
        alone = soft_codes(logits[picture : picture + 1], 0.5, codebook, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(together[picture : picture + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_some_tokens_draw_what_they_would_among_all(shared):
    logits, codebook = UNITS["sampler.logits"], torch.randn(640, 8, generator=torch.Generator().manual_seed(0))
    count = logits.shape[1]
    index = torch.stack([torch.randperm(count)[: count // 2].sort().values for _ in logits])
    places = Places(index, count)

    def generators():
        made = [torch.Generator().manual_seed(seed) for seed in range(len(logits))]
        return made[0] if shared else made

    for draw in (
        lambda x, places=None: sample_codes(x, generators(), places)[..., None],
        lambda x, places=None: soft_codes(x, 0.5, codebook, generators(), places),
    ):
        torch.testing.assert_close(draw(places.take(logits), places), places.take(draw(logits)), rtol=0, atol=1e-5)


def test_skipped_draws_leave_generators_where_draws_do():
    logits = UNITS["sampler.logits"]
    drawn, skipped = ([torch.Generator().manual_seed(7) for _ in logits] for _ in range(2))
    sample_codes(logits, drawn)
    skip_draws(torch.empty_like(logits), skipped)
    for ours, expected in zip(skipped, drawn, strict=True):
        assert torch.equal(ours.get_state(), expected.get_state())


def test_exponential_numbers_of_some_tokens_are_torch_s():
    """They are made from the generator's bits as torch makes them on CPU; another torch may do it otherwise."""
    index = torch.tensor([[1, 5, 6]])
    drawn = torch.empty(1, 9, 400).exponential_(generator=torch.Generator().manual_seed(3))
    ours = _exponential_like(torch.empty(1, 3, 400), [torch.Generator().manual_seed(3)], Places(index, 9))
    torch.testing.assert_close(ours, drawn[:, index[0]], rtol=1e-6, atol=0)
