"""Trials of the planner: any settings beside the full run, timed, with their damage to the latent map."""

import statistics

from torch.nn import functional as F

from hart.modules.cache.config import HARTCacheConfig
from hart.tuning.model import TunedModel
from hart.tuning.painter import Painted, Painter
from hart.tuning.planner.journal import PlanJournal
from hart.tuning.planner.proposal import Source, Trial
from hart.tuning.workload import Workload
from hart.utils.timing import Stopwatch


class TrialRunner:
    """Paints N pictures, one at a time, under any settings, and counts them in `num_painted`.

    Pictures without cache are painted by a wrapper of their own, so that thresholds go on adapting beside them.

    Args:
        model: what to wrap.
        workload: what is painted.
        first_seed: picture i is painted with this + i.
        cfg: guidance scale.
        journal: keeps trials and verifications.
    """

    def __init__(self, model: TunedModel, workload: Workload, first_seed: int, cfg: float, journal: PlanJournal):
        self.model, self.full = type(model).from_hart(model), type(model).from_hart(model)
        self.painter, self.full_painter = (Painter(one, workload, first_seed, cfg) for one in (self.model, self.full))
        self.journal = journal
        self.current: HARTCacheConfig | None = None
        self.prompts, self.num_painted = workload.prompts, 0
        watch = Stopwatch(model.device)
        self.arguments, seconds = [], []
        for index in range(workload.count):
            self.arguments.append(workload.arguments(index, 1))
            seconds.append(watch.lap())
        self.text_seconds = statistics.median(seconds)
        self.plain = [self.paint(index) for index in range(workload.count)]

    def paint(self, index: int, config: HARTCacheConfig | None = None) -> Painted:
        """Picture `index`; None paints without cache. Other settings than the last time begin with fresh thresholds."""
        if config is not None and config != self.current:
            self.model.set_cache_config(config)
            self.current = config
        self.num_painted += 1
        painter = self.full_painter if config is None else self.painter
        return painter.paint(index, arguments=self.arguments[index])

    def prompt(self, index: int) -> list[str]:
        """The prompt of a picture, for a judge; empty without prompts."""
        return [] if self.prompts is None else [self.prompts[index % len(self.prompts)]]

    def trial(self, config: HARTCacheConfig, source: Source = "search") -> Trial:
        """All pictures under these settings; beside every other one the full run's again, so that drift meets both."""
        return self.journal.once("search", config, Trial, lambda: self._tried(config, source))

    def _tried(self, config: HARTCacheConfig, source: Source) -> Trial:
        seconds, ratios, damages = [], [], []
        for index, plain in enumerate(self.plain):
            ours = self.paint(index, config)
            if index % 2 == 0:
                ratios.append(ours.seconds / self.paint(index).seconds)
            seconds.append(ours.seconds)
            damages.append(damage_to(ours, plain))
        return Trial(
            run_tag=config.run_tag(),
            settings=config.changes(),
            source=source,
            seconds=statistics.median(seconds),
            relative_seconds=statistics.median(ratios),
            damage=statistics.fmean(damages),
        )


def damage_to(ours: Painted, plain: Painted) -> float:
    """Mean squared distance of two latent maps, over the second one's mean square."""
    return float(F.mse_loss(ours.f_hat, plain.f_hat) / plain.f_hat.square().mean().clamp_min(1e-12))


__all__ = ["TrialRunner", "damage_to"]
