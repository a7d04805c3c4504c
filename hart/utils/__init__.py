"""Prompt encoding, devices and pictures.

Names are imported on first use, so that `import hart.utils` alone costs neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hart.utils.devices import default_device, default_dtype, parse_device, parse_dtype
    from hart.utils.images import file_stem, grid, save_png, to_numpy, to_pil
    from hart.utils.previews import StagePreviews
    from hart.utils.prompts import EncodedPrompts, check_prompts, encode_prompts
    from hart.utils.results import finished_folder, save_json
    from hart.utils.seeds import picture_seeds
    from hart.utils.text_model import TextModel, load_system_prompt, load_text_model
    from hart.utils.timing import Stopwatch

_MODULE_OF = {
    "EncodedPrompts": "prompts",
    "StagePreviews": "previews",
    "Stopwatch": "timing",
    "TextModel": "text_model",
    "check_prompts": "prompts",
    "default_device": "devices",
    "default_dtype": "devices",
    "encode_prompts": "prompts",
    "file_stem": "images",
    "finished_folder": "results",
    "grid": "images",
    "load_system_prompt": "text_model",
    "load_text_model": "text_model",
    "parse_device": "devices",
    "parse_dtype": "devices",
    "picture_seeds": "seeds",
    "save_json": "results",
    "save_png": "images",
    "to_numpy": "images",
    "to_pil": "images",
}

__all__ = [
    "EncodedPrompts",
    "StagePreviews",
    "Stopwatch",
    "TextModel",
    "check_prompts",
    "default_device",
    "default_dtype",
    "encode_prompts",
    "file_stem",
    "finished_folder",
    "grid",
    "load_system_prompt",
    "load_text_model",
    "parse_device",
    "parse_dtype",
    "picture_seeds",
    "save_json",
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
