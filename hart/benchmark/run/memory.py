"""Peaks and operations of all settings, each measured once in a process of its own and kept in `memory.json`."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from hart.benchmark.results import Memory, Work
from hart.benchmark.run.peak import measure_peak
from hart.benchmark.settings.choose import NamedSetting
from hart.utils.files import write_whole

logger = logging.getLogger(__name__)

FILE = "memory.json"
UNMEASURED = "not measured"


def measure_memory(
    settings: Sequence[NamedSetting],
    work: Work,
    checkpoint: str | os.PathLike[str] | None,
    text_model_path: str | os.PathLike[str] | None,
    folder: Path,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """What `measure_peak` finds, by setting; what an earlier call in this folder measured is kept.

    A setting whose process fails (out of memory, say) is left out with a warning. This process keeps its model, and
    gives a GPU back what it painted with.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    path = folder / FILE
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    request = {
        "checkpoint": None if checkpoint is None else os.fspath(checkpoint),
        "text_model_path": None if text_model_path is None else os.fspath(text_model_path),
        "device": work.device,
        "dtype": work.dtype,
        "threads": work.threads,
        "prompts": work.prompts[: work.batch_size],
        "compiled": work.compiled,
        "seed": work.seed,
        "guidance_scale": work.guidance_scale,
    }
    for setting in tqdm(settings, desc="memory", unit="setting", disable=not progress):
        if setting.name in found:
            continue
        try:
            found[setting.name] = measure_peak(request, setting)
        except RuntimeError as error:  # speed and quality are worth having without it
            logger.warning("%s", error)
            continue
        write_whole(path, json.dumps(found, indent=1) + "\n")
    return found


def memory_of(peak: dict[str, Any] | None, baseline: dict[str, Any] | None, cache_peak_bytes: int) -> Memory:
    """A setting's peak beside no-cache's; without a measurement, the cache's own bytes alone."""
    if peak is None or peak["method"] == "none":
        return Memory(method=UNMEASURED, peak_bytes=0, over_no_cache=None, cache_peak_bytes=cache_peak_bytes)
    ratio = peak["peak_bytes"] / baseline["peak_bytes"] if baseline and baseline["peak_bytes"] else None
    return Memory(
        method=peak["method"],
        peak_bytes=peak["peak_bytes"],
        over_no_cache=ratio,
        cache_peak_bytes=max(cache_peak_bytes, peak["cache_peak_bytes"]),
    )


__all__ = ["UNMEASURED", "measure_memory", "memory_of"]
