"""Rotary tables and their application against the published numbers."""

import pytest
import torch

from hart.modules.networks.rope import image_rope, rotate, text_rope, token_map_positions
from tests.golden import load

UNITS, NOTES = load("units")
TEN, FOURTEEN = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16), (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64)
TABLES = [("K10.s3", TEN, 3), ("K10.s7", TEN, 7), ("K10.s9", TEN, 9), ("K14.s12", FOURTEEN, 12)]


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)


def test_text_tables_are_the_published_ones():
    rope = text_rope(UNITS["rope1d.pos"], 16, torch.float32)
    close(rope.cos[:, 0], UNITS["rope1d.cos"])
    close(rope.sin[:, 0], UNITS["rope1d.sin"])


@pytest.mark.parametrize(("name", "sides", "stage"), TABLES)
def test_image_tables_are_the_published_ones(name, sides, stage):
    position = token_map_positions(sides[stage], sides[-1], torch.tensor([8]))
    rope = image_rope(position, 16, torch.float32)
    for part, ours in (("pos", position), ("cos", rope.cos[:, 0]), ("sin", rope.sin[:, 0])):
        key = f"rope2d.{name}.{part}"
        close(ours[:, UNITS[f"{key}.idx"]], UNITS[key])
        summary = NOTES["tensors_checksums"][key]
        assert list(ours.shape) == summary["shape"]
        assert float(ours.double().sum()) == pytest.approx(summary["sum"], abs=1e-6 * ours.numel())
        assert float(ours.double().abs().sum()) == pytest.approx(summary["abs_sum"], abs=1e-6 * ours.numel())


def test_application_is_the_published_one():
    rope = text_rope(UNITS["rope1d.pos"], 16, torch.float32)
    close(rotate(UNITS["rope_apply.in"], rope), UNITS["rope_apply.out"])


def test_a_token_of_the_3x3_stage_stands_where_the_specification_says():
    position = token_map_positions(3, 4, torch.tensor([8]))[0, 1 * 3 + 2]
    close(position, torch.tensor([9.3333333, 10.6666667]))


def test_the_picture_starts_at_the_rows_own_offset():
    position = token_map_positions(2, 4, torch.tensor([5, 0]))
    assert position[:, 0].tolist() == [[5, 5], [0, 0]]
    assert position[:, 3].tolist() == [[7, 7], [2, 2]]


def test_selecting_tokens_selects_their_tables():
    rope = image_rope(token_map_positions(4, 4, torch.tensor([3, 7])), 16, torch.float32)
    index = torch.tensor([[0, 5, 9], [2, 3, 15]])
    chosen = rope.select(index)
    for row in range(2):
        assert torch.equal(chosen.cos[row, 0], rope.cos[row, 0, index[row]])
        assert torch.equal(chosen.sin[row, 0], rope.sin[row, 0, index[row]])


def test_tables_are_computed_in_float32_and_cast_last():
    position = torch.tensor([[250]])
    half = text_rope(position, 16, torch.bfloat16)
    assert torch.equal(half.cos, text_rope(position, 16, torch.float32).cos.bfloat16())
