"""What a caller hears after every stage, in this package's words and in those of diffusers."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hart.modules.models.transformer.stage_info import StageInfo

StageCallback = Callable[[int, "StageInfo"], Any]
StepCallback = Callable[[Any, int, int, dict[str, Any]], Any]
TENSOR_INPUTS = ("latents",)


def stage_callback(
    pipeline: Any, on_stage_end: StageCallback | None, on_step_end: StepCallback | None, tensor_inputs: Sequence[str]
) -> StageCallback | None:
    """One callback for both; it returns False where one of them did.

    Args:
        pipeline: first argument of `on_step_end`.
        on_stage_end: called as (stage index, `StageInfo`).
        on_step_end: called as diffusers does: (pipeline, step, timestep, dict of tensors), the step being the stage's
            index and the timestep its number of tokens.
        tensor_inputs: names of what the dict holds.

    Raises:
        ValueError: no function, or an unknown name.
    """
    for name, function in (("callback_on_stage_end", on_stage_end), ("callback_on_step_end", on_step_end)):
        if function is not None and not callable(function):
            raise ValueError(f"{name} must be a function or None, got {function!r}.")
    names = [tensor_inputs] if isinstance(tensor_inputs, str) else tensor_inputs
    if not isinstance(names, list | tuple) or not set(names) <= set(TENSOR_INPUTS):
        raise ValueError(f"callback_on_step_end_tensor_inputs must be a list of 'latents', got {tensor_inputs!r}.")
    if on_stage_end is None and on_step_end is None:
        return None

    def told(index: int, info: "StageInfo") -> bool:
        goes_on = on_stage_end is None or on_stage_end(index, info) is not False
        if on_step_end is not None:
            tensors = {name: info.f_hat for name in names}
            answer = on_step_end(pipeline, index, info.side**2, dict(tensors))
            goes_on = answer is not False and goes_on
            _refuse_changes(answer, tensors)
        return goes_on

    return told


def _refuse_changes(answer: Any, tensors: dict[str, Any]) -> None:
    """The accumulated map decides the tokens that are already made, so a callback may look at it only."""
    for name, tensor in tensors.items():
        if isinstance(answer, dict) and answer.get(name, tensor) is not tensor:
            raise ValueError(
                f"callback_on_step_end must return the {name} that it was given, got others: they cannot be changed "
                "between stages."
            )
