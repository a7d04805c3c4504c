"""The scripts behind the guide's comparisons, each on as little as it can run with."""

import pytest
import torch

from hart import HARTPipeline
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from tests.scripts.conftest import script


@pytest.fixture(scope="module")
def embedded() -> HARTPipeline:
    return HARTPipeline.from_pretrained(progress=False)


def test_full_skip_times_the_last_stage_with_and_without_reuse(embedded):
    found = script("full_skip").measure(EnhancedHARTForT2I.from_hart(embedded.model), 1)
    assert (found["stage"], found["depth"], found["width"]) == (256, 6, 256)
    assert all(value > 0 for value in (*found["milliseconds"].values(), found["share"]))


def test_estimators_are_ranked_over_everything_and_over_prompts(embedded):
    estimators = script("estimators")
    samples = estimators.probe(embedded, "held-out", 2)
    assert {sample["stage"] for sample in samples} == set(estimators.STAGES)
    assert set(estimators.place(samples[-1])) == {"mlp", 5, 256}
    found = estimators.estimates(samples)
    assert {"stage input", "first block", "input of the branch", "last computed transition"} <= set(found)
    assert all(-1 <= value <= 1 for figures in found.values() for value in figures.values())
    perfect = [sample | {"oracle": 2 * sample["cosine"]} for sample in samples]
    assert estimators.correlations(perfect, "oracle") == {"all": 1.0, "prompts": 1.0}


def test_token_selectors_run_the_share_asked_for_or_what_a_budget_leaves(embedded):
    selectors = script("token_selectors")
    prompts = ["a 3d owl on a green background"]
    half = selectors.measure(embedded, prompts, "fhat_cosine")
    assert half["share"] == 0.5 and 10 < half["psnr"] < 60
    most, least = (selectors.measure(embedded, prompts, "fhat_cosine", budget)["share"] for budget in (0.01, 0.5))
    assert 0 <= least < most <= 1


def test_joined_selectors_rank_tokens_as_their_parts_agree():
    selectors = script("token_selectors")

    class Given:
        seeds = (1,)

    one, other = torch.tensor([[1.0, 5.0, 3.0]]), torch.tensor([[0.1, 0.9, 0.5]])
    joined = selectors.by_rank(lambda _: one, lambda _: other)(Given())
    assert joined.argmax() == 1 and joined.argmin() == 0
