"""Names to functions: how users add an interpolation mode, a metric, a schedule, an eviction rule or a selector.

This file and `registries.py` import no torch, so that a configuration can check its names without it.
"""

import difflib
import re
from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """A dictionary that explains itself.

    Args:
        kind: what it holds, in words for messages ("interpolation mode").
        shipped: names that the package itself registers when the module with the functions is imported.
    """

    def __init__(self, kind: str, shipped: Iterable[str] = ()):
        self.kind, self.shipped = kind, frozenset(shipped)
        self._values: dict[str, T] = {}

    def register(self, name: str, value: T) -> T:
        """Add `value` under `name` and return it.

        Raises:
            ValueError: the name is taken, or is not made of letters, digits, `_` and `-` (it becomes part of run tags).
        """
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"{self.kind} name is {name!r}; allowed are letters, digits, '_' and '-'.")
        if name in self._values:
            raise ValueError(f"{self.kind} {name!r} is already registered; choose another name or remove it first.")
        self._values[name] = value
        return value

    def remove(self, name: str) -> None:
        """Take a registered name out again."""
        self.get(name)
        del self._values[name]

    def get(self, name: str) -> T:
        """The value of a name.

        Raises:
            ValueError: unknown name; the message lists the known ones and the nearest.
        """
        if name not in self._values:
            raise ValueError(unknown(self.kind, name, self.names()))
        return self._values[name]

    def names(self) -> list[str]:
        """Known names in alphabetical order, shipped ones also before their functions are imported."""
        return sorted(self.shipped | self._values.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self.shipped


def unknown(kind: str, given: object, known: Collection[str]) -> str:
    """The sentence for a name that is not known: what was given, the nearest known name, all of them."""
    near = difflib.get_close_matches(str(given).lower(), list(known), n=1)
    nearest = f", nearest to it is {near[0]!r}" if near else ""
    return f"unknown {kind} {given!r}{nearest}; known are {', '.join(repr(name) for name in sorted(known))}."
