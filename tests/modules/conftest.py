"""Tiny models with a cache; every test has its own wrapper around shared weights."""

import copy

import pytest
import torch

from hart.modules.enhanced_hart import EnhancedHARTForT2I
from tests.golden import FIXTURES
from tests.modules.models.transformer.conftest import build


@pytest.fixture(scope="session")
def ten_stages() -> EnhancedHARTForT2I:
    """The recorded checkpoint: 3 layers, stages 1 to 256."""
    return EnhancedHARTForT2I.from_pretrained(FIXTURES / "llm", dtype=torch.float32).eval()


@pytest.fixture
def enhanced(ten_stages) -> EnhancedHARTForT2I:
    return EnhancedHARTForT2I.from_hart(ten_stages)


@pytest.fixture
def tiny() -> EnhancedHARTForT2I:
    """2 layers, stages 1, 4, 16, 64, weights of its own."""
    return EnhancedHARTForT2I.from_hart(copy.deepcopy(build()))
