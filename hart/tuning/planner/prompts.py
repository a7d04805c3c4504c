"""What the planner paints: prompts of its search, of the verification and of the confirmation, and who judges them."""

import logging
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from hart.evaluation import SIDES, draw_scenes, num_scenes, parse_caption
from hart.tuning.model import TunedModel
from hart.tuning.workload import is_embedded_model

logger = logging.getLogger(__name__)

JudgedBy = Literal["fidelity", "program", "latent", "caller"]


class PlanPrompts(NamedTuple):
    """Prompts of every part; None for unconditional pictures."""

    search: list[str] | None
    verify: list[str] | None
    confirm: list[str] | None


def split_prompts(
    model: TunedModel,
    prompts: Sequence[str] | None,
    counts: tuple[int, int, int],
    seed: int,
    kept_apart: Collection[str] = (),
) -> PlanPrompts:
    """Given prompts by turns; else training captions to search on and held-out ones to judge by, or no prompts.

    Args:
        model: only the embedded one has captions of its own.
        prompts: of the caller. Of two, the confirmation shares one with the verification.
        counts: pictures of search, verification and confirmation.
        seed: decides which captions are drawn.
        kept_apart: captions that are not drawn to judge by.

    Raises:
        ValueError: fewer than two prompts, or too few captions that are not kept apart.
    """
    if prompts is not None:
        if isinstance(prompts, str) or len(prompts) < 2:
            raise ValueError(f"prompts is {prompts!r}; allowed is a list of at least two texts.")
        turns = min(3, len(prompts))
        parts = [list(prompts[turn::turns]) for turn in range(turns)]
        return PlanPrompts(parts[0], parts[1], parts[-1])
    if not is_embedded_model(model):
        return PlanPrompts(None, None, None)
    num_search, num_verify, num_confirm = counts
    if num_search > num_scenes("training"):
        raise ValueError(f"num_search is {num_search}; allowed are 1 to {num_scenes('training')}.")
    search = [scene.caption() for scene in draw_scenes(num_search, "training", seed)]
    free = _free_captions(seed, kept_apart)
    if len(free) < num_verify + num_confirm:  # each part has captions of its own, and paints them with several seeds
        share = num_verify / (num_verify + num_confirm)
        num_verify = min(max(1, round(share * len(free) / 2)), len(free) // 2 - 1) * 2
        logger.info(
            "%d held-out captions serve %d pictures of the plan, each for several seeds", len(free), sum(counts[1:])
        )
    return PlanPrompts(search, free[:num_verify], free[num_verify:][:num_confirm])


def _free_captions(seed: int, kept_apart: Collection[str]) -> list[str]:
    """Held-out captions that are not kept apart: one of a big object, one of a small one, and so on.

    Small objects are harder, and a plan must be judged on the same mix as what is measured after it.

    Raises:
        ValueError: fewer than two of each size.
    """
    by_size: dict[str, list[str]] = {size: [] for size in SIDES}
    for scene in draw_scenes(num_scenes("held-out"), "held-out", seed):
        if (caption := scene.caption()) not in kept_apart:
            by_size[scene.size].append(caption)
    fewest = min(map(len, by_size.values()))
    if fewest < 2:
        raise ValueError(
            f"kept_apart holds {len(kept_apart)} captions and leaves {fewest} of one size; allowed are two or more."
        )
    return [caption for pair in zip(*by_size.values(), strict=False) for caption in pair]


def who_judges(model: TunedModel, prompts: Sequence[str] | None, by_caller: bool) -> JudgedBy:
    """The caller's judge, the embedded model's own program where it understands all prompts, or the latent map."""
    if by_caller:
        return "caller"
    if not is_embedded_model(model):
        return "latent"
    try:
        for prompt in prompts or ():  # where none are given, the model has captions of its own
            parse_caption(prompt)
    except ValueError:
        return "latent"
    return "program"


__all__ = ["JudgedBy", "PlanPrompts", "split_prompts", "who_judges"]
