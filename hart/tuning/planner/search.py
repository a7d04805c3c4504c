"""The planner's search: candidates, reuse by similarity, a descent over treatments of the late stages; refinement."""

from collections.abc import Sequence

from tqdm.auto import tqdm

from hart.modules.cache.config import HARTCacheConfig
from hart.tuning.planner.proposal import Source, Trial, Verification, fastest_kept
from hart.tuning.planner.treatments import (
    LATE_STAGES,
    SELECTORS_TRIED,
    SHARES,
    Treatment,
    cheaper,
    nothing_left_out,
    other_selectors,
    reuse_by_similarity,
    treatment_of,
)
from hart.tuning.planner.trials import TrialRunner
from hart.tuning.planner.verify import Verifier

Step = tuple[Treatment, Trial]
"""A treatment, and what it took."""


def search(runner: TrialRunner, candidates: Sequence[HARTCacheConfig], progress: bool) -> list[Trial]:
    """Every trial, in order: candidates, reuse by similarity, token selectors, the descent over treatments."""
    stages = [side * side for side in runner.full.config.patch_nums]
    given: list[tuple[HARTCacheConfig, Source]] = [(config, "candidate") for config in candidates]
    given += [(config, "similarity") for config in reuse_by_similarity(_similarities(runner), stages)]
    steps = LATE_STAGES * len(SHARES)  # at most; the bar ends early
    with tqdm(total=len(given) + steps, desc="planning", unit="step", disable=not progress) as bar:
        tried = []
        for config, source in given:
            tried.append(runner.trial(config, source))
            bar.update()
        current, here, trials = _start(runner, stages)
        tried += trials
        best: Step | None = (current, here)
        while best is not None:
            best, trials = _next_step(runner, *best)
            tried += trials
            bar.update()
    return tried


def _start(runner: TrialRunner, stages: Sequence[int]) -> tuple[Treatment, Trial, list[Trial]]:
    """The full run, with the token selector that does least damage at half of the last stage; and all trials."""
    trials = {}
    for selector in SELECTORS_TRIED:
        start = nothing_left_out(stages, selector)
        half = Treatment(start.stages, (*start.shares[:-1], 0.5), selector=selector)
        trials[selector] = runner.trial(half.config(), "selector")
    start = nothing_left_out(stages, min(trials, key=lambda selector: trials[selector].damage))
    here = runner.trial(start.config())
    return start, here, [*trials.values(), here]


def _next_step(runner: TrialRunner, current: Treatment, here: Trial) -> tuple[Step | None, list[Trial]]:
    """The cheaper treatment that saves most time per damage (None: nothing saves any), and all trials of this step."""
    options = [(treatment, runner.trial(treatment.config())) for treatment in cheaper(current)]
    best = _best(here, options)
    if best is None:
        return None, [tried for _, tried in options]
    others = [(treatment, runner.trial(treatment.config())) for treatment in other_selectors(best[0])]
    best = _best(here, [best, *others]) or best
    return best, [tried for _, tried in options + others]


def _best(here: Trial, options: Sequence[Step]) -> Step | None:
    """Of the options that are faster than here the one that saves most per damage; None where none is."""
    worth = [option for option in options if option[1].relative_seconds < here.relative_seconds]
    return max(worth, key=lambda option: _gain(here, option[1]), default=None)


def _gain(here: Trial, there: Trial) -> float:
    return (here.relative_seconds - there.relative_seconds) / max(there.damage - here.damage, 1e-6)


def _similarities(runner: TrialRunner) -> dict[tuple[str, int, int], float]:
    """Mean similarity of every branch to its output at the stage before, over the pictures of the search."""
    runner.full.calibration = True
    try:
        for index in range(len(runner.plain)):
            runner.paint(index)
    finally:
        runner.full.calibration = False
    return runner.full.recorded_similarities.table()


def front(tried: Sequence[Trial]) -> list[Trial]:
    """Trials that no other beats in both time and damage, fastest first."""
    found: list[Trial] = []
    for trial in sorted(tried, key=lambda t: (t.relative_seconds, t.damage)):
        if not found or trial.damage < found[-1].damage:
            found.append(trial)
    return found


def to_verify(tried: Sequence[Trial]) -> list[Trial]:
    """The front and all candidates, fastest first: damage to the latent map does not rule on what was asked about."""
    faster = [trial for trial in tried if not trial.config.changes_nothing]
    chosen = [trial for trial in faster if trial.source == "candidate"]
    chosen += [trial for trial in front(faster) if trial not in chosen]
    return sorted(chosen, key=lambda trial: trial.relative_seconds)


def refine(runner: TrialRunner, verifier: Verifier, verified: list[Verification], progress: bool) -> list[Trial]:
    """From the fastest treatment that keeps the budget, one step cheaper at a time as long as one step keeps it, too.

    The search went by damage to the latent map; here the judge has the last word. The fastest step comes first: one
    that fails is given up after few pictures, and one that does not leads farthest. What is verified is added to
    `verified`.

    Returns:
        The trials of all steps.
    """
    stages = [side * side for side in runner.full.config.patch_nums]
    tried: list[Trial] = []
    best = fastest_kept([found for found in verified if treatment_of(found.config, stages) is not None])
    with tqdm(desc="refining", unit="setting", disable=not progress) as bar:
        while best is not None and (treatment := treatment_of(best.config, stages)) is not None:
            known = [found.config for found in verified]
            options = [step.config() for step in cheaper(treatment)]
            steps = [runner.trial(config, "refinement") for config in options if config not in known]
            tried += steps
            before, best = best, None
            for step in sorted(steps, key=lambda trial: trial.relative_seconds):
                verified.append(verifier.verify(step))
                bar.update()
                if verified[-1].kept and verified[-1].speed_up > before.speed_up:
                    best = verified[-1]
                    break
    return tried


__all__ = ["front", "refine", "search", "to_verify"]
