"""Metrics against what is known by hand, intervals, and the messages of missing packages."""

import importlib.util

import numpy as np
import pytest
import torch

from hart.benchmark.judge.features import feature_distances, frechet_distance, picture_features
from hart.benchmark.judge.quality import Judge, need_metrics, psnr_values, ssim_values
from hart.benchmark.pictures import load_picture, save_picture
from hart.benchmark.results import Interval
from hart.evaluation import draw_scenes
from hart.utils.intervals import bootstrap_interval, drop_interval, reflected_limits, score_interval
from tests.modules.models.transformer.conftest import build


def noise(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, side, side, 3), dtype=np.uint8)


def test_psnr_and_ssim():
    pictures = noise(3)
    assert psnr_values(pictures, pictures) == [100.0] * 3 and ssim_values(pictures, pictures) == [1.0] * 3
    dark = np.zeros((1, 8, 8, 3), np.uint8)
    assert psnr_values(dark + np.uint8(10), dark)[0] == pytest.approx(20 * np.log10(25.5))
    assert ssim_values(noise(1, 4), noise(1, 4, 1))[0] < 0.5


def test_feature_distance_is_zero_for_equal_and_grows_with_damage():
    vae, pictures = build().vae, noise(3)
    worse = [(pictures // (2**bits)) * 2**bits for bits in (5, 7)]
    plain = picture_features(vae, pictures)
    assert feature_distances(plain, plain) == [0.0] * 3
    slight, strong = (feature_distances(picture_features(vae, other), plain) for other in worse)
    assert all(0 < a < b for a, b in zip(slight, strong, strict=True))


def test_frechet_distance_of_gaussians_in_closed_form():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (20000, 2)), rng.normal([3, 0], [2, 1], (20000, 2))
    assert frechet_distance(one, other) == pytest.approx(9 + 1, rel=0.03)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one[:1], other) is None


def _distance_between(one, other):
    return lambda drawn: frechet_distance(one[drawn], other[drawn])


def test_limits_of_a_distance_of_sets_hold_the_true_one_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(40):  # N(0, 1) and N(1, 1) in two dimensions, drawn in pairs: a true distance of 1
        one, jitter = rng.normal(0, 1, (60, 2)), rng.normal(0, 0.3, (60, 2))
        other = (one + jitter) / np.sqrt(1.09) + [1, 0]
        limits = reflected_limits(_distance_between(one, other), [str(index) for index in range(60)])
        held += limits[0] <= 1 <= limits[1]
    assert 34 <= held <= 40
    assert reflected_limits(lambda drawn: 0.0, ["one prompt"] * 5) is None


def test_bootstrap_intervals():
    sample = np.random.default_rng(1).normal(5, 1, 400)
    found = bootstrap_interval(sample)
    assert found.value == pytest.approx(sample.mean()) and found.high - found.low == pytest.approx(4 / 20, rel=0.2)
    assert bootstrap_interval(sample) == found
    assert bootstrap_interval([1, 2, 90], "median").value == 2
    constant = bootstrap_interval([0.25] * 5)
    assert constant.low == constant.value == constant.high == 0.25
    with pytest.raises(ValueError, match="values is empty"):
        bootstrap_interval([])


