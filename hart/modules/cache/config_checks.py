"""What each field of `HARTCacheConfig` may hold; standard library only.

Every failure is one sentence that names the field, its value and what is allowed. Numbers are Python's own, where
`hart.utils.numbers` takes numpy's as well: settings are written as JSON, which cannot hold those.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from hart.modules.cache.registry import unknown

DEFAULT_STAGES = (1, 4, 9, 16, 25, 36, 64, 100, 169, 256)
"""Stages of `patch_nums = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)`, for which stage numbers are written by default."""

Rule = tuple[Callable[[Any], bool], str]


class Settings(Protocol):
    """What checks read of a `HARTCacheConfig` beside the fields that they name in `RULES`."""

    skip_stages: list[int]
    cache_stages: list[int]
    drop_stages: list[int]
    refresh_ratio: dict[int, float]
    unselected: str

    @property
    def needs_source(self) -> bool: ...


def is_whole(value: Any, least: int) -> bool:
    """A whole number from `least`; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any, low: float, high: float = math.inf) -> bool:
    """A finite number within the bounds; True and False are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and low <= value <= high


def _distinct_whole(value: Any, least: int) -> bool:
    return isinstance(value, list) and all(is_whole(v, least) for v in value) and len(set(value)) == len(value)


def _ratios(value: Any) -> bool:
    return isinstance(value, dict) and all(is_whole(k, 1) and is_number(v, 0, 1) for k, v in value.items())


def _one_of(*allowed: str) -> Rule:
    return (lambda value: isinstance(value, str) and value in allowed), " or ".join(repr(name) for name in allowed)


def _or_none(rule: Rule) -> Rule:
    return (lambda value: value is None or rule[0](value)), f"None or {rule[1]}"


_STAGES: Rule = (lambda value: _distinct_whole(value, 1)), "a list of token counts (whole numbers from 1), none twice"
_LAYERS: Rule = (lambda value: _distinct_whole(value, 0)), "a list of layers (whole numbers from 0), none twice"
_COUNT: Rule = (lambda value: is_whole(value, 1)), "a whole number from 1"
_FROM_ZERO: Rule = (lambda value: is_whole(value, 0)), "a whole number from 0"
_UNIT: Rule = (lambda value: is_number(value, 0, 1)), "a number from 0 to 1"
_FLAG: Rule = (lambda value: isinstance(value, bool)), "True or False"
_NAME: Rule = (lambda value: isinstance(value, str) and value != ""), "a name"

RULES: dict[str, Rule] = {
    "skip_stages": _STAGES,
    "cache_stages": _STAGES,
    "enable_attn_cache": _FLAG,
    "enable_mlp_cache": _FLAG,
    "threshold": _UNIT,
    "adaptive_threshold": _FLAG,
    "interpolation_mode": _NAME,
    "calibration_samples": _COUNT,
    "similarity_window": _COUNT,
    "refresh_ratio": (_ratios, "a dict from stage (whole number from 1) to a number from 0 to 1"),
    "unselected": _one_of("reuse", "nothing"),
    "token_selector": _NAME,
    "select_per_branch": _FLAG,
    "select_per_row": _FLAG,
    "reuse_codes": _one_of("sampled", "soft"),
    "drop_stages": _STAGES,
    "unguided_from": _or_none(_COUNT),
    "attn_kv": _one_of("append", "drop"),
    "estimator": _one_of("auto", "online", "calibrated"),
    "similarity_metric": _NAME,
    "sim_path": _or_none(_NAME),
    "attn_threshold": _or_none(_UNIT),
    "mlp_threshold": _or_none(_UNIT),
    "threshold_schedule": _NAME,
    "adaptive_range": _UNIT,
    "layers": _or_none(_LAYERS),
    "attn_layers": _or_none(_LAYERS),
    "mlp_layers": _or_none(_LAYERS),
    "first_layers": _FROM_ZERO,
    "corrector_layers": _FROM_ZERO,
    "memory_budget_mb": _or_none((lambda value: is_number(value, 0), "a finite number from 0")),
    "eviction": _NAME,
}


NOT_WITH_NOTHING: dict[str, tuple[Any, str]] = {
    "select_per_row": (False, "guidance needs both halves of a picture to run the same tokens"),
    "select_per_branch": (False, "a token is left out for a whole stage"),
    "reuse_codes": ("sampled", "no token is reused"),
}
"""Fields whose one value fits tokens that add nothing, and why."""


def check_values(config: Settings) -> None:
    """Types, ranges and duplicates, field by field.

    Raises:
        ValueError: the first field that fails.
    """
    for name, (allows, allowed) in RULES.items():
        value = getattr(config, name)
        if not allows(value):
            raise ValueError(f"{name} is {value!r}; allowed is {allowed}.")


def check_names(config: Settings, names: Mapping[str, Collection[str]]) -> None:
    """Fields that name something registered, against the known names by field."""
    for field, known in names.items():
        value = getattr(config, field)
        if value not in known:
            raise ValueError(unknown(field, value, known))


def check_stages(config: Settings, stages: Sequence[int]) -> None:
    """Whether the stages named exist in this pyramid and fit together."""
    known = set(stages)
    for field in ("skip_stages", "cache_stages", "drop_stages", "refresh_ratio", "unguided_from"):
        for stage in _named_stages(config, field):
            if stage not in known:
                raise ValueError(f"{field} names stage {stage}; allowed are {', '.join(map(str, stages))}.")
    _check_apart(config, stages[0])
    for stage in config.refresh_ratio:
        if stage not in config.skip_stages:
            allowed = _listed(config.skip_stages) or "none, for skip_stages is empty"
            raise ValueError(f"refresh_ratio names stage {stage}; allowed are the skip_stages: {allowed}.")
    if config.needs_source and not any(source < s for s in config.skip_stages for source in config.cache_stages):
        raise ValueError(
            f"cache_stages is {config.cache_stages}; allowed is a list with at least one stage before one of "
            f"skip_stages {config.skip_stages}, for a skipped stage reuses what an earlier one left."
        )


def check_together(config: Settings) -> None:
    """Settings that have no meaning where unselected tokens add nothing.

    Raises:
        ValueError: the first field that does not fit.
    """
    if config.unselected != "nothing" or not config.skip_stages:
        return
    for field, (allowed, why) in NOT_WITH_NOTHING.items():
        value = getattr(config, field)
        if value != allowed:
            raise ValueError(f"{field} is {value!r}; allowed with unselected 'nothing' is {allowed!r}, for {why}.")


def check_layers(config: Settings, depth: int) -> None:
    """Whether the layers named exist in a model of this depth."""
    for field in ("layers", "attn_layers", "mlp_layers"):
        for layer in getattr(config, field) or []:
            if layer >= depth:
                raise ValueError(f"{field} names layer {layer}; allowed are 0 to {depth - 1}.")


def _named_stages(config: Settings, field: str) -> Collection[int]:
    value = getattr(config, field)
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else value


def _check_apart(config: Settings, first: int) -> None:
    for field in ("skip_stages", "drop_stages", "unguided_from"):
        if first in _named_stages(config, field):
            raise ValueError(
                f"{field} names stage {first}; allowed are later stages only, "
                f"for stage {first} is computed together with the text."
            )
    for field in ("skip_stages", "cache_stages"):
        both = sorted(set(config.drop_stages) & set(getattr(config, field)))
        if both:
            raise ValueError(
                f"drop_stages names stage {both[0]}; allowed are stages outside {field}, "
                "for a dropped stage is not run at all."
            )


def _listed(stages: Sequence[int]) -> str:
    return ", ".join(str(stage) for stage in sorted(stages))
