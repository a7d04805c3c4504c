"""Steps of the planner: treatments of the late stages, each a little cheaper than the one before.

A stage is run in full, for part of its tokens (the others add nothing), or not at all; the last stages may be run
without guidance. Another treatment of stages is one more field here and one more step in `cheaper`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hart.modules.cache.config import HARTCacheConfig

SELECTORS_TRIED = ("edge", "fhat_cosine", "fastvar")
SHARES = (1.0, 0.75, 0.5, 0.25, 0.1, 0.0)
"""The first tokens of a stage are worth most: a tenth of the last one can decide whether a picture shows its prompt."""

LATE_STAGES = 4
"""So many last stages are treated at all: they hold 87 % of the tokens of ten stages, 89 % of those of fourteen."""

EVERY_BRANCH: Mapping[str, Any] = {
    "enable_attn_cache": True, "enable_mlp_cache": True, "layers": None, "attn_layers": None, "mlp_layers": None,
    "first_layers": 0, "corrector_layers": 0,
}  # fmt: skip
"""Fields of settings that treat all branches of a stage alike."""


@dataclass(frozen=True)
class Treatment:
    """How much of the late stages is run.

    Args:
        stages: their token counts, rising.
        shares: part of each one's tokens that is run, from 0 to 1.
        unguided_from: stage from which on guidance is left out; None for never.
        selector: which tokens are run where it is a part.
    """

    stages: tuple[int, ...]
    shares: tuple[float, ...]
    unguided_from: int | None = None
    selector: str = "edge"

    def config(self) -> HARTCacheConfig:
        """The settings that do this."""
        named = dict(zip(self.stages, self.shares, strict=True))
        ratios = {stage: share for stage, share in named.items() if 0 < share < 1}
        return HARTCacheConfig(
            skip_stages=list(ratios),
            threshold=0.0,
            refresh_ratio=ratios,
            unselected="nothing",
            token_selector=self.selector,
            drop_stages=[stage for stage, share in named.items() if share == 0],
            unguided_from=self.unguided_from,
        )


def treatment_of(config: HARTCacheConfig, stages: Sequence[int]) -> Treatment | None:
    """Settings as a treatment, their threshold aside.

    None where they reuse, spare some branches only, or leave out part of an early stage.

    Args:
        config: any settings.
        stages: token counts of the pyramid, rising.
    """
    late = tuple(stages[1:][-LATE_STAGES:])
    everywhere = all(getattr(config, field) == value for field, value in EVERY_BRANCH.items())
    if config.skip_stages and (config.unselected != "nothing" or not everywhere):
        return None
    shares = dict.fromkeys(stages, 1.0)
    shares |= {stage: config.refresh_ratio.get(stage, 0.0) for stage in config.skip_stages}
    shares |= dict.fromkeys(config.drop_stages, 0.0)
    if any(share < 1 for stage, share in shares.items() if stage not in late):
        return None
    return Treatment(late, tuple(shares[stage] for stage in late), config.unguided_from, config.token_selector)


def nothing_left_out(stages: Sequence[int], selector: str = "edge") -> Treatment:
    """Where the search begins: every late stage of a pyramid is run in full."""
    late = tuple(stages[1:][-LATE_STAGES:])
    return Treatment(late, (1.0,) * len(late), selector=selector)


def cheaper(treatment: Treatment) -> Iterator[Treatment]:
    """Treatments one step away: a stage to the next lower of `SHARES`, or guidance ended a stage earlier.

    Never straight to none: the latent map, by which the search goes, undervalues the last tenth, and the judge would
    not see what lies between.
    """
    for index, share in enumerate(treatment.shares):
        lower = [level for level in SHARES if level < share]
        if lower:
            yield replace(treatment, shares=(*treatment.shares[:index], lower[0], *treatment.shares[index + 1 :]))
    guided = [
        stage
        for stage, share in zip(treatment.stages, treatment.shares, strict=True)
        if share > 0 and (treatment.unguided_from is None or stage < treatment.unguided_from)
    ]
    if guided:
        yield replace(treatment, unguided_from=guided[-1])


def other_selectors(treatment: Treatment) -> Iterator[Treatment]:
    """The same with other token selectors, where a part of some stage's tokens is run."""
    if any(0 < share < 1 for share in treatment.shares):
        for selector in SELECTORS_TRIED:
            if selector != treatment.selector:
                yield replace(treatment, selector=selector)


def reuse_by_similarity(table: Mapping[tuple[str, int, int], float], stages: Sequence[int]) -> list[HARTCacheConfig]:
    """Settings that reuse the branches that were most alike from stage to stage: a quarter of them to all.

    Args:
        table: measured similarity by branch kind, layer and stage.
        stages: token counts of the pyramid, rising.
    """
    found = []
    for count in (1, 2)[: len(stages) - 1]:  # the first stage is never skipped
        skipped = list(stages[-count:])
        branches = sorted({(kind, layer) for kind, layer, _ in table})
        likeness = {
            branch: sum(table.get((*branch, stage), 0.0) for stage in skipped) / count for branch in branches
        }  # fmt: skip
        ranked = sorted(branches, key=lambda branch: -likeness[branch])
        for share in (0.25, 0.5, 0.75, 1.0):
            chosen = ranked[: max(1, round(share * len(ranked)))]
            layers = {kind: [layer for k, layer in sorted(chosen) if k == kind] for kind in ("attn", "mlp")}
            found.append(
                HARTCacheConfig(
                    skip_stages=skipped,
                    cache_stages=list(stages[-count - 1 : -1]),
                    threshold=0.0,
                    enable_attn_cache=bool(layers["attn"]),
                    enable_mlp_cache=bool(layers["mlp"]),
                    attn_layers=layers["attn"] or None,
                    mlp_layers=layers["mlp"] or None,
                )
            )
    return found
