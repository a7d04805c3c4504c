"""What tells weights apart."""

import hashlib

import torch
from torch import nn


def tensors_digest(module: nn.Module) -> str:
    """SHA-256 of a module's tensors and their names, in the precision that they are loaded in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


__all__ = ["tensors_digest"]
