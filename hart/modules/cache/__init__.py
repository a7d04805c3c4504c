"""The cache layer between configuration and blocks; it knows tensors and no model."""
