"""A pipeline with the tiny checkpoint, loaded once."""

import pytest

from hart import HARTPipeline


@pytest.fixture(scope="session")
def pipeline(checkpoint_root) -> HARTPipeline:
    return HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)
