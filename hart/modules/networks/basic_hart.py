"""The transformer's building blocks under the import path of the published code."""

from hart.modules.networks.attention import SelfAttention
from hart.modules.networks.block import Block, OutputModulation
from hart.modules.networks.embeddings import TimestepEmbedder
from hart.modules.networks.mlp import GatedMLP, GeluMLP
from hart.modules.networks.norm import RMSNorm

__all__ = ["Block", "GatedMLP", "GeluMLP", "OutputModulation", "RMSNorm", "SelfAttention", "TimestepEmbedder"]
