"""The shape of a benchmark's JSON, checked when it is written and when it is read."""

import json
import os
from typing import Any

from pydantic import Field

from hart.utils.files import write_whole
from hart.utils.intervals import Spread
from hart.utils.records import Part, read_record


class SideReport(Part):
    """The figures of one side; `mean_time` is seconds per picture, spreads are of seconds per batch.

    `parts` holds text, decoder, transformer (the blocks of all stages) and diffusion_head; the last two lie inside the
    stages.
    """

    mean_time: float = Field(gt=0)
    throughput_img_per_sec: float = Field(gt=0)
    cache_hit_rate: float = Field(ge=0, le=1)
    batch_seconds: Spread
    parts: dict[str, Spread]
    stages: dict[str, Spread]


class Flops(Part):
    """Operations of the transformer's branches over all pictures of the cached side, and of the one without cache.

    Older reports do not have the latter, and 0 computed where there was no cache.
    """

    no_cache_computed: int | None = Field(default=None, ge=0)
    computed: int = Field(ge=0)
    saved: int = Field(ge=0)
    saved_ratio: float = Field(ge=0, le=1)


class Memory(Part):
    """Peaks in bytes by the method named; `cache_peak_bytes` is the exact size of the stored maps."""

    method: str
    no_cache_peak_bytes: int = Field(ge=0)
    peak_bytes: int = Field(ge=0)
    cache_peak_bytes: int = Field(ge=0)


class BenchmarkReport(Part):
    """What `benchmark_performance` measured."""

    run_tag: str
    config: dict[str, Any] | None
    benchmark: SideReport
    no_cache: SideReport
    speed_up: float = Field(gt=0)
    ceiling: float = Field(gt=0)
    flops: Flops
    memory: Memory
    statistics: dict[str, Any]
    measured: dict[str, Any]

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Save; an interrupted save leaves the old file."""
        write_whole(path, json.dumps(self.model_dump(), indent=2) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> "BenchmarkReport":
        """Load a saved report.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no benchmark report; the message names the first thing that is wrong.
        """
        return read_record(cls, path, "a benchmark report", "benchmark_performance(json_path=...)")
