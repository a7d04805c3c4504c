"""The transformer and its configuration, registered with transformers' `AutoModel`."""

from transformers import AutoConfig, AutoModel

from hart.modules.models.transformer.configuration import HARTForT2IConfig
from hart.modules.models.transformer.hart_transformer_t2i import HARTForT2I

AutoConfig.register(HARTForT2IConfig.model_type, HARTForT2IConfig, exist_ok=True)
AutoModel.register(HARTForT2IConfig, HARTForT2I, exist_ok=True)

__all__ = ["HARTForT2I", "HARTForT2IConfig"]
