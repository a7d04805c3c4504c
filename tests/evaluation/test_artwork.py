"""The artwork inside the package, and the true pictures composed from it."""

from pathlib import Path

import numpy as np
import pytest

from hart.evaluation import (
    COLOURS,
    SIDES,
    compose,
    load_objects,
    load_sprites,
    load_templates,
    parse_caption,
    read_sprites,
    true_picture,
    true_pictures,
)
from hart.evaluation.artwork import packaged_sprites_file
from training.evaluation_sprites import PREPARED, install

CAPTIONS = ["a 3d fox on a blue background", "a small flat rocket on a purple background at the top right"]
MOST_BYTES = 5 * 2**20


def test_the_package_holds_all_artwork_in_five_megabytes():
    sprites = load_sprites()
    assert {size: getattr(sprites, size).shape[2] for size in SIDES} == SIDES
    assert len(packaged_sprites_file().read_bytes()) <= MOST_BYTES
    visible = (sprites.big[..., 3] > 128).mean(axis=(2, 3))
    assert visible.min() > 0.1  # no sprite is empty


def test_the_small_artwork_is_the_big_one_scaled():
    sprites, rows = load_sprites(), np.arange(0, 64 * 2, 16)
    big = sprites.big.reshape(-1, 112, 112, 4)[rows, ..., 3].mean(axis=(1, 2))
    small = sprites.small.reshape(-1, 64, 64, 4)[rows, ..., 3].mean(axis=(1, 2))
    assert np.allclose(big, small, atol=6)


def test_true_pictures_are_the_composed_scenes():
    pictures = true_pictures(CAPTIONS)
    assert pictures.shape == (2, 128, 128, 3) and pictures.dtype == np.uint8
    for picture, caption in zip(pictures, CAPTIONS, strict=True):
        assert np.array_equal(picture, compose(parse_caption(caption), load_sprites()))
        assert np.array_equal(picture, true_picture(caption))
    assert pictures[0][0, 0].tolist() == list(COLOURS["blue"])
    assert true_pictures([]).shape == (0, 128, 128, 3)


def test_an_unknown_caption_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"captions\[1\]: style is 'round'; allowed are 3d, flat"):
        true_pictures([CAPTIONS[0], "a round fox on a blue background"])


def test_templates_are_pooled_premultiplied_artwork():
    templates, sprite = load_templates(), load_sprites().big[5, 1].astype(np.float64)
    block = sprite[40:44, 40:44].reshape(-1, 4)  # row 10, column 10 of 28; the filter reaches two pixels further
    near = sprite[36:48, 36:48].reshape(-1, 4)
    value = 255 * (1 - templates.clear_NP[11].reshape(28, 28)[10, 10])
    assert near[:, 3].min() - 1e-3 <= value <= near[:, 3].max() + 1e-3
    paint = templates.paint_NPC[11].reshape(28, 28, 3)[10, 10]
    assert np.abs(paint - (block[:, :3] * block[:, 3:] / 255).mean(axis=0)).max() < 40
    assert templates.paint_NPC.shape == (len(load_objects()) * 2, 28 * 28, 3)


def test_artwork_is_installed_losslessly(tmp_path):
    installed = tmp_path / "installed.npz"
    install(Path(str(packaged_sprites_file())), installed)
    assert np.array_equal(read_sprites(installed).small, load_sprites().small)
    assert [file.name for file in tmp_path.iterdir()] == ["installed.npz"]


def test_artwork_of_other_objects_is_refused(tmp_path):
    file, sprites = tmp_path / "sprites.npz", load_sprites()
    np.savez(file, big=sprites.big[:1], small=sprites.small[:1], codes=np.array(["1f600"]))
    with pytest.raises(ValueError, match=r"was made for other objects; run `python -m training.prepare_data`"):
        read_sprites(file)


def test_missing_artwork_says_how_to_make_it(tmp_path):
    assert PREPARED.name == "sprites.npz"
    with pytest.raises(FileNotFoundError, match=r"run `python -m training.prepare_data`"):
        read_sprites(tmp_path / PREPARED.name)
