"""How the threshold depends on where in the model it is asked for."""

from hart.modules.cache.branch_cache import MLP
from hart.modules.cache.registries import SCHEDULES
from hart.modules.cache.rules import ThresholdSchedule


def register_schedule(name: str, schedule: ThresholdSchedule) -> None:
    """Add a threshold schedule, (stage, layer, branch, base) -> threshold.

    Args:
        name: new name, for `HARTCacheConfig.threshold_schedule`.
        schedule: stage is a token count, branch "attn" or "mlp", base the configured threshold. It should not fall
            when base rises, or a stricter configuration could reuse more.

    Raises:
        ValueError: the name is taken.
    """
    SCHEDULES.register(name, schedule)


def scheduled_threshold(name: str, stage: int, layer: int, branch: str, base: float) -> float:
    """The schedule's threshold, kept within 0 and 1; a base of 0 or 1 stays (always, practically never)."""
    schedule = SCHEDULES.get(name)
    if base <= 0 or base >= 1:
        return min(max(base, 0.0), 1.0)
    return min(max(float(schedule(stage, layer, branch, base)), 0.0), 1.0)


def constant(stage: int, layer: int, branch: str, base: float) -> float:
    """The configured threshold everywhere."""
    return base


def rising(stage: int, layer: int, branch: str, base: float) -> float:
    """Rises with the side of the token map towards the configured one: what coarse stages get wrong, later ones mend.

    The part taken off is one over the side: a sixth at stage 36, a sixteenth at stage 256.
    """
    return float(base * (1 - stage**-0.5))


def mlp_stricter(stage: int, layer: int, branch: str, base: float) -> float:
    """The root of the threshold for MLPs, whose outputs carry over less well than those of attention."""
    return base**0.5 if branch == MLP else base


register_schedule("constant", constant)
register_schedule("rising", rising)
register_schedule("mlp_stricter", mlp_stricter)
