"""Draw how one image of the embedded model grows over its stages: `python benchmarks/stage_strip.py`.

The previews of all stages stand in a row, with token counts beneath. The stages at which a preset may spare work are
marked. Needs Pillow; takes a few seconds.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from hart import HARTPipeline
from hart.modules.cache_config import HARTCacheConfig
from hart.utils import StagePreviews

STRIP = Path(__file__).parents[1] / "docs" / "stages.png"
PROMPT = "a 3d lion on a purple background"
PRESET = "original-cache"  # names the stages that are marked
SIDE, GAP, LINE = 96, 8, 20
INK, MARK, PAPER = (32, 32, 32), (200, 80, 0), (255, 255, 255)
LABEL = "the cache can reuse these"


def strip(previews: list[Image.Image], tokens: list[int], marked: set[int]) -> Image.Image:
    """Lay previews in a row.

    Args:
        previews: one image per stage, coarse to fine.
        tokens: token count of each stage.
        marked: token counts of the stages that the cache can reuse; a row of late stages.
    """
    picture = Image.new("RGB", (len(previews) * (SIDE + GAP) + GAP, SIDE + GAP + 2 * LINE + GAP), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    lefts = [GAP + index * (SIDE + GAP) for index in range(len(previews))]
    for left, preview, count in zip(lefts, previews, tokens, strict=True):
        picture.paste(preview.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, GAP))
        words = f"{count} token" + "s" * (count > 1)
        draw.text((left + SIDE / 2, SIDE + GAP + LINE / 2), words, INK, font, anchor="mm")
    late = [left for left, count in zip(lefts, tokens, strict=True) if count in marked]
    if late:
        top, right = SIDE + GAP + LINE, late[-1] + SIDE
        draw.line([(late[0], top), (right, top)], MARK, 3)
        draw.text((right, top + LINE / 2 + 2), LABEL, MARK, font, anchor="rm")
    return picture


def main() -> None:
    """Generate the image, save the row."""
    previews = StagePreviews()
    pipe = HARTPipeline.from_pretrained(progress=False)
    pipe(PROMPT, seed=0, callback_on_stage_end=previews)
    marked = HARTCacheConfig.from_preset(PRESET, patch_nums=pipe.model.config.patch_nums).skip_stages
    picture = strip(previews.pictures()[0], [side**2 for side in pipe.model.config.patch_nums], set(marked))
    picture.save(STRIP, optimize=True)
    print(f"wrote {STRIP}")


if __name__ == "__main__":
    main()
