"""Reading `hart_cache_presets.json` and moving a preset onto another pyramid; standard library only.

The file lies at the root of the repository and, in an installed package, inside `hart`.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from hart.modules.cache.config_checks import is_whole
from hart.modules.cache.registry import unknown
from hart.utils.files import json_of
from hart.utils.numbers import as_python

FILE_NAME = "hart_cache_presets.json"
STAGE_LISTS = ("skip_stages", "cache_stages", "drop_stages")


def read_presets() -> dict[str, Any]:
    """The whole file: `stages` that its numbers are written for, and `presets` by name.

    Raises:
        FileNotFoundError: neither the package nor the checkout around it holds the file.
        ValueError: it was edited into something else; file and preset are named.
    """
    package = files("hart")
    for place in (package / FILE_NAME, package / ".." / FILE_NAME):
        if place.is_file():
            content: dict[str, Any] = json_of(place.read_bytes(), str(place))
            _check_shape(content, str(place))
            return content
    raise FileNotFoundError(f"{FILE_NAME} is neither in {package} nor beside it; reinstall the package.")


def _check_shape(content: Any, name: str) -> None:
    for part, kind in (("stages", list), ("presets", dict)):
        if not isinstance(content, dict) or not isinstance(content.get(part), kind):
            raise ValueError(f"{name!r} must hold an object with a list `stages` and an object `presets`.")
    for preset, entry in content["presets"].items():
        if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
            raise ValueError(f"{name!r}: preset {preset!r} must be an object with an object `config`.")
        if not isinstance(entry.get("beyond_ten_stages", {}), dict):
            raise ValueError(f"{name!r}: `beyond_ten_stages` of preset {preset!r} must be an object.")


def preset_fields(name: str, patch_nums: Sequence[int] | None = None) -> dict[str, Any]:
    """Fields of a preset, its stages counted from the last stage of `patch_nums` (see `from_preset`)."""
    content = read_presets()
    if name.endswith(".json"):
        raise ValueError(f"preset must be a name, got {name!r}; HARTCacheConfig.from_json(...) reads a file.")
    if name not in content["presets"]:
        raise ValueError(unknown("preset", name, content["presets"]))
    preset, base = content["presets"][name], content["stages"]
    if patch_nums is None:
        return dict(preset["config"])
    stages = stages_of(patch_nums)
    fields = dict(preset["config"])
    if len(stages) > len(base):
        fields |= preset.get("beyond_ten_stages", {})
    try:
        moved = move_stages(fields, base, stages)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"preset {name!r} in {FILE_NAME} has stages that are no whole numbers ({error}).") from error
    if fields.get("skip_stages") and not _saves(moved):
        raise ValueError(
            f"preset {name!r} leaves nothing to reuse on patch_nums {tuple(patch_nums)}; allowed are pyramids that "
            "have a stage to skip and an earlier one to keep among their last stages: use 'no-cache'."
        )
    return moved


def stages_of(patch_nums: Sequence[int]) -> list[int]:
    """Stages as token counts.

    Raises:
        ValueError: not a rising sequence of whole numbers.
    """
    sides = as_python(list(patch_nums))
    if not sides or not all(is_whole(side, 1) for side in sides) or sides != sorted(set(sides)):
        raise ValueError(f"patch_nums is {patch_nums!r}; allowed are rising whole numbers such as (1, 2, 3, 4).")
    return [side * side for side in sides]


def move_stages(fields: dict[str, Any], base: Sequence[int], stages: Sequence[int]) -> dict[str, Any]:
    """Stage numbers by rank from the last; ranks that the pyramid lacks are left out, and stage 1 is never skipped."""
    target = dict(zip(reversed(base), reversed(stages), strict=False))
    moved = dict(fields)
    for field in STAGE_LISTS:
        if field in fields:
            first = [] if field == "cache_stages" else [stages[0]]
            moved[field] = [target[s] for s in fields[field] if s in target and target[s] not in first]
    if fields.get("unguided_from") is not None:
        stage = target.get(fields["unguided_from"])
        moved["unguided_from"] = stage if stage != stages[0] else None
    if "refresh_ratio" in fields:
        ratios = {target.get(int(stage)): ratio for stage, ratio in fields["refresh_ratio"].items()}
        moved["refresh_ratio"] = {
            stage: ratio for stage, ratio in ratios.items() if stage in moved.get("skip_stages", [])
        }
    return moved


def _saves(fields: dict[str, Any]) -> bool:
    """Whether a skip stage is left, with a source to reuse from where one is needed."""
    if fields.get("unselected", "reuse") == "nothing":
        return bool(fields["skip_stages"])
    return any(source < stage for stage in fields["skip_stages"] for source in fields.get("cache_stages", []))
