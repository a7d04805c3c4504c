"""What tells weights apart."""

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import torch


class HasState(Protocol):
    """A module, or what stands for one."""

    def state_dict(self) -> Mapping[str, Any]: ...


def tensors_digest(module: HasState, prefixes: tuple[str, ...] = ("",)) -> str:
    """SHA-256 of a module's tensors and their names, in the precision that they are loaded in.

    Args:
        module: whose tensors.
        prefixes: of the names that count; all by default.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not name.startswith(prefixes):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


__all__ = ["tensors_digest"]
