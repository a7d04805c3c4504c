"""Which setting is recommended, and in which words."""

from hart.benchmark.judge.recommend import recommend
from tests.benchmark.conftest import setting


def by_goal(results):
    return {found.goal: found for found in recommend(results)}


def test_limits_on_the_drop_decide(results_of):
    found = by_goal(
        results_of(
            setting("no-cache", 1.0, 0.0, peak=1.0),
            setting("careful", 1.1, 0.005, peak=1.2),
            setting("balanced", 1.3, 0.025, peak=0.9),
            setting("quick", 1.8, 0.14, peak=0.5),
            setting("broken", 2.5, 0.4, peak=0.4),
        )
    )
    assert {goal: one.setting for goal, one in found.items()} == {
        "quality": "careful",
        "balance": "balanced",
        "speed": "quick",
        "memory": "balanced",
    }
    assert "1.80x as fast as no-cache (quartiles 1.78 to 1.82)" in found["speed"].why
    assert "14.0 points below no-cache's (95%: -14.5 to -13.5)" in found["speed"].why
    assert "0.900 of no-cache's" in found["memory"].why


def test_a_drop_within_chance_is_said_and_allowed_for_quality(results_of):
    lucky = setting("lucky", 1.4, 0.02, drop_interval=(-0.03, 0.07))
    wide = setting("wide", 1.6, 0.2, drop_interval=(-0.1, 0.5))
    found = by_goal(results_of(setting("no-cache", 1.0, 0.0), lucky, wide))
    assert found["quality"].setting == "lucky" and "within chance" in found["quality"].why
    assert "memory" not in found


def test_detail_that_the_program_does_not_see_counts_for_quality_and_balance(results_of):
    found = by_goal(
        results_of(
            setting("no-cache", 1.0, 0.0, peak=1.0),
            setting("fine", 1.1, 0.0, 31.0, peak=1.0),
            setting("soft", 1.3, 0.0, 26.0, peak=1.0),
            setting("blurred", 1.8, 0.0, 21.0, peak=0.5),
        )
    )
    chosen = {goal: one.setting for goal, one in found.items()}
    assert chosen == {"quality": "fine", "balance": "soft", "speed": "blurred", "memory": "no-cache"}
    assert "at most 3% of prompts and whose median PSNR to no-cache is at least 25 dB" in found["balance"].why
    assert "median PSNR 26.0 dB to no-cache" in found["balance"].why


def test_what_so_few_pictures_cannot_show_is_said(results_of):
    results = results_of(setting("no-cache", 1.0, 0.0), setting("fast", 1.5, 0.0))
    results.settings[0].quality.smallest_drop = 0.037
    assert "Drops below 3.7 points may stay unseen" in by_goal(results)["quality"].why


def test_ties_are_said(results_of):
    found = by_goal(results_of(setting("no-cache", 1.0, 0.0), setting("one", 1.30, 0.001), setting("two", 1.29, 0.001)))
    assert found["speed"].setting == "one" and "but for chance as fast: two" in found["speed"].why


def test_of_equally_fast_settings_the_nearest_is_chosen(results_of):
    plain, far, slow = setting("no-cache", 1.0, 0.0), setting("far", 1.31, 0.0, 25.5), setting("slow", 1.2, 0.0, 29.0)
    near = setting("near", 1.30, 0.0, 26.5)
    found = by_goal(results_of(plain, far, near, slow))["balance"]
    assert found.setting == "near" and "but for chance as fast as the fastest (far)" in found.why
    assert "slow" not in found.why
    many = results_of(plain, far, near, slow, prompts=("a cat",) * 400)  # in so many rounds .01 is more than chance
    assert by_goal(many)["balance"].setting == "far"


def test_what_may_be_slower_than_no_cache_is_not_recommended_for_speed(results_of):
    plain, shaky = setting("no-cache", 1.0, 0.0), setting("shaky", 1.01, 0.0, 26.0)
    plain.speed_up.q1 = plain.speed_up.q3 = 1.0
    found = by_goal(results_of(plain, shaky))["speed"]
    assert found.setting == "no-cache" and "faster than no-cache of those that lose" in found.why
    assert found.why.endswith(", by more than chance.")
    fast, near = setting("fast", 1.06, 0.0, 26.0), setting("near", 1.01, 0.0, 34.0)
    for one in (fast, near):
        one.speed_up.q1, one.speed_up.q3 = one.speed_up.median - 0.025, one.speed_up.median + 0.025
    assert not near.speed_up.is_apart(fast.speed_up, 3, 3)
    assert by_goal(results_of(plain, fast, near))["speed"].setting == "fast"
    wild = setting("wild", 1.30, 0.0, 26.0)
    wild.speed_up.q1, wild.speed_up.q3 = 1.05, 1.75
    assert by_goal(results_of(plain, wild, fast))["speed"].setting == "fast"


