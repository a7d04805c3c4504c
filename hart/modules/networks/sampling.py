"""Drawing codes from logits (spec 7): guidance, top-k and top-p, categorical and soft draws.

Shapes: B pictures, n tokens, V codes. Generators: one per picture, or one shared by the batch.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

EARLY_TOP_K, LATE_TOP_K, LATE_FROM_STAGE = 600, 300, 7

Generators = torch.Generator | Sequence[torch.Generator] | None


class Places(NamedTuple):
    """The m tokens that are computed [B, m], of `total`: each draws what it would if all were."""

    index_Bm: Tensor
    total: int

    def take(self, all_Bnd: Tensor) -> Tensor:
        """Their rows [B, m, d] of something that all tokens have, [B, total, d]."""
        return all_Bnd.gather(1, self.index_Bm[..., None].expand(-1, -1, all_Bnd.shape[-1]))


def stage_top_k(top_k: int, stage: int, vocab_size: int) -> int:
    """The k of a stage: the caller's, or the published rule where it is 0; never more than the codebook."""
    published = EARLY_TOP_K if stage < LATE_FROM_STAGE else LATE_TOP_K
    return min(top_k or published, vocab_size)


def guide(x_Rnd: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance [B, n, d]: (1 + scale) * conditional - scale * unconditional; cond rows come first."""
    conditional, unconditional = x_Rnd.chunk(2)
    return (1 + scale) * conditional - scale * unconditional


def keep_top_k(logits_BnV: Tensor, k: int) -> Tensor:
    """Entries strictly below the k-th largest become -inf, in place; ties with it survive."""
    if 0 < k < logits_BnV.shape[-1]:
        kth = logits_BnV.topk(k, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
        logits_BnV.masked_fill_(logits_BnV < kth, -math.inf)
    return logits_BnV


def keep_top_p(logits_BnV: Tensor, p: float) -> Tensor:
    """Remove the least likely entries whose cumulative mass is at most 1 - p, in place; the largest always stays."""
    if p <= 0:
        return logits_BnV
    ascending, order = logits_BnV.sort(dim=-1)
    remove = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    remove[..., -1] = False
    return logits_BnV.masked_fill_(remove.scatter(-1, order, remove), -math.inf)


def sample_codes(logits_BnV: Tensor, generators: Generators, places: Places | None = None) -> Tensor:
    """One categorical draw per token [B, n] from filtered logits."""
    probabilities = logits_BnV.softmax(dim=-1)
    if places is not None:  # as torch.multinomial draws: the largest ratio to an exponential number
        return (probabilities / _exponential_like(probabilities, generators, places)).argmax(dim=-1)
    if not isinstance(generators, Sequence):
        return _multinomial(probabilities.flatten(0, 1), generators).view(probabilities.shape[:2])
    return torch.stack([_multinomial(row, g) for row, g in zip(probabilities, generators, strict=True)])


def soft_codes(
    logits_BnV: Tensor, ratio: float, codebook_Vc: Tensor, generators: Generators, places: Places | None = None
) -> Tensor:
    """Gumbel-softmax mixture of codes [B, n, c] (`more_smooth`), sharper as `ratio` goes from 0 to 1."""
    temperature = max(0.27 * (1 - 0.95 * ratio), 0.005)
    gumbel = -_exponential_like(logits_BnV, generators, places).log()
    weights = ((logits_BnV * (1 + ratio) + gumbel) / temperature).softmax(dim=-1)
    return weights.to(codebook_Vc.dtype) @ codebook_Vc


def skip_draws(like_BnV: Tensor, generators: Generators) -> None:
    """Use up what `sample_codes` (or `soft_codes`) would draw for logits of this shape."""
    none_B0 = torch.empty(len(like_BnV), 0, dtype=torch.long, device=like_BnV.device)
    _exponential_like(like_BnV[:, :0], generators, Places(none_B0, like_BnV.shape[1]))


def tokens_to_decode(side: int, iterations: int) -> list[int]:
    """How many of side*side tokens each round of masked decoding predicts; the last round takes what is left."""
    remaining, counts = side * side, []
    for step in range(iterations - 1):
        masked = math.floor(side * side * math.cos(math.pi / 2 * (step + 1) / iterations))
        masked = max(1, min(remaining - 1, masked))
        counts.append(remaining - masked)
        remaining = masked
    return [*counts, remaining]


def _multinomial(probabilities_NV: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.multinomial(probabilities_NV, 1, replacement=True, generator=generator).squeeze(1)


def _exponential_like(x_BmV: Tensor, generators: Generators, places: Places | None = None) -> Tensor:
    if places is None:
        return _per_picture(torch.empty_like(x_BmV), generators, lambda out, g: out.exponential_(generator=g))
    shape = (len(x_BmV), places.total, x_BmV.shape[-1])
    if x_BmV.device.type != "cpu":
        out = _per_picture(x_BmV.new_empty(shape), generators, lambda out, g: out.exponential_(generator=g))
        return places.take(out)
    # The logarithms of all tokens would cost more than many a stage saves. On CPU an exponential number of torch is
    # -log(1 - u) with u of 53 bits of one 64-bit draw: these bits for all, and the logarithm for some, will do.
    bits = _per_picture(
        torch.empty(shape, dtype=torch.int64), generators, lambda out, g: out.random_(-(2**63), None, generator=g)
    )
    uniform = (places.take(bits) & (2**53 - 1)).double() * 2.0**-53
    return -torch.log1p(-uniform).to(x_BmV.dtype)


def _per_picture(
    out: Tensor, generators: Generators, draw: Callable[[Tensor, torch.Generator | None], object]
) -> Tensor:
    """Fill a tensor in place: each picture by its own generator, or all by the shared one."""
    if not isinstance(generators, Sequence):
        draw(out, generators)
        return out
    for row, generator in zip(out, generators, strict=True):
        draw(row, generator)
    return out
