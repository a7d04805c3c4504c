"""An older path of `hart.benchmark.compare`, which defines these names."""

from hart.benchmark.compare import Comparison, Row, compare_presets

__all__ = ["Comparison", "Row", "compare_presets"]
