"""One seed per picture."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hart.utils import picture_seeds


@given(st.integers(0, 2**63 - 100), st.integers(1, 99))
def test_a_number_counts_up(seed, count):
    assert picture_seeds(count, seed) == [seed + i for i in range(count)]


def test_numbers_of_numpy_are_seeds():
    seeds = picture_seeds(2, np.int64(7)) + picture_seeds(2, [np.int32(1), np.uint8(2)])
    assert seeds == [7, 8, 1, 2] and all(type(seed) is int for seed in seeds)


def test_a_list_stays_itself():
    assert picture_seeds(3, [4, 4, 0]) == [4, 4, 0]


def test_a_generator_is_moved_on_and_repeats_from_its_seed():
    generator = torch.Generator().manual_seed(1)
    first, second = picture_seeds(2, generator=generator), picture_seeds(2, generator=generator)
    assert first != second
    assert picture_seeds(4, generator=torch.Generator().manual_seed(1)) == first + second


def test_the_global_generator_is_the_last_resort():
    torch.manual_seed(5)
    first = picture_seeds(2)
    torch.manual_seed(5)
    assert picture_seeds(2) == first


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"seed": "12"}, r"seed is '12'; allowed is a whole number, a list of 2"),
        ({"seed": True}, r"seed is True"),
        ({"seed": 1.0}, r"seed is 1.0"),
        ({"seed": [1]}, r"seed has 1 entries; allowed are 2, one per picture"),
        ({"seed": [1, None]}, r"seed holds None"),
        ({"seed": 2**63 - 1}, r"seed holds 9223372036854775808; allowed are whole numbers from 0 to 2\*\*63 - 1"),
        ({"generator": 3}, r"generator is 3; allowed is a torch.Generator"),
        ({"generator": [torch.Generator()]}, r"generator has 1 entries; allowed are 2"),
    ],
)
def test_bad_seeds_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        picture_seeds(2, **given)
