"""Fidelity: known damage gives known figures, differences are paired, and bad input gets one sentence."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hart.evaluation import MEASURES, compare_settings, fidelity, parse_caption, true_pictures
from hart.evaluation.templates import resize

CAPTIONS = [
    "a 3d fox on a blue background",
    "a small flat owl on a green background at the top right",
    "a flat tent on a pink background",
    "a small 3d robot on a white background at the bottom left",
]
MORE = 0.5


@pytest.fixture(scope="module")
def truths():
    return true_pictures(CAPTIONS)


def blurred(truths):
    return np.stack([np.rint(resize(resize(image, 64), 128)).clip(0, 255).astype(np.uint8) for image in truths])


def test_the_truth_is_perfect(truths):
    for images in (truths, truths.astype(np.float32) / 255):
        summary = fidelity(images, CAPTIONS).summary()
        assert [summary[name]["value"] for name in MEASURES] == [100, 1, 1, 100, 1]


def test_an_error_of_known_size_gives_its_psnr(truths):
    off = np.where(truths < 128, truths + 4, truths - 4).astype(np.uint8)
    found = fidelity(off, CAPTIONS)
    assert found.psnr == pytest.approx([20 * math.log10(255 / 4)] * 4)
    assert found.picture_psnr == pytest.approx(found.psnr)


def test_damage_outside_the_box_is_seen_over_the_picture_only(truths):
    damaged = truths.copy()
    damaged[:, :4] = 255 - damaged[:, :4]
    found = fidelity(damaged, CAPTIONS)
    assert (found.psnr == 100).all() and (found.ssim == 1).all() and (found.sharpness == 1).all()
    assert found.picture_psnr.max() < 30 and found.picture_ssim.max() < 1


def test_blur_lowers_sharpness_and_noise_raises_it(truths):
    soft = fidelity(blurred(truths), CAPTIONS)
    noise = np.random.default_rng(0).normal(0, 20, truths.shape)
    noisy = fidelity((truths + noise).clip(0, 255).astype(np.uint8), CAPTIONS)
    assert soft.sharpness.max() < 0.9 and noisy.sharpness.min() > 1.1
    assert soft.psnr.min() > 15 and soft.ssim.min() > noisy.ssim.max()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_more_noise_is_never_nearer_to_the_truth(truths, seed):
    noise = np.random.default_rng(seed).normal(0, 8, truths.shape)
    less, more = ((truths + factor * noise).clip(0, 255).astype(np.uint8) for factor in (1, 1 + MORE))
    assert (fidelity(less, CAPTIONS, ssim=False).psnr > fidelity(more, CAPTIONS, ssim=False).psnr).all()


def test_differences_are_paired_and_have_narrow_intervals(truths):
    rng = np.random.default_rng(3)
    # Pictures differ much from each other, and each loses about the same: only pairs show that.
    scales = np.array([4, 8, 16, 32]).reshape(-1, 1, 1, 1)
    noise = rng.normal(0, 1, truths.shape) * scales
    before = fidelity((truths + noise).clip(0, 255).astype(np.uint8), CAPTIONS)
    after = fidelity((truths + 1.12 * noise).clip(0, 255).astype(np.uint8), CAPTIONS)
    lost, alone = before.minus(after)["psnr"], before.summary()["psnr"]
    assert lost["value"] == pytest.approx(np.mean(before.psnr - after.psnr)) and lost["low"] > 0
    assert lost["high"] - lost["low"] < 0.1 * (alone["high"] - alone["low"])
    assert before.minus(before)["ssim"] == {"value": 0, "low": 0, "high": 0}


def test_pictures_of_one_caption_are_one_witness(truths):
    noise = np.random.default_rng(4).normal(0, 1, (2, *truths.shape)) * np.array([5, 20]).reshape(2, 1, 1, 1, 1)
    noisy = (truths + noise).clip(0, 255).astype(np.uint8)
    twice = fidelity(noisy.reshape(-1, 128, 128, 3), CAPTIONS * 2).summary()["psnr"]
    alike = fidelity(np.concatenate([noisy[0], noisy[0]]), CAPTIONS * 2).summary()["psnr"]
    once = fidelity(noisy[0], CAPTIONS).summary()["psnr"]
    assert alike["value"] == pytest.approx(once["value"]) and twice["value"] < once["value"]
    assert alike["high"] - alike["value"] == pytest.approx(once["high"] - once["value"])
    one = fidelity(noisy[:, 0], CAPTIONS[:1] * 2).summary()["psnr"]
    assert set(one) == {"value"}  # a single caption says nothing of others


def test_settings_are_compared_with_the_first(truths):
    painted = []

    def painter(name, pictures):
        return lambda: painted.append(name) or pictures

    found = compare_settings({"a": painter("a", truths), "b": painter("b", blurred(truths))}, CAPTIONS)
    assert painted == ["a", "b"] and "cost" not in found["a"]
    assert found["b"]["cost"]["psnr"]["value"] == pytest.approx(100 - found["b"]["fidelity"]["psnr"]["value"])
    assert json.loads(json.dumps(found)) == found


def test_the_box_is_the_object_s(truths):
    damaged = truths.copy()
    for image, caption in zip(damaged, CAPTIONS, strict=True):
        top, left, side = parse_caption(caption).box
        image[top : top + side, left : left + side] = 0
    found = fidelity(damaged, CAPTIONS, ssim=False)
    assert (found.psnr < found.picture_psnr).all() and found.ssim is None and found.picture_ssim is None
    assert set(found.summary()) == {"psnr", "sharpness", "picture_psnr"}


@pytest.mark.parametrize(
    ("change", "captions", "message"),
    [
        (lambda t: t[:3], CAPTIONS, r"images must be one per caption \(4\), got 3\."),
        (lambda t: t[:, :64, :64], CAPTIONS, r"images\[0\] must have shape \(128, 128, 3\), got \(64, 64, 3\)\."),
        (lambda t: t.astype(np.int64), CAPTIONS, r"images\[0\] must be uint8 levels or floats of 0 to 1, got int64\."),
        (lambda t: t.astype(float), CAPTIONS, r"images\[0\] must have floats of 0 to 1, got values from 0 to 255\."),
        (lambda t: t / np.nan, CAPTIONS, r"images\[0\] must have floats of 0 to 1, got values from nan to nan\."),
        (lambda t: t, [*CAPTIONS[:3], "a cat"], r"captions\[3\]: caption is 'a cat'; allowed is the form"),
        (lambda t: t[:1], CAPTIONS[0], r"captions must be a list of texts, got the text 'a 3d fox"),
        (lambda t: t[:0], [], r"images must be at least one, got none\."),
    ],
)
def test_bad_input_gets_one_sentence(truths, change, captions, message):
    with pytest.raises(ValueError, match=message):
        fidelity(change(truths), captions)


def test_differences_of_other_captions_are_refused(truths):
    found, other = fidelity(truths, CAPTIONS), fidelity(truths[:2], CAPTIONS[:2])
    with pytest.raises(ValueError, match="other must be the fidelity of pictures of the same 4 captions in the same"):
        found.minus(other)


def test_without_scikit_image_psnr_works_and_ssim_says_what_to_install(truths):
    code = """
import sys
sys.modules["skimage"] = None
from hart.evaluation import fidelity, true_pictures
from hart.evaluation.fidelity import has_ssim
captions = ["a 3d fox on a blue background"]
assert not has_ssim() and fidelity(true_pictures(captions), captions, ssim=False).psnr[0] == 100
try:
    fidelity(true_pictures(captions), captions)
except ImportError as error:
    assert "SSIM needs scikit-image; install with" in str(error), error
else:
    sys.exit(3)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("ssim", [True, False])
def test_a_part_is_what_its_pictures_alone_give(truths, ssim):
    images = blurred(truths)
    alone = fidelity(images[[0, 2]], [CAPTIONS[0], CAPTIONS[2]], ssim=ssim)
    assert fidelity(images, CAPTIONS, ssim=ssim).part([0, 2]).summary() == alone.summary()
