"""HART: hybrid autoregressive transformer for text-to-image generation.

Importing this package costs neither torch nor transformers; `HARTPipeline` is imported on first use. For `AutoConfig`
and `AutoModel` of transformers to know the model, import `hart.modules.models.transformer`.
"""

from typing import TYPE_CHECKING, Any

from hart.embedded import embedded_model_path, sample_prompts
from hart.version import __version__

if TYPE_CHECKING:
    from hart.pipeline import HARTPipeline as HARTPipeline
    from hart.pipeline import PipelineOutput as PipelineOutput

__all__ = ["HARTPipeline", "PipelineOutput", "__version__", "embedded_model_path", "sample_prompts"]


def __getattr__(name: str) -> Any:
    if name not in ("HARTPipeline", "PipelineOutput"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import hart.pipeline

    return getattr(hart.pipeline, name)


def __dir__() -> list[str]:
    return __all__
