"""Where the trained model inside this package lies, and what it can paint."""

import json
import os
from pathlib import Path

_ASSETS = Path(__file__).parent / "assets"


def embedded_model_path() -> Path:
    """Return the `llm` folder of the trained model inside this package, to pass wherever a model path is asked for.

    Its tokenizer and text model lie beside it, in `tokenizer` and `text_encoder`.
    """
    return _ASSETS / "embedded" / "llm"


def is_embedded(checkpoint: str | os.PathLike[str]) -> bool:
    """Whether a path is the model inside this package: its root or its `llm` folder."""
    embedded = embedded_model_path().resolve()
    return Path(checkpoint).resolve() in (embedded, embedded.parent)


def sample_prompts() -> list[str]:
    """Return four prompts that show what the embedded model can paint."""
    prompts: list[str] = json.loads((_ASSETS / "sample_prompts.json").read_text(encoding="utf-8"))
    return prompts
