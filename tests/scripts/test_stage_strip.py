"""The row of stage previews has one column per stage and marks the late ones."""

from PIL import Image

from benchmarks.stage_strip import GAP, LINE, MARK, SIDE, strip


def test_late_stages_are_marked_and_others_are_not():
    previews = [Image.new("RGB", (8, 8), (0, 0, 255)) for _ in range(3)]
    row = strip(previews, [1, 4, 9], {9})
    assert row.width == 3 * (SIDE + GAP) + GAP
    under = SIDE + GAP + LINE
    assert row.getpixel((GAP + 2 * (SIDE + GAP) + SIDE // 2, under)) == MARK
    assert row.getpixel((GAP + SIDE // 2, under)) != MARK
    assert row.getpixel((GAP + SIDE // 2, GAP + SIDE // 2)) == (0, 0, 255)
