"""HART: hybrid autoregressive transformer for text-to-image generation."""
