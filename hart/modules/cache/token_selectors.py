"""Which tokens of a skipped stage are computed all the same.

Shapes: R = 2B rows (B conditional, then B unconditional), n = side * side tokens, C width, c code channels, P side of
the accumulated map.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from hart.modules.cache.registries import SELECTORS
from hart.modules.cache.rules import Selector, SelectorInput, TokenSelector


def register_selector(name: str, selector: Selector, reads_previous: bool = True) -> None:
    """Add a token selector, SelectorInput -> importance [R, n], or [B, n] for both halves; larger goes first.

    Args:
        name: new name, for `HARTCacheConfig.token_selector`.
        selector: the function.
        reads_previous: say False if it does not read `previous_RnC`: that saves a stored map and its upsampling.

    Raises:
        ValueError: the name is taken.
    """
    SELECTORS.register(name, TokenSelector(selector, reads_previous))


def score_tokens(name: str, given: SelectorInput) -> Tensor:
    """Importance of every token by the named selector, [R, n] or [B, n].

    Raises:
        ValueError: unknown selector, something it needs is missing, or it gives another shape.
    """
    scores = SELECTORS.get(name).score(given)
    rows, tokens = given.x_RnC.shape[:2]
    if scores.dim() != 2 or scores.shape[1] != tokens or scores.shape[0] not in (rows, rows // 2):
        raise ValueError(
            f"token selector {name!r} gave {list(scores.shape)}; allowed are [{rows}, {tokens}] and "
            f"[{rows // 2}, {tokens}]."
        )
    return scores


def num_selected(ratio: float, num_tokens: int) -> int:
    """ceil(ratio * n): the tokens that a refresh ratio computes.

    It is n - int(n * (1 - ratio)), the count of FastVAR's pruning, without the error of binary fractions.
    """
    return min(num_tokens, math.ceil(round(ratio * num_tokens, 6)))


def select_tokens(
    scores: Tensor, ratio: float, rows: int, per_row: bool = False, pictures: int | None = None
) -> Tensor:
    """Places of the most important tokens [R, ceil(ratio * n)], ascending; of equal ones the first in the map.

    Args:
        scores: importance [R, n] or [B, n].
        ratio: part of the tokens.
        rows: R, once or twice the pictures.
        per_row: False gives the two halves of a picture the same tokens, by the mean of their scores, so that guidance
            compares like with like; True selects for each row.
        pictures: B; None for half of the rows.

    Raises:
        ValueError: rows do not fit the scores or the pictures.
    """
    pictures = rows // 2 if pictures is None else pictures
    if rows not in (pictures, 2 * pictures) or scores.shape[0] not in (rows, pictures):
        raise ValueError(f"rows is {rows}; allowed for scores {list(scores.shape)} is an even number, once or twice.")
    if not per_row and scores.shape[0] == 2 * pictures:
        scores = scores.float().reshape(2, pictures, -1).mean(0)
    order = scores.sort(dim=1, descending=True, stable=True).indices
    chosen = order[:, : num_selected(ratio, scores.shape[1])].sort(dim=1).values
    return chosen if chosen.shape[0] == rows else chosen.repeat(2, 1)


def fastvar(given: SelectorInput) -> Tensor:
    """Squared distance from the row's mean token (FastVAR, arXiv 2503.23367)."""
    x_RnC = given.x_RnC
    return (x_RnC - x_RnC.mean(1, keepdim=True)).square().sum(-1)


def change(given: SelectorInput) -> Tensor:
    """Squared distance from the upsampled input of the kept stage."""
    return (given.x_RnC - given.need("previous_RnC", "change")).square().sum(-1)


def centred_change(given: SelectorInput) -> Tensor:
    """The same without the change that all tokens of a row share, such as the stage embedding."""
    change_RnC = given.x_RnC - given.need("previous_RnC", "centred_change")
    return (change_RnC - change_RnC.mean(1, keepdim=True)).square().sum(-1)


def fhat_cosine(given: SelectorInput) -> Tensor:
    """1 minus the cosine of the accumulated map before and after the last computed stage (LazyVAR)."""
    before = _at_side(given.need("map_before_BcPP", "fhat_cosine"), given.side)
    after = _at_side(given.need("map_after_BcPP", "fhat_cosine"), given.side)
    return (1 - F.cosine_similarity(before, after, dim=1)).flatten(1)


def edge(given: SelectorInput) -> Tensor:
    """Length of what a 3 x 3 mean takes away from the accumulated map: where detail already is."""
    map_Bchw = _at_side(given.need("map_after_BcPP", "edge"), given.side)
    smooth_Bchw = F.avg_pool2d(map_Bchw, 3, stride=1, padding=1, count_include_pad=False)
    return (map_Bchw - smooth_Bchw).square().sum(1).sqrt().flatten(1)


def random(given: SelectorInput) -> Tensor:
    """The control: a draw from the picture's seed and the stage alone."""
    tokens, draws = given.x_RnC.shape[1], []
    for seed in given.seeds:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + given.side) % 2**63)
        draws.append(torch.rand(tokens, generator=generator))
    scores = torch.stack(draws).to(given.x_RnC.device)
    return scores.repeat(len(given.x_RnC) // len(scores), 1)


def _at_side(map_BcPP: Tensor, side: int) -> Tensor:
    return F.interpolate(map_BcPP.float(), size=(side, side), mode="area")


register_selector("fastvar", fastvar, reads_previous=False)
register_selector("change", change)
register_selector("centred_change", centred_change)
register_selector("fhat_cosine", fhat_cosine, reads_previous=False)
register_selector("edge", edge, reads_previous=False)
register_selector("random", random, reads_previous=False)
