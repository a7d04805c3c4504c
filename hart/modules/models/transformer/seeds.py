"""Random draws of one generation: generators per picture, so that a seed means one picture wherever it stands."""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from hart.modules.networks.sampling import Generators
from hart.utils.numbers import is_whole
from hart.utils.seeds import SEED_RANGE, checked_seeds

Seed = int | Sequence[int] | torch.Generator | Sequence[torch.Generator] | None

# Permutations and diffusion noise come from generators of their own, so that the codes' draws equal the published
# ones whether or not the other draws happen. Any odd constant does; this one spreads neighbouring seeds.
OTHER_STREAM = 0x9E3779B97F4A7C15


class PictureRandom:
    """Generators of every picture.

    Args:
        seed: see `HARTForT2I.autoregressive_infer_cfg`.
        num_pictures: pictures B.
        device: where draws happen.

    Attributes:
        sampling: draws codes: one generator per picture, or the one that the caller's batch shares.
        noise: draws diffusion noise and permutations: one generator per picture.

    Raises:
        ValueError: as many seeds as pictures are needed, the seed is none of the allowed kinds, or a generator
            lives on another device.
    """

    def __init__(self, seed: Seed, num_pictures: int, device: torch.device):
        self.sampling: Generators
        if isinstance(seed, torch.Generator):
            _check_device(seed, device)
            self.sampling = seed
            seeds = _draw_seeds(num_pictures, seed)
        else:
            self.sampling, seeds = _per_picture(seed, num_pictures, device)
        self.noise = [_generator((value + OTHER_STREAM) % SEED_RANGE, device) for value in seeds]

    def picture(self, index: int) -> "PictureRandom":
        """The same generators, for one picture alone.

        Raises:
            TypeError: the batch shares one generator for its codes.
        """
        if not isinstance(self.sampling, list):
            raise TypeError("one generator draws for the whole batch; no picture has its own.")
        one = copy(self)
        one.sampling, one.noise = [self.sampling[index]], [self.noise[index]]
        return one

    def orders(self, num_tokens: int) -> Tensor:
        """A permutation per picture [B, num_tokens]."""
        return torch.stack([torch.randperm(num_tokens, generator=g, device=g.device) for g in self.noise])


def _per_picture(seed: Seed, num_pictures: int, device: torch.device) -> tuple[list[torch.Generator], list[int]]:
    if seed is None:
        seeds = _draw_seeds(num_pictures, None)
    elif is_whole(seed):
        seeds = [int(seed) + picture for picture in range(num_pictures)]
    elif isinstance(seed, Sequence) and len(seed) == num_pictures:
        generators = [entry for entry in seed if isinstance(entry, torch.Generator)]
        if len(generators) == num_pictures:
            for generator in generators:
                _check_device(generator, device)
            return generators, [_draw_seeds(1, generator)[0] for generator in generators]
        seeds = list(seed)  # type: ignore[arg-type]  # checked below, entry by entry
    else:
        given = f"{len(seed)} seeds" if isinstance(seed, Sequence) and not isinstance(seed, str) else repr(seed)
        raise ValueError(f"g_seed is {given}; allowed is an int, {num_pictures} ints (one per picture) or None.")
    seeds = checked_seeds("g_seed", seeds)
    return [_generator(value, device) for value in seeds], seeds


def _check_device(generator: torch.Generator, device: torch.device) -> None:
    given, indices = generator.device, {generator.device.index, device.index} - {None}
    if given.type != device.type or len(indices) > 1:
        raise ValueError(
            f"g_seed holds a generator on {str(given)!r}; allowed is the model's device: "
            f"torch.Generator(device={str(device)!r})."
        )


def _draw_seeds(count: int, generator: torch.Generator | None) -> list[int]:
    """Seeds for the other stream; drawn from a copy, so that a caller's generator stays where it is."""
    if generator is not None:
        generator = generator.clone_state()
    device = generator.device if generator is not None else None
    return torch.randint(2**62, (count,), generator=generator, device=device).tolist()


def _generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)
