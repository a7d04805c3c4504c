"""What the blocks need to know about the stage whose tokens they are given; one object per stage, none on modules."""

from dataclasses import dataclass, field, replace

from torch import Tensor

from hart.modules.cache.branch_cache import NoCache
from hart.modules.networks.kv_cache import KVCache
from hart.modules.networks.rope import Rope


@dataclass(frozen=True)
class Stage:
    """A stage of one generation (or the whole sequence in training).

    Args:
        index: 0-based stage.
        rope: rotary tables of the tokens; None for the gpt2 flavour.
        kv: keys and values of earlier tokens; None in training.
        condition_RC: pooled text [R, C] for AdaLN and the shared table; None without them.
        mask: bool attention mask [1, 1, n, n], True where attended; training only.
        cache: the stage cache that decides which branches are computed.
    """

    index: int
    rope: Rope | None = None
    kv: KVCache | None = None
    condition_RC: Tensor | None = None
    mask: Tensor | None = None
    cache: NoCache = field(default_factory=NoCache)

    def select(self, index_Rn: Tensor) -> "Stage":
        """The same stage for a part of its tokens, given by their places [R, m]."""
        return replace(self, rope=self.rope and self.rope.select(index_Rn))
