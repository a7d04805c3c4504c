"""What a benchmark found, in the shape that its JSON has; report, tables and recorded runs are made of nothing else."""

import json
import math
import os
from typing import Any, Literal

from pydantic import Field, ValidationError

from hart.utils.files import read_json, write_whole
from hart.utils.intervals import Interval, Spread
from hart.utils.machine import Machine
from hart.utils.records import Part, first_problem

FORMAT = 1
"""Version of the JSON; a reader refuses any other and says so."""

Kind = Literal["preset", "peer", "file", "sweep", "plan"]
Goal = Literal["speed", "balance", "quality", "memory"]


class Work(Part):
    """What was painted, and how.

    Args:
        prompts: of every picture.
        weights: digest of the image model's (SHA-256).
        other_weights: digests of tokenizer and text model; empty in runs recorded before they were kept.
        metadata: what judges know of the prompts, an entry per prompt of their file; picture i has entry i modulo their
            number.
    """

    checkpoint: str
    patch_nums: list[int]
    depth: int
    embed_dim: int
    device: str
    dtype: str
    threads: int
    compiled: bool
    batch_size: int
    num_pictures: int
    guidance_scale: float
    seed: int
    prompts: list[str]
    weights: str | None = None
    other_weights: dict[str, str] = Field(default_factory=dict)
    metadata: list[dict[str, Any]] = Field(default_factory=list)


class Quality(Part):
    """Figures of a setting's pictures; None where it was not measured.

    Args:
        fidelity: PSNR in dB to the true pictures in the object's box, mean; for captions of the embedded model only.
        fidelity_lost: no-cache's fidelity minus this one, paired by picture.
        fidelity_of_pictures: the fidelity of every picture, in their order.
        prompt_score: share of pictures that show all that the prompt asks for.
        attributes: the same per attribute.
        prompt_drop: no-cache's score minus this one, paired by picture.
        smallest_drop: a true drop smaller than this may stay unseen: where no picture's verdict changes, the interval
            of the drop reaches up to here.
        psnr: against no-cache's picture of the same seed, in dB; median, infinite values capped at 100.
        ssim: the same, mean.
        feature_distance: mean distance of features to no-cache's.
        frechet: Frechet distance of the two sets of pictures in those features.
        frechet_limits: its 95% interval; None in runs recorded before it was measured.
    """

    fidelity: Interval | None = None
    fidelity_lost: Interval | None = None
    fidelity_of_pictures: list[float] = Field(default_factory=list)
    prompt_score: Interval | None = None
    attributes: dict[str, float] = Field(default_factory=dict)
    prompt_drop: Interval | None = None
    smallest_drop: float | None = None
    psnr: Interval | None = None
    ssim: Interval | None = None
    feature_distance: Interval | None = None
    frechet: float | None = None
    frechet_limits: tuple[float, float] | None = None


class Memory(Part):
    """Peaks in bytes, by the method named (0: not measured); `over_no_cache` is the ratio to no-cache's peak."""

    method: str
    peak_bytes: int = Field(ge=0)
    over_no_cache: float | None
    cache_peak_bytes: int = Field(ge=0)


class Setting(Part):
    """One setting and all that was measured of it.

    Args:
        name: such as "original-cache", "peer/fastvar" or "threshold=0.7".
        kind: where it comes from.
        why: one or two sentences, with the source of the rule where there is one.
        config: fields of `HARTCacheConfig`.
        batch_seconds: whole batches.
        speed_up: no-cache's time over this one, paired by round.
        parts: seconds per batch of text, decoder, transformer, diffusion_head.
        stages: seconds per batch and stage, by token count as text.
        hit_rate: hits over decisions.
        hits: per branch ("attn", "mlp"), stage as text: share of layers that reused, averaged over generations.
        flops_saved: share of the branches' operations that were saved.
        computed: share of no-cache's operations in the branches that were computed, by stage as text.
        operations: of one batch from the prompts to pictures, by operator (see `counted_operations`); empty where peaks
            were not measured.
        operations_saved: share of no-cache's that were saved in that batch.
        folder: where its pictures lie, relative to the results.
    """

    name: str
    kind: Kind
    why: str
    run_tag: str
    config: dict[str, Any]
    batch_seconds: Spread
    speed_up: Spread
    parts: dict[str, Spread]
    stages: dict[str, Spread]
    hit_rate: float
    hits: dict[str, dict[str, float]]
    flops_computed: int
    flops_saved: float
    computed: dict[str, float] = Field(default_factory=dict)
    operations: dict[str, int] = Field(default_factory=dict)
    operations_saved: float | None = None
    memory: Memory
    quality: Quality
    folder: str | None = None


class Similarity(Part):
    """True similarities of reused to computed outputs, measured once on this model.

    Args:
        metric: its name.
        stages: token counts.
        table: per branch, a row per layer, a value per stage; None where nothing was measured.
    """

    metric: str
    stages: list[int]
    table: dict[str, list[list[float | None]]]


class Recommendation(Part):
    """The setting to use for a goal, and why in one sentence."""

    goal: Goal
    setting: str
    why: str


class Results(Part):
    """A whole run; `settings[0]` is no-cache.

    Args:
        created, begun: when these results were put together, and when the run's first call began.
        partial: of a run that was stopped, or is not done yet: complete rounds only.
        num_painted: pictures of every setting that count, fewer than the work's where it is partial; None in runs
            recorded before it was kept.
    """

    format: int = FORMAT
    created: str
    command: str
    machine: Machine
    work: Work
    settings: list[Setting]
    similarity: Similarity | None = None
    recommendations: list[Recommendation] = Field(default_factory=list)
    partial: bool = False
    begun: str | None = None
    num_painted: int | None = None

    @property
    def pictures(self) -> int:
        """How many pictures of every setting the figures are of."""
        return self.work.num_pictures if self.num_painted is None else self.num_painted

    @property
    def rounds(self) -> int:
        """How many batches of every setting the figures are of."""
        return math.ceil(self.pictures / self.work.batch_size)

    def setting(self, name: str) -> Setting:
        """The setting of this name.

        Raises:
            ValueError: it was not measured.
        """
        for setting in self.settings:
            if setting.name == name:
                return setting
        names = ", ".join(setting.name for setting in self.settings)
        raise ValueError(f"setting is {name!r}; measured here are {names}.")

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Save; an interrupted save leaves the old file."""
        write_whole(path, json.dumps(self.model_dump(), indent=1) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> "Results":
        """Load saved results.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it holds no results, or those of another version; the message says which.
        """
        name = os.fspath(path)
        try:
            content = read_json(path)
        except ValueError as error:
            raise ValueError(
                f"{name!r} is no JSON ({error}); write results with `python -m hart.benchmark`."
            ) from error
        version = content.get("format") if isinstance(content, dict) else None
        if version != FORMAT:
            raise ValueError(f"{name!r} has format {version!r}; this version of hart reads format {FORMAT}.")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ValueError(f"{name!r} holds no results of a benchmark ({first_problem(error)}).") from error
