"""The planner's steps."""

import pytest

from hart.tuning.planner.treatments import (
    LATE_STAGES,
    SHARES,
    Treatment,
    cheaper,
    nothing_left_out,
    reuse_by_similarity,
)

STAGES = [1, 4, 9, 16, 25, 36, 64, 100, 169, 256]


def walk(treatment: Treatment) -> set[Treatment]:
    """Everything that can be reached."""
    seen, edge = {treatment}, [treatment]
    while edge:
        for found in cheaper(edge.pop()):
            if found not in seen:
                seen.add(found)
                edge.append(found)
    return seen


def test_the_start_changes_nothing():
    start = nothing_left_out(STAGES)
    assert start.stages == tuple(STAGES[-LATE_STAGES:])
    assert start.config().changes_nothing


@pytest.mark.parametrize("stages", [STAGES, [1, 4], [1, 4, 9, 16]])
def test_every_treatment_within_reach_is_valid_and_stage_one_is_always_run(stages):
    start = nothing_left_out(stages)
    for treatment in list(walk(start))[:400]:
        config = treatment.config()
        config.validate(stages)
        assert 1 not in config.drop_stages + config.skip_stages


def test_a_step_lowers_one_thing():
    start = nothing_left_out(STAGES)
    steps = list(cheaper(start))
    assert len(steps) == LATE_STAGES + 1
    for step in steps:
        lowered = [new for new, old in zip(step.shares, start.shares, strict=True) if new != old]
        assert lowered in ([], [SHARES[1]])
        assert (lowered == []) == (step.unguided_from is not None)


def test_guidance_is_left_out_at_stages_that_are_run():
    dropped = Treatment((100, 169, 256), (1.0, 1.0, 0.0))
    assert [step.unguided_from for step in cheaper(dropped) if step.unguided_from] == [169]
    assert list(cheaper(Treatment((100, 169), (0.0, 0.0)))) == []


def test_a_part_becomes_a_refresh_ratio_whose_rest_adds_nothing():
    config = Treatment((169, 256), (0.0, 0.5), 256, "fastvar").config()
    assert (config.drop_stages, config.skip_stages, config.refresh_ratio) == ([169], [256], {256: 0.5})
    assert (config.unselected, config.token_selector, config.unguided_from) == ("nothing", "fastvar", 256)


def test_reuse_takes_the_most_alike_branches_first():
    table = {("attn", layer, stage): 0.9 - 0.1 * layer for layer in range(2) for stage in (169, 256)}
    table |= {("mlp", layer, stage): 0.3 for layer in range(2) for stage in (169, 256)}
    configs = reuse_by_similarity(table, STAGES)
    quarter, half, *_, full = configs[:4]
    assert (quarter.attn_layers, quarter.enable_mlp_cache) == ([0], False)
    assert half.attn_layers == [0, 1] and not half.enable_mlp_cache
    assert (full.attn_layers, full.mlp_layers) == ([0, 1], [0, 1])
    assert [config.skip_stages for config in configs] == [[256]] * 4 + [[169, 256]] * 4
    for config in configs:
        config.validate(STAGES, depth=2)
