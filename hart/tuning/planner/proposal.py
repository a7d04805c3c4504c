"""What the planner found, as records that go to JSON: trials, verifications, and the proposal made of them."""

import os
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hart.modules.cache.config import HARTCacheConfig
from hart.utils.files import write_whole
from hart.utils.records import read_record

FORMAT: Literal[3] = 3
"""Version of the JSON; 1 knew no candidates, intervals and costs, 2 no confirmation."""

Source = Literal["selector", "search", "similarity", "candidate", "refinement"]


class _OfSettings(BaseModel):
    """What was painted under some settings; fields of theirs that are not named have their defaults."""

    model_config = ConfigDict(extra="forbid")
    run_tag: str
    settings: dict[str, Any]

    @property
    def config(self) -> HARTCacheConfig:
        """The settings."""
        return HARTCacheConfig.from_dict(self.settings)


class Trial(_OfSettings):
    """What was tried.

    Args:
        run_tag, settings: what; fields that are not named have their defaults.
        source: the choice of a token selector, a step of the search, reuse by similarity, a candidate given, or a step
            from the fastest that was verified.
        seconds: median per picture, without text and decoder.
        relative_seconds: median of its time over that of the full run painted beside it; what the front is made of.
        damage: mean squared distance of the latent map to the full run's, over the full run's mean square.
    """

    source: Source
    seconds: float = Field(ge=0)
    relative_seconds: float = Field(ge=0)
    damage: float = Field(ge=0)


class Verification(_OfSettings):
    """A candidate on other prompts.

    Args:
        run_tag, settings: what, as in a trial.
        pictures: how many were painted; fewer than asked where it was given up, and then those most at risk.
        speed_up: median, over some of the pictures, of the full run's time over its own, text and decoder included.
        speed_low, speed_high: its quartiles.
        quality_drop: mean score of the full run less its own; in dB where fidelity is the score.
        drop_low, drop_high: 95% interval of the drop; it has width even where no picture's score changed.
        psnr: median of its pictures to the full run's, in dB; at most 100, for pictures that are the same.
        worse, better: pictures whose score fell, and rose.
        kept: whether it is faster than the full run within the budget.
    """

    pictures: int
    speed_up: float
    speed_low: float
    speed_high: float
    quality_drop: float
    drop_low: float
    drop_high: float
    psnr: float
    worse: int
    better: int
    kept: bool


class PlanCost(BaseModel):
    """What planning took (of a plan that was killed and went on, since it was started again), and where."""

    model_config = ConfigDict(extra="forbid")
    seconds: float
    pictures: int
    num_search: int
    num_verify: int
    num_confirm: int
    device: str
    dtype: str
    threads: int
    machine: str
    torch: str


class CacheProposal(BaseModel):
    """What `plan_cache` found, and why.

    Args:
        format: version of the JSON.
        settings: the fields of `config`.
        max_quality_drop, max_fidelity_loss: the budget, a share of the score or dB of fidelity; the other is None.
        min_psnr: least median PSNR to the full run; None: no floor.
        judged_by: what scored the pictures.
        tried: everything that the search painted, in its order.
        verified: what was painted on other prompts: fastest in the search first, then steps from the fastest kept, then
            slower ones where nothing of these was confirmed.
        confirmed: those that the verification kept, painted on prompts of their own, fastest first up to the first that
            keeps the budget there, too. The more were looked at before it, the more its figures flatter it.
        seed, cfg: how it painted.
        cost: what it took.
    """

    model_config = ConfigDict(extra="forbid")
    format: Literal[3]
    settings: dict[str, Any]
    max_quality_drop: float | None
    max_fidelity_loss: float | None = None
    min_psnr: float | None
    judged_by: Literal["fidelity", "program", "latent", "caller"]
    tried: list[Trial]
    verified: list[Verification]
    confirmed: list[Verification]
    seed: int
    cfg: float
    cost: PlanCost

    @property
    def config(self) -> HARTCacheConfig:
        """The settings to use; no cache where nothing faster keeps the budget."""
        return HARTCacheConfig.from_dict(self.settings)

    @property
    def chosen(self) -> Verification | None:
        """The confirmation of `config`; None where nothing faster keeps the budget."""
        return fastest_kept(self.confirmed)

    @property
    def speed_up(self) -> float:
        """Measured on the confirmation's prompts; 1.0 where nothing faster keeps the budget."""
        return 1.0 if self.chosen is None else self.chosen.speed_up

    @property
    def quality_drop(self) -> float:
        """Measured on the confirmation's prompts; in dB where fidelity judged."""
        return 0.0 if self.chosen is None else self.chosen.quality_drop

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Save; an interrupted save leaves the old file."""
        write_whole(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> "CacheProposal":
        """Load a saved proposal.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no proposal of this version; the message names the first thing that is wrong.
        """
        return read_record(cls, path, "a cache proposal", "plan_cache(...).to_json(path)")


def fastest_kept(verified: list[Verification]) -> Verification | None:
    """The fastest within the budget; None where nothing is."""
    return max((found for found in verified if found.kept), key=lambda found: found.speed_up, default=None)
