"""Sweeps: many settings from one, `threshold=0.5:0.9:0.1`, `token_selector=edge,random` or `refresh`."""

import itertools
import json
import math
from dataclasses import fields
from typing import Any

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.registry import unknown

BEFORE_LAST, LAST = (0.0, 0.5, 1.0), (0.25, 0.5, 0.75)
"""Parts of the tokens that `--sweep refresh` computes at the last two skipped stages."""

MOST = 200
FORMS = "'field=start:stop:step', 'field=a,b,c' or 'refresh'"


def sweep(text: str, base: HARTCacheConfig) -> list[tuple[str, HARTCacheConfig]]:
    """Names and settings of a sweep.

    Args:
        text: one of the forms at the head of this file; the stop is part of the range.
        base: the settings that everything else is taken from; not changed.

    Raises:
        ValueError: another form, a field that does not exist (the message names the fields), or a value that the
            field may not hold.
    """
    if text == "refresh":
        return _refresh(base)
    field, equals, values = text.partition("=")
    known = [entry.name for entry in fields(HARTCacheConfig)]
    if field not in known:
        raise ValueError(unknown("field to sweep", field, known))
    if not equals or not values:
        raise ValueError(f"sweep is {text!r}; allowed is {FORMS}.")
    return [(f"{field}={_word(value)}", _with(base, **{field: value})) for value in _values(values, text)]


def _refresh(base: HARTCacheConfig) -> list[tuple[str, HARTCacheConfig]]:
    stages = sorted(base.skip_stages)[-2:]
    if len(stages) < 2:
        raise ValueError(f"sweep is 'refresh' and skip_stages is {base.skip_stages}; allowed are two stages and more.")
    found = []
    for ratios in itertools.product(BEFORE_LAST, LAST):
        given = base.refresh_ratio | dict(zip(stages, ratios, strict=True))
        found.append((f"refresh={ratios[0]:g}+{ratios[1]:g}", _with(base, refresh_ratio=given)))
    return found


def _with(base: HARTCacheConfig, **given: Any) -> HARTCacheConfig:
    return HARTCacheConfig.from_dict(base.to_dict() | given)


def _values(text: str, whole: str) -> list[Any]:
    if text.count(":") == 2 and not text.startswith("{"):
        return _range(text, whole)
    try:
        values: list[Any] = json.loads(f"[{text}]")
    except ValueError:
        values = [_parsed(part) for part in text.split(",")]
    if not values:
        raise ValueError(f"sweep is {whole!r}; allowed is {FORMS}.")
    return values


def _range(text: str, whole: str) -> list[float]:
    try:
        start, stop, step = (json.loads(part) for part in text.split(":"))
        count = math.floor((stop - start) / step + 1e-6) + 1
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"sweep is {whole!r}; allowed are three numbers start:stop:step, step not 0.") from error
    if not 1 <= count <= MOST:
        raise ValueError(f"sweep is {whole!r}, {count} values; allowed are 1 to {MOST}.")
    values = [start + index * step for index in range(count)]
    return [round(value, 10) if isinstance(value, float) else value for value in values]


def _parsed(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return {"None": None, "True": True, "False": False}.get(word, word)


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")
