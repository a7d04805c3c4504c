"""Fidelity where there is a truth."""

import pytest
import torch

from hart import sample_prompts
from hart.demo.fidelity import psnr_to_truth
from hart.evaluation.artwork import true_pictures


def picture(prompt: str) -> torch.Tensor:
    """The true picture of a caption, as a pipeline gives pictures."""
    return torch.from_numpy(true_pictures([prompt])[0]).permute(2, 0, 1)[None].float() / 255


def test_the_truth_is_nearer_to_itself_than_another_picture():
    prompt, other = sample_prompts()[:2]
    assert psnr_to_truth(picture(prompt), prompt) == 100
    assert psnr_to_truth(picture(other), prompt) < 20


@pytest.mark.parametrize(
    ("prompt", "side"), [("a cathedral at dusk", 128), (sample_prompts()[0], 64)], ids=["no caption", "another size"]
)
def test_there_is_no_truth_for_other_prompts_and_sizes(prompt, side):
    assert psnr_to_truth(torch.zeros(1, 3, side, side), prompt) is None
