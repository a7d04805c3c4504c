"""How pictures are painted: the values of a call, what is allowed, and a checkpoint's own defaults."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hart.modules.cache.registry import unknown
from hart.utils.files import read_json, write_whole
from hart.utils.numbers import as_python, is_number, is_whole

GENERATION_CONFIG_FILE = "generation_config.json"
# What transformers writes into such a file and nothing here reads.
NOT_SETTINGS = ("transformers_version", "_from_model_config")

Rule = tuple[Callable[[Any], bool], str]


@dataclass(frozen=True)
class Settings:
    """How to paint every picture of a call, in the words of `HARTForT2I.autoregressive_infer_cfg`."""

    cfg: float
    num_maskgit_iters: int
    more_smooth: bool
    top_k: int
    top_p: float
    final_stage: int


DEFAULTS: dict[str, Any] = {
    "guidance_scale": 4.5,
    "num_maskgit_iters": 1,
    "more_smooth": False,
    "top_k": 0,
    "top_p": 0.0,
    "final_stage": 0,
}
"""Values of a call where neither the caller nor the checkpoint says otherwise."""

RULES: dict[str, Rule] = {
    "guidance_scale": (lambda value: is_number(value) and 0 <= value < math.inf, "a finite number from 0"),
    "num_maskgit_iters": (lambda value: is_whole(value) and value >= 1, "a whole number from 1"),
    "more_smooth": (lambda value: isinstance(value, bool), "True or False"),
    "top_k": (lambda value: is_whole(value) and value >= 0, "a whole number from 0"),
    "top_p": (lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "final_stage": (is_whole, "a whole number"),
}


def checked_settings(given: Mapping[str, Any], base: Mapping[str, Any] = DEFAULTS) -> dict[str, Any]:
    """All values of a call: the given ones, and those of `base` for what is None or missing.

    Raises:
        ValueError: an unknown name or a value that is not allowed.
    """
    for name in given:
        if name not in RULES:
            raise ValueError(unknown("field", name, RULES))
    values = {**base, **{name: as_python(value) for name, value in given.items() if value is not None}}
    for name, value in values.items():
        allows, allowed = RULES[name]
        if not allows(value):
            raise ValueError(f"{name} must be {allowed}, got {value!r}.")
    return values


def call_settings(given: Mapping[str, Any], base: Mapping[str, Any], num_last_tokens: int) -> Settings:
    """Values of one call; `given` holds None where the checkpoint's default applies.

    Raises:
        ValueError: a value that is not allowed.
    """
    values = checked_settings(given, base)
    rounds = values["num_maskgit_iters"]
    if rounds > num_last_tokens:
        raise ValueError(
            f"num_maskgit_iters must be 1 to {num_last_tokens}, the tokens of the last stage, got {rounds}."
        )
    return Settings(cfg=float(values.pop("guidance_scale")), **values)


def read_generation_config(llm_folder: Path) -> dict[str, Any]:
    """A checkpoint's defaults: `generation_config.json` beside its weights, else in its root; else none.

    Raises:
        ValueError: no JSON object, an unknown field or a value that is not allowed; the file is named.
    """
    for folder in (llm_folder, llm_folder.resolve().parent):
        file = folder / GENERATION_CONFIG_FILE
        if not file.is_file():
            continue
        content = read_json(file)
        if not isinstance(content, dict):
            raise ValueError(f"{str(file)!r} must be a JSON object of arguments of the call, got {content!r}.")
        fields = {name: value for name, value in content.items() if name not in NOT_SETTINGS}
        try:
            return checked_settings(fields)
        except ValueError as error:
            raise ValueError(f"{str(file)!r}: {error}") from error
    return dict(DEFAULTS)


def write_generation_config(values: Mapping[str, Any], llm_folder: Path) -> None:
    """Write a checkpoint's defaults beside its weights."""
    write_whole(llm_folder / GENERATION_CONFIG_FILE, json.dumps(dict(values), indent=2) + "\n")
