"""What counts as a number in arguments: numpy's numbers do, True and False do not."""

from numbers import Integral, Real
from typing import Any, TypeGuard


def is_whole(value: Any) -> TypeGuard[int]:
    """A whole number."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """A real number, finite or not."""
    return isinstance(value, Real) and not isinstance(value, bool)
