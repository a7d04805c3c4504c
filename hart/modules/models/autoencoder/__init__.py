"""The image tokenizer and its configurations, registered with transformers' `AutoModel`."""

from transformers import AutoConfig, AutoModel

from hart.modules.models.autoencoder.configuration import HARTAutoEncoderConfig, HARTAutoEncoderWithDiscConfig
from hart.modules.models.autoencoder.hart_autoencoder import HARTAutoEncoder, HARTAutoEncoderWithDisc
from hart.modules.models.autoencoder.quantize import HARTHybridQuantizer

AutoConfig.register(HARTAutoEncoderConfig.model_type, HARTAutoEncoderConfig, exist_ok=True)
AutoConfig.register(HARTAutoEncoderWithDiscConfig.model_type, HARTAutoEncoderWithDiscConfig, exist_ok=True)
AutoModel.register(HARTAutoEncoderConfig, HARTAutoEncoder, exist_ok=True)
AutoModel.register(HARTAutoEncoderWithDiscConfig, HARTAutoEncoderWithDisc, exist_ok=True)

__all__ = [
    "HARTAutoEncoder",
    "HARTAutoEncoderConfig",
    "HARTAutoEncoderWithDisc",
    "HARTAutoEncoderWithDiscConfig",
    "HARTHybridQuantizer",
]
