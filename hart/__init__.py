"""HART: hybrid autoregressive transformer for text-to-image generation.

Importing this package costs neither torch nor transformers; `HARTPipeline` is imported on first use. For `AutoConfig`
and `AutoModel` of transformers to know the model, import `hart.modules.models.transformer`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hart.pipeline import HARTPipeline as HARTPipeline
    from hart.pipeline import PipelineOutput as PipelineOutput

__version__ = "0.1.0"
__all__ = ["HARTPipeline", "PipelineOutput", "__version__", "embedded_model_path", "sample_prompts"]

_ASSETS = Path(__file__).parent / "assets"


def embedded_model_path() -> Path:
    """Return the `llm` folder of the trained model inside this package, to pass wherever a model path is asked for.

    Its tokenizer and text model lie beside it, in `tokenizer` and `text_encoder`.
    """
    return _ASSETS / "embedded" / "llm"


def sample_prompts() -> list[str]:
    """Return four prompts that show what the embedded model can paint."""
    import json

    prompts: list[str] = json.loads((_ASSETS / "sample_prompts.json").read_text(encoding="utf-8"))
    return prompts


def __getattr__(name: str) -> Any:
    if name not in ("HARTPipeline", "PipelineOutput"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import hart.pipeline

    return getattr(hart.pipeline, name)


def __dir__() -> list[str]:
    return __all__
