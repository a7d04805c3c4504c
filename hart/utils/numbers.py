"""What counts as a number in arguments: numpy's numbers do, True and False do not."""

from numbers import Integral, Real
from typing import Any, TypeGuard


def is_whole(value: Any) -> TypeGuard[int]:
    """A whole number."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """A real number, finite or not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def as_python(value: Any) -> Any:
    """Numbers of numpy and torch as Python's own; tuples, ranges, arrays and (sorted) sets as lists, at any depth."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value) if all(is_number(entry) for entry in value) else list(value)
    if isinstance(value, list | tuple | range):
        return [as_python(entry) for entry in value]
    if isinstance(value, dict):
        return {as_python(key): as_python(entry) for key, entry in value.items()}
    return value
