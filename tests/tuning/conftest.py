"""The tiny models with a cache."""

from tests.modules.conftest import enhanced, ten_stages, tiny

__all__ = ["enhanced", "ten_stages", "tiny"]
