"""What the page shows of a pair of pictures: HTML and pictures made of it, without Gradio."""

import base64
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hart.demo.settings import BASELINE
from hart.demo.studio import Painting, Pair
from hart.token_maps import TokenMap
from hart.utils.images import png_bytes, to_pil
from hart.utils.psnr import in_decibels

if TYPE_CHECKING:
    from PIL.Image import Image

# Differences are shown this many times as large; a quarter of the range is white then.
GAIN = 4
REUSED, LEFT_OUT = (0, 114, 255), (255, 120, 0)
TINT = 0.5
PLAN_SIDE = 256


# -- above the pictures ------------------------------------------------------------------------------------------------


def waiting() -> str:
    """Say what to do."""
    return '<p class="note">Write a prompt and press Paint. Both pictures appear below, stage by stage.</p>'


def queued() -> str:
    """Say that a request is taken; painting begins when the pictures before it are done."""
    return '<p class="note" role="status">Waiting for a turn.</p>'


def failed(sentence: str) -> str:
    """Say what is wrong with a request."""
    return f'<p class="failed" role="alert">{escape(sentence)}</p>'


def stopping() -> str:
    """Say that painting ends after its stage."""
    return '<p class="note" role="status">Stopping.</p>'


def stopped() -> str:
    """Say that painting was ended."""
    return '<p class="note" role="status">Stopped. Press Paint to begin again.</p>'


def progress(pair: Pair) -> str:
    """Say how far both pictures are."""
    if pair.finished:
        return f'<p class="note" role="status">Done: “{escape(pair.request.prompt)}”, seed {pair.request.seed}.</p>'
    first = pair.plain.image is None
    painting = pair.plain if first else pair.cached
    which = "1 of 2, without cache" if first else f"2 of 2, {escape(painting.name)}"
    stage = f"{len(painting.previews)} of {pair.num_stages} stages"
    return (
        f'<p class="note" role="status">Picture {which}: {stage}'
        f'<progress value="{pair.done}" max="{2 * pair.num_stages}"></progress></p>'
    )


# -- both pictures -----------------------------------------------------------------------------------------------------


def caption(painting: Painting) -> str:
    """Name a picture and say what it took."""
    seconds = "" if painting.seconds is None else f"{painting.seconds:.2f}&nbsp;s"
    return named(painting, seconds)


def named(painting: Painting, further: str = "") -> str:
    """Name a picture."""
    name = "No cache" if painting.name == BASELINE else painting.name
    return f'<p class="caption"><b>{escape(name)}</b> <span>{further}</span></p>'


def figures(pair: Pair) -> str:
    """Compare both pictures in numbers; empty until both are there."""
    if not pair.finished:
        return ""
    rows = [
        ("Speed-up", f"{pair.speed_up:.2f}x", "one run each, without previews"),
        ("Work saved", f"{pair.cached.work_saved:.0%}", "of the floating-point operations"),
        ("PSNR", in_decibels(pair.psnr), "between both pictures"),
    ]
    if pair.plain.score is not None and pair.cached.score is not None:
        scores = f"{pair.plain.score:.1f} → {pair.cached.score:.1f} dB"
        rows.append(("PSNR to the truth", scores, "from no cache to the setting, in the object's box"))
    if pair.cached.hit_rate is not None:
        rows.append(("Cache hits", f"{pair.cached.hit_rate:.0%}", "of decisions at skip stages"))
    cells = [f"<div><dt>{name}</dt><dd><b>{value}</b> <span>{note}</span></dd></div>" for name, value, note in rows]
    return f'<dl class="figures">{"".join(cells)}</dl>'


def difference(pair: Pair) -> "Image | None":
    """Show where both pictures differ, `GAIN` times as strong; None until both are there."""
    if pair.plain.image is None or pair.cached.image is None:
        return None
    apart: Tensor = (pair.plain.image - pair.cached.image).abs().mean(1, keepdim=True) * GAIN
    return to_pil(apart.clamp(0, 1).expand(-1, 3, -1, -1))[0]


# -- stages ------------------------------------------------------------------------------------------------------------


def stage_caption(pair: Pair | None, stage: int) -> str:
    """Say which stage (1-based) is shown."""
    if pair is None or not pair.finished:
        return '<p class="note">The pictures after every stage are here once both are painted.</p>'
    side = pair.plain.token_maps[stage - 1].side
    return f'<p class="note" role="status">After stage {stage} of {pair.num_stages}: {side}x{side} tokens.</p>'


