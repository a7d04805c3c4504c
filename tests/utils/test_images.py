"""Pictures as bytes, files and grids."""

import os
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hart.utils import StagePreviews, file_stem, grid, save_png, to_numpy, to_pil

Image = pytest.importorskip("PIL.Image")


def test_bytes_are_cut_off_not_rounded():
    values = torch.tensor([0.0, 0.5, 1.99 / 255, 0.9999, 1.0, -0.1, 1.5, 3 / 255])
    pictures = values.view(1, 1, 1, -1).expand(2, 3, 1, -1)
    array = to_numpy(pictures)
    assert array.shape == (2, 1, 8, 3) and array.dtype == np.uint8
    published = (values.clamp(0, 1) * 255).numpy().astype(np.uint8)
    assert array[1, 0, :, 2].tolist() == published.tolist() == [0, 127, 1, 254, 255, 0, 255, 3]


def test_half_precision_is_multiplied_in_float32():
    image = torch.full((1, 3, 1, 1), 0.7, dtype=torch.bfloat16)
    assert to_numpy(image)[0, 0, 0, 0] == int(float(image[0, 0, 0, 0]) * 255)


def test_channels_become_colours():
    image = torch.zeros(1, 3, 4, 6)
    image[0, 1] = 1.0
    picture = to_pil(image)[0]
    assert picture.size == (6, 4) and picture.mode == "RGB" and picture.getpixel((5, 3)) == (0, 255, 0)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 4, 4), (1, 4, 4, 3)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"images has shape .*; allowed is \[B, 3, H, W\]"):
        to_numpy(torch.zeros(shape))


def test_png_keeps_every_pixel_and_replaces_the_old_file(tmp_path):
    image = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "new" / "picture.png"
    assert save_png(torch.zeros(3, 2, 2), path) == path
    save_png(image, path)
    assert np.array_equal(np.asarray(Image.open(path)), to_numpy(image[None])[0])
    assert os.listdir(path.parent) == ["picture.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = save_png(torch.zeros(3, 2, 2), tmp_path / "picture.png")
    before = path.read_bytes()

    def half_a_file(self, target, **_):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", half_a_file)
    with pytest.raises(OSError, match="disk full"):
        save_png(torch.ones(3, 2, 2), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["picture.png"]


def test_grid_holds_every_picture_at_its_scale():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sheet = grid([Image.new("RGB", (10, 6), colour) for colour in colours], columns=2, scale=3)
    assert sheet.size == (2 * (30 + 8) + 8, 2 * (18 + 8) + 8)
    assert dict((colour, count) for count, colour in sheet.getcolors())[(255, 0, 0)] == 30 * 18
    assert sheet.getpixel((8, 8)) == (255, 0, 0)
    assert sheet.getpixel((46, 8)) == (0, 255, 0)
    assert sheet.getpixel((8, 34)) == (0, 0, 255)


def test_captions_are_drawn_below_the_pictures_and_stay_inside():
    blue = Image.new("RGB", (90, 40), "blue")
    sheet = grid([blue, blue], ["a", "a caption that is far too long for one line"], columns=2)
    pixels = np.asarray(sheet.convert("L"))
    assert (pixels[56:] < 128).any()
    assert (pixels[:, -8:] == 255).all() and (pixels[-8:] == 255).all() and (pixels[56:, :8] == 255).all()
    assert sheet.height > grid([blue, blue], ["a", "b"], columns=2).height


def test_a_word_wider_than_the_column_ends():
    grid([Image.new("RGB", (4, 4))], ["Wide"])


def test_grid_chooses_a_layout_about_as_wide_as_high():
    assert grid([Image.new("RGB", (10, 10))] * 5).size == (3 * 18 + 8, 2 * 18 + 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": []}, r"images is empty"),
        ({"captions": ["a", "b"]}, r"captions has 2 entries; allowed is one for each of 1 images"),
        ({"columns": 0}, r"columns is 0"),
        ({"scale": 0}, r"scale is 0"),
        ({"scale": float("nan")}, r"scale is nan"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        grid(**{"images": [Image.new("RGB", (4, 4))], **options})


def test_without_pillow_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"pip install pillow"):
        to_pil(torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("A big, red cat!", "a-big-red-cat"),
        ("  --  x", "x"),
        ("Über ß", "über-ß"),
        ("猫と犬", "猫と犬"),
        ("a" * 99, "a" * 60),
        ("é" * 99, "é" * 30),
        ("a/../b\x00c", "a-b-c"),
    ],
)
def test_names_of_files_keep_letters_of_every_script(text, stem):
    assert file_stem(text) == stem and len(file_stem(text).encode()) <= 60


def test_a_text_without_letters_is_named_by_its_digest():
    first, second = file_stem("!?"), file_stem("?!")
    assert first != second and re.fullmatch("[0-9a-f]{12}", first) and file_stem("!?") == first
    assert file_stem("\udc80")  # what no file name can hold


def test_previews_of_several_calls_keep_their_sides():
    previews = StagePreviews()
    for sides in ((1, 2), (1, 3, 5)):
        for index, side in enumerate(sides):
            previews(index, SimpleNamespace(side=side, preview=lambda: torch.zeros(2, 3, 8, 8)))
    strips = previews.strips()
    assert len(strips) == len(previews.pictures()) == 4
    assert [strip.width for strip in strips] == [2 * 16 + 8] * 2 + [3 * 16 + 8] * 2


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    image = torch.zeros(1, 3, 2, 2)
    image[0, 1, 0, 0] = value
    for write in (to_numpy, to_pil, lambda images: save_png(images[0], tmp_path / "picture.png")):
        with pytest.raises(ValueError, match=r"images has values that are not finite; allowed are values in 0 to 1"):
            write(image)
    assert not list(tmp_path.iterdir())
