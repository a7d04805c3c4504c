"""Which share of the work is this process's, where `torchrun` or `accelerate launch` started several."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Rank:
    """Place of a process among all that do the same work.

    Args:
        index: 0-based.
        world: number of processes.
        local: 0-based index among those of this machine.
    """

    index: int = 0
    world: int = 1
    local: int = 0

    def share(self, items: Sequence[Item]) -> list[tuple[int, Item]]:
        """Return every `world`-th item from the `index`-th, each with its place in the whole list."""
        return list(enumerate(items))[self.index :: self.world]

    def named(self, file: str) -> str:
        """Return the name of a file that every process writes for itself: `results.json`, `results_rank1.json`."""
        stem, dot, ending = file.rpartition(".")
        return file if self.world == 1 else f"{stem}_rank{self.index}{dot}{ending}"

    def device(self, name: str | None) -> str | None:
        """Return the device's name; of several processes on a machine with CUDA each has its own card."""
        import torch

        if name not in (None, "cuda") or self.world == 1 or not torch.cuda.is_available():
            return name
        return f"cuda:{self.local}"


def rank_of_process() -> Rank:
    """Read `RANK`, `WORLD_SIZE` and `LOCAL_RANK`; without them the process is alone.

    Raises:
        ValueError: they are not whole numbers, or the rank is not within the world.
    """
    values = {name: os.environ.get(name, default) for name, default in _ALONE.items()}
    for name, value in values.items():
        if not value.isdecimal():
            raise ValueError(f"{name} must be a whole number, got {value!r}.")
    rank = Rank(*(int(value) for value in values.values()))
    if rank.index >= rank.world:
        raise ValueError(f"RANK must be less than WORLD_SIZE, got {rank.index} and {rank.world}.")
    return rank


_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
