from hart.modules.models.autoencoder.quantize.hybrid_quantizer import HARTHybridQuantizer

__all__ = ["HARTHybridQuantizer"]
