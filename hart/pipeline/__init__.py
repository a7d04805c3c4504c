"""`HARTPipeline`: prompts to images."""

from hart.pipeline.output import PipelineOutput
from hart.pipeline.pipeline import HARTPipeline

__all__ = ["HARTPipeline", "PipelineOutput"]
