"""An older path of token selectors: `hart.modules.cache.token_selectors` defines them."""

from hart.modules.cache.token_selectors import register_selector

__all__ = ["register_selector"]
