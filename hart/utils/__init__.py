"""Prompt encoding, devices and pictures.

Names are imported on first use, so that `import hart.utils` alone costs neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hart.utils.devices import default_device, default_dtype, parse_device, parse_dtype
    from hart.utils.images import grid, save_png, to_numpy, to_pil
    from hart.utils.prompts import EncodedPrompts, encode_prompts
    from hart.utils.text_model import TextModel, load_system_prompt, load_text_model

_MODULE_OF = {
    "EncodedPrompts": "prompts",
    "TextModel": "text_model",
    "default_device": "devices",
    "default_dtype": "devices",
    "encode_prompts": "prompts",
    "grid": "images",
    "load_system_prompt": "text_model",
    "load_text_model": "text_model",
    "parse_device": "devices",
    "parse_dtype": "devices",
    "save_png": "images",
    "to_numpy": "images",
    "to_pil": "images",
}

__all__ = [
    "EncodedPrompts",
    "TextModel",
    "default_device",
    "default_dtype",
    "encode_prompts",
    "grid",
    "load_system_prompt",
    "load_text_model",
    "parse_device",
    "parse_dtype",
    "save_png",
    "to_numpy",
    "to_pil",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
