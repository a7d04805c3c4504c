"""The public path of `HARTCacheConfig`; importing it costs neither torch nor transformers."""

from hart.modules.cache.config import HARTCacheConfig

__all__ = ["HARTCacheConfig"]
