"""One seed per picture, from whatever the caller gave."""

from collections.abc import Sequence
from typing import Any

import torch

from hart.utils.numbers import is_whole

SEED_RANGE = 2**63
# Drawn seeds stay short enough to be read aloud and typed again.
DRAWN_RANGE = 2**31

Generators = torch.Generator | Sequence[torch.Generator] | None


def picture_seeds(count: int, seed: int | Sequence[int] | None = None, generator: Generators = None) -> list[int]:
    """Return the seed of every picture, so that a picture can be painted again alone.

    Args:
        count: number of pictures.
        seed: an int s gives picture i the seed s + i; a list holds one per picture.
        generator: seeds are drawn from it instead, which moves it on; a list holds one generator per picture.
            Without either, seeds are drawn from torch's global generator.

    Raises:
        ValueError: both are given, a list of the wrong length, or a seed outside 0 to 2**63 - 1.
    """
    if seed is not None and generator is not None:
        raise ValueError("seed and generator are both given; give one of them.")
    if seed is None:
        return _drawn(count, generator)
    seeds: list[Any]
    if is_whole(seed):
        seeds = [int(seed) + picture for picture in range(count)]
    elif isinstance(seed, Sequence) and not isinstance(seed, str):
        _check_count("seed", len(seed), count)
        seeds = list(seed)
    else:
        raise ValueError(f"seed is {seed!r}; allowed is a whole number, a list of {count} (one per picture) or None.")
    return checked_seeds("seed", seeds)


def checked_seeds(name: str, seeds: Sequence[Any]) -> list[int]:
    """Return seeds as ints; a ValueError names the argument and the first that is none."""
    for value in seeds:
        if not is_whole(value) or not 0 <= value < SEED_RANGE:
            raise ValueError(f"{name} holds {value!r}; allowed are whole numbers from 0 to 2**63 - 1.")
    return [int(value) for value in seeds]


def _drawn(count: int, generator: Generators) -> list[int]:
    if generator is None or isinstance(generator, torch.Generator):
        device = generator.device if generator is not None else "cpu"
        return torch.randint(DRAWN_RANGE, (count,), generator=generator, device=device).tolist()
    if not isinstance(generator, Sequence) or not all(isinstance(entry, torch.Generator) for entry in generator):
        raise ValueError(f"generator is {generator!r}; allowed is a torch.Generator, a list of {count} or None.")
    _check_count("generator", len(generator), count)
    return [_drawn(1, entry)[0] for entry in generator]


def _check_count(name: str, given: int, count: int) -> None:
    if given != count:
        raise ValueError(f"{name} has {given} entries; allowed are {count}, one per picture.")
