"""Rules of other people, and the plainest ones, as settings of the same cache: `peers/*.json`.

Their stage numbers are those of the ten-stage pyramid and move to others by rank, exactly as presets' do.
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.config_checks import DEFAULT_STAGES
from hart.modules.cache.presets import move_stages, stages_of
from hart.modules.cache.registry import unknown

PREFIX = "peer/"


def peer_names() -> list[str]:
    """Names of all peers, in alphabetical order, such as `peer/fastvar`."""
    folder = files("hart.benchmark.settings") / "peers"
    return sorted(PREFIX + file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def read_peer(name: str, patch_nums: Sequence[int]) -> tuple[str, HARTCacheConfig]:
    """Why a peer is there, and its settings on a pyramid.

    Args:
        name: one of `peer_names()`.
        patch_nums: sides of the model's stages.

    Raises:
        ValueError: unknown name, or a pyramid that lacks the stages that the peer is about.
    """
    if name not in peer_names():
        raise ValueError(unknown("peer", name, peer_names()))
    file = files("hart.benchmark.settings") / "peers" / f"{name.removeprefix(PREFIX)}.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    given = {"skip_stages": [], "cache_stages": [], "drop_stages": []} | content["config"]
    fields = move_stages(given, DEFAULT_STAGES, stages_of(patch_nums))
    lost = [field for field in given if given[field] and not fields[field]]
    config = HARTCacheConfig.from_dict(fields)
    if lost:
        raise ValueError(
            f"{name} leaves {lost[0]} empty on patch_nums {tuple(patch_nums)}; allowed are longer pyramids."
        )
    return content["why"], config
