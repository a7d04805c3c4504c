"""Which settings a benchmark measures: presets, peers, JSON files and sweeps, each with a name and a reason."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hart.benchmark.results import Kind
from hart.benchmark.settings.peers import peer_names, read_peer
from hart.benchmark.settings.sweeps import sweep
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.presets import read_presets
from hart.modules.cache.registry import unknown
from hart.tuning.planner.proposal import CacheProposal
from hart.utils.files import read_json

logger = logging.getLogger(__name__)

BASELINE = "no-cache"
DEFAULT_BASE = "original-cache"


@dataclass(frozen=True)
class NamedSetting:
    """A setting to measure; see `results.Setting` for the fields."""

    name: str
    kind: Kind
    why: str
    config: HARTCacheConfig

    @property
    def slug(self) -> str:
        """The name as that of a file."""
        return re.sub(r"[^A-Za-z0-9.=+-]+", "-", self.name)


def known_settings() -> list[str]:
    """Names of all presets and peers."""
    return [*HARTCacheConfig.preset_names(), *peer_names()]


def named_setting(name: str, patch_nums: Sequence[int]) -> NamedSetting:
    """A preset or a peer on a pyramid.

    Raises:
        ValueError: unknown name (the message lists the known ones), or a pyramid that it does not fit.
    """
    if name in peer_names():
        return NamedSetting(name, "peer", *read_peer(name, patch_nums))
    if name not in HARTCacheConfig.preset_names():
        raise ValueError(unknown("setting", name, known_settings()))
    why = read_presets()["presets"][name]["why"]
    return NamedSetting(name, "preset", why, HARTCacheConfig.from_preset(name, patch_nums=patch_nums))


def choose_settings(
    patch_nums: Sequence[int],
    depth: int,
    names: Sequence[str] = (),
    paths: Sequence[str | Path] = (),
    sweeps: Sequence[str] = (),
    base: str = DEFAULT_BASE,
) -> list[NamedSetting]:
    """Everything to measure, no-cache first.

    Args:
        patch_nums, depth: of the model.
        names: presets and peers. Without names, files and sweeps: all presets and peers that fit the pyramid.
        paths: JSON files of `HARTCacheConfig` or `CacheProposal`; a setting has its file's name.
        sweeps: `field=start:stop:step`, `field=a,b,c` or `refresh`.
        base: preset or peer that sweeps start from.

    Raises:
        ValueError: an unknown name or field, a setting that does not fit the model, or a name given twice.
    """
    chosen = [named_setting(BASELINE, patch_nums)]
    if not (names or paths or sweeps):
        chosen += _all_that_fit(patch_nums)
    chosen += [named_setting(name, patch_nums) for name in names if name != BASELINE]
    for path in paths:
        chosen.append(read_setting(Path(path)))
    for text in sweeps:
        start = named_setting(base, patch_nums)
        for name, config in sweep(text, start.config):
            chosen.append(NamedSetting(name, "sweep", f"{base} with {name}.", config))
    _check(chosen, [side * side for side in patch_nums], depth)
    return chosen


def read_setting(path: Path) -> NamedSetting:
    """A setting from a JSON file of `HARTCacheConfig` or of a planner's `CacheProposal`, named after the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is neither.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if isinstance(content, dict) and "verified" in content:
        return plan_setting(path.stem, CacheProposal.from_json(path))
    return NamedSetting(path.stem, "file", f"Settings of {path.name}.", HARTCacheConfig.from_json(path))


def plan_setting(name: str, plan: CacheProposal) -> NamedSetting:
    """A plan with its evidence as the reason."""
    floor = "" if plan.min_psnr is None else f" and a median PSNR of {plan.min_psnr:g} dB"
    lost = plan.max_fidelity_loss
    budget = (
        f"a loss of at most {lost:g} dB of fidelity"
        if lost is not None
        else f"a drop of at most {plan.max_quality_drop:.1%}"
    )
    why = f"Planned for {budget}{floor} (judged by {plan.judged_by}): "
    found = plan.chosen
    if found is None:
        why += "nothing faster keeps that"
    else:
        share = f"a drop of {found.quality_drop:.1%} ({found.drop_low:.1%} to {found.drop_high:.1%})"
        decibels = f"a loss of {found.quality_drop:.2f} dB ({found.drop_low:.2f} to {found.drop_high:.2f})"
        why += (
            f"{found.speed_up:.2f}x as fast at {share if lost is None else decibels} and {found.psnr:.1f} dB on "
            f"{found.pictures} other pictures"
        )
    return NamedSetting(name, "plan", f"{why}; {len(plan.tried)} settings tried.", plan.config)


def _all_that_fit(patch_nums: Sequence[int]) -> list[NamedSetting]:
    found = []
    for name in known_settings():
        try:
            setting = named_setting(name, patch_nums)
        except ValueError as error:
            logger.warning("left out: %s", error)
            continue
        if name != BASELINE:
            found.append(setting)
    return found


def _check(chosen: Sequence[NamedSetting], stages: Sequence[int], depth: int) -> None:
    seen: dict[str, str] = {}
    for setting in chosen:
        if setting.slug in seen:
            raise ValueError(f"settings are named {seen[setting.slug]!r} and {setting.name!r}; allowed is each once.")
        seen[setting.slug] = setting.name
        try:
            setting.config.validate(stages, depth=depth)
        except ValueError as error:
            raise ValueError(f"setting {setting.name!r}: {error}") from error
