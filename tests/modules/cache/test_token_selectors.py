"""Token selectors: by hand, and against the tokens that the published FastVAR code kept."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hart.modules.cache.registries import SELECTORS
from hart.modules.cache.token_selectors import (
    SelectorInput,
    num_selected,
    register_selector,
    score_tokens,
    select_tokens,
)
from tests.golden import load

GOLDEN, _ = load("fastvar.argmax")


def row(*tokens):
    return torch.tensor(tokens, dtype=torch.float32)[None]


def test_fastvar_is_the_squared_distance_from_the_mean_token():
    given = SelectorInput(2, row((0, 0), (4, 0), (0, 4), (4, 4)) * torch.tensor([1.0, 2.0]))
    assert score_tokens("fastvar", given).tolist() == [[20, 20, 20, 20]]
    given = SelectorInput(2, row((0,), (0,), (0,), (8,)))
    assert score_tokens("fastvar", given).tolist() == [[4, 4, 4, 36]]


def test_change_is_the_squared_distance_from_the_previous_input():
    given = SelectorInput(2, row((1,), (2,), (3,), (7,)), previous_RnC=row((1,), (1,), (1,), (1,)))
    assert score_tokens("change", given).tolist() == [[0, 1, 4, 36]]
    assert score_tokens("centred_change", given).tolist() == [[2.25**2, 1.25**2, 0.25**2, 3.75**2]]


def test_a_shift_of_all_tokens_is_no_centred_change():
    x_RnC = torch.randn(2, 9, 4)
    given = SelectorInput(3, x_RnC + 5, previous_RnC=x_RnC)
    assert score_tokens("centred_change", given).max() < 1e-9


def test_fhat_cosine_finds_where_the_map_turned():
    before = torch.ones(1, 3, 4, 4)
    after = before.clone()
    after[:, :, 2:, 2:] *= -1
    given = SelectorInput(2, torch.zeros(2, 4, 5), map_before_BcPP=before, map_after_BcPP=after)
    torch.testing.assert_close(score_tokens("fhat_cosine", given), torch.tensor([[0.0, 0, 0, 2]]), atol=1e-6, rtol=0)


def test_edge_finds_the_step_and_not_the_flat():
    after = torch.zeros(1, 2, 4, 4)
    after[..., 2:] = 3
    scores = score_tokens("edge", SelectorInput(4, torch.zeros(2, 16, 5), map_after_BcPP=after)).view(4, 4)
    torch.testing.assert_close(scores, torch.tensor([0, 2**0.5, 2**0.5, 0]).repeat(4, 1), atol=1e-6, rtol=1e-6)


def test_random_is_a_picture_s_own_and_the_same_every_time():
    def draw(rows, *seeds):
        return score_tokens("random", SelectorInput(4, torch.randn(rows, 16, 2), seeds=seeds))

    scores = draw(6, 7)
    assert (scores == scores[0]).all() and torch.equal(scores[:2], draw(2, 7))
    assert not torch.equal(scores, draw(6, 8))
    both = draw(4, 7, 2**63 - 1)
    assert torch.equal(both[::2], draw(2, 7)) and not torch.equal(both[0], both[1])


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("change", "previous_RnC"),
        ("centred_change", "previous_RnC"),
        ("fhat_cosine", "map_before_BcPP"),
        ("edge", "map_after_BcPP"),
    ],
)
def test_what_a_selector_needs_is_named(name, missing):
    with pytest.raises(ValueError, match=f"{missing} is None; allowed for token selector '{name}' is a tensor"):
        score_tokens(name, SelectorInput(2, torch.zeros(2, 4, 1)))


def test_selection_is_ascending_and_ties_go_to_the_first():
    scores = torch.tensor([[1.0, 5, 3, 5], [2, 2, 2, 2]])
    assert select_tokens(scores, 0.5, rows=4).tolist() == [[1, 3], [0, 1], [1, 3], [0, 1]]


def test_both_halves_take_the_same_tokens_unless_told_otherwise():
    scores = torch.tensor([[9.0, 0, 0, 4], [0, 8, 0, 7]])  # one picture: conditional, unconditional
    assert select_tokens(scores, 0.25, rows=2).tolist() == [[3], [3]]
    assert select_tokens(scores, 0.25, rows=2, per_row=True).tolist() == [[0], [1]]


def test_scores_per_picture_serve_both_halves_in_either_case():
    scores = torch.tensor([[9.0, 0], [0, 9]])
    for per_row in (False, True):
        assert select_tokens(scores, 0.5, rows=4, per_row=per_row).tolist() == [[0], [1], [0], [1]]


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="rows is 3; allowed for scores"):
        select_tokens(torch.zeros(3, 4), 0.5, rows=3)
    with pytest.raises(ValueError, match="rows is 8; allowed for scores"):
        select_tokens(torch.zeros(2, 4), 0.5, rows=8)


def test_a_registered_selector_is_used_and_its_shape_checked():
    register_selector("last", lambda given: torch.arange(float(given.x_RnC.shape[1])).repeat(len(given.x_RnC), 1))
    register_selector("flat", lambda given: torch.zeros(4))
    try:
        given = SelectorInput(2, torch.zeros(2, 4, 1))
        assert select_tokens(score_tokens("last", given), 0.5, rows=2).tolist() == [[2, 3], [2, 3]]
        with pytest.raises(ValueError, match=r"'flat' gave \[4\]; allowed are \[2, 4\] and \[1, 4\]"):
            score_tokens("flat", given)
    finally:
        SELECTORS.remove("last")
        SELECTORS.remove("flat")


@given(percent=st.integers(0, 100), side=st.integers(1, 64))
def test_count_is_the_ceiling_and_fastvars_rule(percent, side):
    """In whole numbers: ceil(n * p / 100) = n - floor(n * (100 - p) / 100)."""
    n = side * side
    count = num_selected(percent / 100, n)
    assert count == -(-n * percent // 100) == n - n * (100 - percent) // 100


@settings(max_examples=40, deadline=None)
@given(
    ratio=st.floats(0, 1),
    side=st.integers(1, 8),
    pictures=st.integers(1, 3),
    per_row=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_selection_is_a_set_of_the_best(ratio, side, pictures, per_row, seed):
    scores = torch.rand(2 * pictures, side * side, generator=torch.Generator().manual_seed(seed))
    index = select_tokens(scores, ratio, 2 * pictures, per_row)
    assert index.shape == (2 * pictures, num_selected(ratio, side * side))
    assert (index.diff(dim=1) > 0).all()
    if per_row and 0 < index.shape[1] < side * side:
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, index, True)
        for one, keep in zip(scores, chosen, strict=True):
            assert one[keep].min() >= one[~keep].max()
    if not per_row:
        assert torch.equal(index[:pictures], index[pictures:])


@pytest.mark.parametrize(("side", "dropped"), [(13, 0.5), (16, 0.75)])
def test_the_published_code_kept_as_many_tokens(side, dropped):
    kept = GOLDEN[f"kept_sorted.side{side}.call0"]
    scores = torch.randn(2, side * side)
    assert select_tokens(scores, 1 - dropped, rows=2, per_row=True).shape == kept.shape
    assert (kept.diff(dim=1) > 0).all()
