"""The checker: true pictures pass, damaged ones still do, and every kind of fault is found and named."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hart.evaluation import (
    ATTRIBUTES,
    COLOURS,
    Scene,
    check_picture,
    check_pictures,
    compose,
    evaluate_pictures,
    load_objects,
    load_templates,
    parse_caption,
)
from hart.evaluation.templates import TEMPLATE_SIDE, resize

ASKED = parse_caption("a small 3d fox on a green background at the top right")


def failed(image, scene=ASKED):
    """Names of the attributes that the checker finds wrong, without the summaries."""
    check = check_picture(image, scene)
    return {name for name in ATTRIBUTES if not getattr(check, name) and not name.endswith("overall")}


def shares(images, scenes):
    return {name: row["share"] for name, row in evaluate_pictures(images, scenes).items()}


def test_true_pictures_are_all_right(images, scenes):
    assert shares(images, scenes) == dict.fromkeys(ATTRIBUTES, 1.0)


def test_the_blind_judge_sees_the_scene_itself(images, scenes):
    assert [check.seen for check in check_pictures(images, scenes)] == scenes


def test_blurred_and_noisy_pictures_are_still_right(images, scenes):
    rng = np.random.default_rng(1)
    blurred = [resize(resize(image, 64), 128) for image in images]
    noisy = [image + rng.normal(0, 8, image.shape) + rng.normal(0, 6, 3) for image in blurred]
    assert min(shares([np.clip(image / 255, 0, 1) for image in noisy], scenes).values()) >= 0.99


def test_specks_do_not_move_the_object(images, scenes):
    rng, damaged = np.random.default_rng(2), images.copy()
    for image in damaged:
        for row, column in rng.integers(0, 125, (3, 2)):
            image[row : row + 3, column : column + 3] = rng.integers(0, 256, 3)
    assert min(shares(damaged, scenes).values()) >= 0.99


@pytest.mark.parametrize("side", [64, 96, 256])
def test_pictures_of_any_side_can_be_judged(images, scenes, side):
    resized = [resize(image, side) / 255 for image in images[::6]]
    assert min(shares(np.clip(resized, 0, 1), scenes[::6]).values()) >= 0.97


def test_another_colour_is_a_fault_of_the_background_only(sprites):
    image = compose(dataclasses.replace(ASKED, colour="blue"), sprites)
    assert "background" in failed(image)
    assert not {"position", "size", "blind_style", "blind_identity"} & failed(image)


def test_another_object_is_a_fault_of_identity_only(sprites):
    other = parse_caption(ASKED.caption().replace("fox", "locomotive"))
    assert failed(compose(other, sprites)) == {"identity", "blind_identity"}


def test_the_other_style_is_a_fault_of_style_only(sprites):
    image = compose(dataclasses.replace(ASKED, style="flat"), sprites)
    assert failed(image) == {"style", "blind_style"}


def test_another_corner_is_a_fault_of_position(sprites):
    image = compose(dataclasses.replace(ASKED, position="bottom left"), sprites)
    assert "position" in failed(image)
    assert not {"background", "size", "blind_style", "blind_identity"} & failed(image)


def test_another_size_is_a_fault_of_size(sprites):
    image = compose(Scene(ASKED.object_index, ASKED.style, ASKED.colour), sprites)
    assert "size" in failed(image)
    assert not {"background", "blind_style", "blind_identity"} & failed(image)


@pytest.mark.parametrize("field", ["colour", "style", "object_index", "position", "size"])
def test_one_wrong_attribute_makes_the_picture_wrong(sprites, scenes, field):
    for asked in scenes[::10]:
        check = check_picture(compose(change(asked, field), sprites), asked)
        assert not check.overall and not check.blind_overall


def change(scene, field):
    """The scene with one field set to another value, and the position with it where the size allows no other."""
    if field == "size":
        values = {"size": "big", "position": "center"}
        if scene.size == "big":
            values = {"size": "small", "position": "top right"}
    elif field == "position":
        corner = "top right" if scene.position != "top right" else "bottom left"
        values = {"size": "small", "position": corner}
    elif field == "object_index":
        values = {field: (scene.object_index + 1) % len(load_objects())}
    elif field == "style":
        values = {field: "flat" if scene.style == "3d" else "3d"}
    else:
        values = {field: "blue" if scene.colour != "blue" else "white"}
    return dataclasses.replace(scene, **values)


def test_shuffled_scenes_score_by_chance(images, scenes):
    result = shares(images, scenes[7:] + scenes[:7])
    assert result["identity"] < 0.1 and result["overall"] == 0 and result["blind_overall"] == 0


@given(st.sampled_from(list(COLOURS)))
def test_a_blank_picture_has_its_background_and_nothing_else(colour):
    image = np.full((128, 128, 3), COLOURS[colour], dtype=np.uint8)
    check = check_picture(image, dataclasses.replace(ASKED, colour=colour))
    assert check.background and check.seen is None
    assert not any(getattr(check, name) for name in ATTRIBUTES if name != "background")


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 150))
def test_any_picture_gets_a_verdict_without_an_error(seed, side):
    image = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    check = check_picture(image, ASKED)
    five = (check.background, check.position, check.size, check.style, check.identity)
    assert check.overall == all(five)
    assert check.blind_overall == (check.seen == ASKED)


def test_levels_and_shares_of_one_are_judged_alike(images, scenes):
    assert check_picture(images[0], scenes[0]) == check_picture(images[0] / 255, scenes[0])


def test_nearest_is_the_smallest_distance_written_out(images):
    templates, crop = load_templates(), resize(images[0], TEMPLATE_SIDE).reshape(-1, 3)
    background = np.array([12.0, 200.0, 90.0])
    painted = templates.paint_NPC + templates.clear_NP[..., None] * background
    best = int(((painted - crop) ** 2).sum(axis=(1, 2)).argmin())
    assert templates.nearest(crop, background) == (best // 2, ("3d", "flat")[best % 2])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((128, 128), np.uint8), r"image has shape \(128, 128\); allowed is a square RGB picture"),
        (np.zeros((3, 128, 128), np.uint8), r"image has shape \(3, 128, 128\)"),
        (np.zeros((128, 64, 3), np.uint8), r"image has shape \(128, 64, 3\)"),
        (np.zeros((0, 0, 3), np.uint8), r"image has shape \(0, 0, 3\)"),
        (np.zeros((128, 128, 3), np.int64), "image has type int64; allowed are uint8 levels and floats"),
        (np.full((128, 128, 3), 255.0), "image has values 255.0 to 255.0; allowed for floats are 0 to 1"),
        (np.full((128, 128, 3), np.nan), "image has values nan to nan"),
    ],
)
def test_wrong_pictures_say_what_is_wrong(image, message):
    with pytest.raises(ValueError, match=message):
        check_picture(image, ASKED)


def test_pictures_and_scenes_must_be_equally_many(images, scenes):
    with pytest.raises(ValueError, match="images has 2 pictures; allowed is one per scene, 3"):
        evaluate_pictures(images[:2], scenes[:3])
