"""Parts of the report by hand: the front, places of labels, segments of time, curves, words."""

import pytest

pytest.importorskip("matplotlib", reason="the report is drawn with matplotlib: pip install hart-stage-cache[benchmark]")

from hart.benchmark.report import text as words
from hart.benchmark.report.curves import find_curves
from hart.benchmark.report.frontier import Point, pareto
from hart.benchmark.report.labels import Box, place_labels
from hart.benchmark.report.times import segments
from hart.benchmark.results import Interval, Setting, Spread
from tests.benchmark.report.example import example


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> list[Setting]:
    return example(tmp_path_factory.mktemp("none"), pictures=False).settings


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high)


def test_the_front_holds_what_nothing_beats_in_both(settings):
    places = [(1.0, 5.0), (1.2, 4.0), (1.1, 3.0), (1.2, 2.0), (1.5, 1.0)]
    points = []
    for number, (speed, quality) in enumerate(places):
        setting = settings[0].model_copy(update={"speed_up": Spread(median=speed, q1=speed, q3=speed)})
        points.append(Point(number, setting, "preset", interval(quality, quality, quality)))
    assert [point.number for point in pareto(points)] == [0, 1, 4]


def test_labels_meet_neither_each_other_nor_points_nor_the_edge():
    points = [(100.0 + 9 * step, 100.0 + 5 * (step % 3)) for step in range(14)]
    frame = Box(0, 0, 400, 300)
    places = place_labels(points, [[(70, 11)]] * len(points), frame, [])
    boxes = [place[1].box for place in places if place]
    assert len(boxes) == len(points)
    for rank, box in enumerate(boxes):
        assert frame.holds(box)
        assert not any(box.meets(other) for other in boxes[:rank])
        assert not any(box.meets(Box.around(x, y, 4, 4)) for x, y in points)


def test_a_label_without_room_gives_way_to_the_shorter_text_and_then_to_nothing():
    frame = Box(0, 0, 60, 60)
    assert place_labels([(30, 30)], [[(100, 10), (10, 10)]], frame, [])[0][0] == 1
    assert place_labels([(30, 30)], [[(100, 10)]], frame, []) == [None]


def test_segments_add_up_to_the_batch_with_the_head_taken_from_the_last_stage(settings):
    found = segments(settings[0])
    assert sum(found.values()) == pytest.approx(settings[0].batch_seconds.median)
    assert found["diffusion head"] == 0.55
    assert found["stage 256"] == pytest.approx(settings[0].stages["256"].median - 0.55)


def test_time_that_no_part_explains_is_shown_as_other(settings):
    slower = settings[0].model_copy(update={"batch_seconds": Spread(median=10, q1=10, q3=10)})
    assert segments(slower)["other"] == pytest.approx(10 - 6.4)


def test_a_curve_is_settings_that_differ_in_the_threshold_alone(settings):
    (curve,) = find_curves(settings)
    assert curve.thresholds == [0.5, 0.6, 0.7, 0.8, 0.9]
    changed = [setting.model_copy(deep=True) for setting in settings]
    for rank, setting in enumerate(changed):
        setting.config["memory_budget_mb"] = rank
    assert find_curves(changed) == []


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        (None, "not measured"),
        (interval(0.02, -0.01, 0.05), "no difference to no-cache that this run could tell from chance"),
        (interval(0.0, 0.0, 0.0), "the reference itself"),
        (interval(0.05, 0.02, 0.08), "5.0 points less than no-cache (interval -8.0 to -2.0)"),
        (interval(-0.05, -0.08, -0.02), "5.0 points more than no-cache (interval +2.0 to +8.0)"),
    ],
)
def test_a_difference_within_its_interval_is_called_so(drop, said):
    assert said in words.drop_in_words(drop)


def test_speed_within_its_quartiles_is_called_so():
    assert words.speed_in_words(Spread(median=1.1, q1=1.05, q3=1.2)) == "faster than no-cache"
    assert "quartiles hold 1" in words.speed_in_words(Spread(median=1.01, q1=0.9, q3=1.2))
    assert "slower" in words.speed_in_words(Spread(median=0.8, q1=0.7, q3=0.9))


def test_names_are_shortened_in_the_middle_onto_one_line():
    assert words.shorten("a\nb\x00c", 9) == "a b c"
    assert words.shorten("original-cache/threshold=0.7", 11) == "origi…d=0.7"
    assert len(words.shorten("x" * 80, 12)) == 12