# -- the plan ----------------------------------------------------------------------------------------------------------


def plan(pair: Pair | None) -> str:
    """Show what the setting did to the tokens of every stage of this picture."""
    if pair is None or not pair.finished:
        return '<p class="note">What the setting does to the tokens of every stage is here once it has painted.</p>'
    maps = pair.cached.token_maps
    spared = [token_map for token_map in maps if token_map.computed < 1]
    picture = pair.cached.picture
    assert picture is not None
    drawn = "".join(_figure(picture, token_map, pair.num_stages) for token_map in spared)
    whole = len(maps) - len(spared)
    intro = f"<b>{escape(pair.cached.name)}</b> computes {whole} of {len(maps)} stages whole"
    intro += (
        "."
        if not spared
        else ". The others, drawn over the picture; a setting may decide otherwise for another picture:"
    )
    return f'<p class="note">{intro}</p>{_legend()}<div class="plan">{drawn}</div>{_table(maps)}'


def overlay(picture: "Image", token_map: TokenMap) -> "Image":
    """Take the colours of a picture where a stage's tokens were not computed, and tint it there.

    Tokens that some branches computed keep a part of their colours.

    Args:
        picture: of any size; a smaller one is enlarged to `PLAN_SIDE`.
        token_map: of the stage.
    """
    from PIL import Image

    side = max(picture.width, PLAN_SIDE)
    pixels = np.asarray(picture.convert("RGB").resize((side, side)), dtype=np.float32)
    spared_HW = torch.nn.functional.interpolate((1 - token_map.computed_pp)[None, None], size=(side, side))[0, 0]
    spared = spared_HW.numpy()[..., None]
    colour = np.array(_colour(token_map), dtype=np.float32)
    grey = pixels.mean(-1, keepdims=True) * (1 - TINT) + colour * TINT
    tinted = pixels * (1 - spared) + grey * spared
    edges = np.linspace(0, side, token_map.side + 1).astype(int)[1:-1]
    tinted[edges] *= 0.75
    tinted[:, edges] *= 0.75
    return Image.fromarray(tinted.astype(np.uint8))


def _colour(token_map: TokenMap) -> tuple[int, int, int]:
    return REUSED if token_map.reuses else LEFT_OUT


def _legend() -> str:
    named = (("reused", REUSED), ("left out", LEFT_OUT))
    marks = "".join(f'<span><i style="background: rgb{colour}"></i>{name}</span>' for name, colour in named)
    return f'<p class="legend"><span><i></i>computed</span>{marks}</p>'


def _figure(picture: "Image", token_map: TokenMap, num_stages: int) -> str:
    text = f"Stage {token_map.index + 1} of {num_stages}, {token_map.side}x{token_map.side}: {_shares(token_map)}"
    source = _data_uri(overlay(picture, token_map))
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _shares(token_map: TokenMap) -> str:
    computed = f"{token_map.computed:.0%} computed"
    if token_map.computed == 1:
        return computed
    return f"{computed}, {1 - token_map.computed:.0%} {'reused' if token_map.reuses else 'left out'}"


def _short(token_map: TokenMap) -> str:
    rest = "" if token_map.computed == 1 else f", rest {'reused' if token_map.reuses else 'left out'}"
    return f"{token_map.computed:.0%}{rest}"


def _table(maps: tuple[TokenMap, ...]) -> str:
    """One row a stage, its share of computed work as a bar; widths of bars are in percent."""
    rows = "".join(
        f"<tr><th>{token_map.index + 1}</th><td>{token_map.side}x{token_map.side}</td>"
        f'<td class="bar" style="--rest: rgb{_colour(token_map)}; --share: {token_map.computed:.1%}"><i></i></td>'
        f"<td>{_short(token_map)}</td></tr>"
        for token_map in maps
    )
    head = "<tr><th>Stage</th><th>Tokens</th><th></th><th>Computed</th></tr>"
    return f'<table class="stages"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _data_uri(picture: "Image") -> str:
    return f"data:image/png;base64,{base64.b64encode(png_bytes(picture)).decode()}"


__all__ = [
    "caption",
    "difference",
    "failed",
    "figures",
    "named",
    "overlay",
    "plan",
    "progress",
    "queued",
    "stage_caption",
    "stopped",
    "stopping",
    "waiting",
]