def test_one_round_knows_no_chance(results_of):
    one = results_of(
        setting("no-cache", 1.0), setting("fast", 1.31, psnr=25.0), setting("near", 1.30, psnr=35.0), prompts=("a cat",)
    )
    for found in one.settings:  # one value is its own quartiles
        found.speed_up.q1 = found.speed_up.q3 = found.speed_up.median
    assert by_goal(one)["speed"].setting == "fast" and "but for chance" not in by_goal(one)["speed"].why


def test_peaks_that_differ_by_chance_are_equal_and_the_fastest_of_them_is_chosen(results_of):
    plain, small = setting("no-cache", 1.0, 0.0, peak=1.0), setting("small", 1.1, 0.0, peak=0.950)
    found = by_goal(results_of(plain, small, setting("fast", 1.5, 0.0, peak=0.955)))["memory"]
    assert found.setting == "fast" and "(as little, within 3%, but slower: small)" in found.why
    small.memory.peak_bytes = int(0.99e8)
    assert by_goal(results_of(plain, small))["memory"].setting == "no-cache"


def test_nothing_helps(results_of):
    found = by_goal(results_of(setting("no-cache", 1.0, 0.0, peak=1.0), setting("slow", 0.9, 0.0, peak=1.1)))
    assert {one.setting for one in found.values()} == {"no-cache"}
    assert found["speed"].why.startswith("Nothing measured is faster than no-cache")


def test_pictures_that_were_not_judged_are_recommended_for_speed_and_memory_alone(results_of):
    found = by_goal(results_of(setting("no-cache", 1.0, peak=1.0), setting("fast", 1.5, peak=0.9)))
    assert {goal: one.setting for goal, one in found.items()} == {"speed": "fast", "memory": "fast"}
    assert "in this run; its pictures were not judged" in found["speed"].why


def test_without_a_judge_of_prompts_psnr_decides(results_of):
    found = by_goal(
        results_of(setting("no-cache", 1.0), setting("near", 1.2, psnr=31.0), setting("far", 1.5, psnr=20.0))
    )
    assert (found["quality"].setting, found["speed"].setting) == ("near", "far")
    assert "median PSNR 20.0 dB" in found["speed"].why and "at least 18 dB" in found["speed"].why


def test_where_fidelity_is_measured_it_decides(results_of):
    found = by_goal(
        results_of(
            setting("no-cache", 1.0, 0.0, lost=0.0, peak=1.0),
            setting("careful", 1.1, 0.05, 26.0, lost=0.4, peak=1.2),
            setting("balanced", 1.3, 0.0, 24.0, lost=0.9, peak=0.9),
            setting("quick", 1.8, 0.0, 20.0, lost=2.4, peak=0.5),
            setting("soft", 2.5, 0.0, 40.0, lost=4.0, peak=0.4),
            setting("not judged", 2.6, peak=0.4),
        )
    )
    chosen = {goal: one.setting for goal, one in found.items()}
    assert chosen == {"quality": "careful", "balance": "balanced", "speed": "quick", "memory": "balanced"}
    assert "of those that lose at most 0.5 dB of fidelity; 0.40 dB of fidelity lost against" in found["quality"].why
    assert "(interval 0.30 to 0.50 dB), prompt score 5.0 points below no-cache's" in found["quality"].why
    assert "median PSNR 26.0 dB to no-cache" in found["quality"].why


def test_of_settings_as_fast_the_one_that_loses_least_fidelity_is_taken(results_of):
    near = setting("near the truth", 1.5, 0.0, 20.0, lost=0.2)
    alike = setting("near no-cache", 1.5, 0.0, 30.0, lost=0.4)
    assert by_goal(results_of(setting("no-cache", 1.0, lost=0.0), alike, near))["quality"].setting == near.name