def test_pictures_of_one_prompt_are_one_witness():
    dice = np.random.default_rng(2)
    values = np.repeat(dice.normal(0, 1, 30), 10)
    prompts = [str(index // 10) for index in range(300)]
    alone, by_prompt = bootstrap_interval(values), bootstrap_interval(values, groups=prompts)
    width = {found.high - found.low for found in (alone, by_prompt)}
    assert max(width) == by_prompt.high - by_prompt.low == pytest.approx(np.sqrt(10) * min(width), rel=0.2)
    shown = (values > 0).astype(float)
    few, many = score_interval(shown, prompts), score_interval(shown, [str(index) for index in range(300)])
    assert few.value == many.value and few.high - few.low > 2 * (many.high - many.low)


def test_scores_that_are_all_alike_leave_doubt():
    names = [str(index) for index in range(100)]
    perfect = score_interval([1.0] * 100, names)
    assert perfect.value == perfect.high == 1 and 0.95 < perfect.low < 0.97
    unchanged = drop_interval([1.0] * 100, [1.0] * 100, names)
    assert unchanged.value == 0 and unchanged.low < -0.02 and 0.02 < unchanged.high < 0.05
    lost = drop_interval([1.0] * 100, [1.0] * 90 + [0.0] * 10, names)
    assert lost.value == pytest.approx(0.1) and 0 < lost.low < 0.1 < lost.high


def test_pictures_of_few_prompts_that_are_all_alike_leave_as_much_doubt_as_one_of_each():
    prompts = [str(index % 10) for index in range(200)]
    assert score_interval([1.0] * 200, prompts) == score_interval([1.0] * 10, prompts[:10])
    same, ten = ([1.0] * count for count in (200, 10))
    assert drop_interval(same, same, prompts) == drop_interval(ten, ten, prompts[:10])


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs scikit-image, scipy, pillow; install with `pip"):
        need_metrics()


def test_pictures_without_pillow(tmp_path, monkeypatch):
    image = torch.rand(3, 4, 4)
    png = save_picture(image, tmp_path / "a")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    array = save_picture(image, tmp_path / "a")
    assert (png.name, array.name) == ("a.png", "a.npy") and (load_picture(png) == load_picture(array)).all()


def test_judge_pairs_pictures_with_no_cache_s(tmp_path):
    scenes = draw_scenes(2, "held-out")
    for name, pictures in (("plain", noise(2)), ("other", noise(2, seed=1))):
        for index, picture in enumerate(pictures.repeat(4, axis=1).repeat(4, axis=2)):
            save_picture(torch.from_numpy(picture).permute(2, 0, 1) / 255, tmp_path / name / str(index))
    plain, other = ([f"{name}/{index}.png" for index in range(2)] for name in ("plain", "other"))
    judge = Judge(build().vae, tmp_path, scenes)
    itself, found = judge.judge([plain, other])
    assert itself.psnr is None and itself.ssim.value == 1 and itself.prompt_drop.high == 0
    assert found.smallest_drop == itself.smallest_drop > 0.5  # two pictures see next to nothing
    assert found.psnr.value < 12 and found.feature_distance.value > 0 and set(found.attributes) > {"overall"}
    assert itself.fidelity_lost == Interval(value=0, low=0, high=0) and 0 < found.fidelity.value < 15
    lost = [a - b for a, b in zip(itself.fidelity_of_pictures, found.fidelity_of_pictures, strict=True)]
    assert found.fidelity_lost.value == pytest.approx(sum(lost) / 2, abs=1e-3)
    assert found.fidelity_lost.low < found.fidelity_lost.value < found.fidelity_lost.high
    blind = Judge(build().vae, tmp_path, None).judge([plain, other])[1]
    assert blind.prompt_score is None and blind.fidelity is None and not blind.fidelity_of_pictures


def test_large_pictures_are_judged_one_by_one_with_the_same_figures(tmp_path, monkeypatch):
    for index, picture in enumerate(noise(6)):
        save_picture(torch.from_numpy(picture).permute(2, 0, 1) / 255, tmp_path / str(index))
    files = [[f"{index}.png" for index in part] for part in ((0, 1, 2), (3, 4, 5))]
    judge, sizes = Judge(build().vae, tmp_path, None), []
    together = judge.judge(files)
    monkeypatch.setattr("hart.benchmark.judge.quality.LARGE_SIDE", 31)
    monkeypatch.setattr(
        "hart.benchmark.judge.quality.picture_features",
        lambda *given: (sizes.append(len(given[1])), picture_features(*given))[1],
    )
    alone = judge.judge(files)
    assert sizes == [1] * 6
    assert alone[1].feature_distance.value == pytest.approx(together[1].feature_distance.value, rel=1e-4)
    assert alone[1].psnr == together[1].psnr
