"""Finished steps of a plan, kept line by line, so that a killed plan goes on where it stopped."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hart.modules.cache.config import HARTCacheConfig
from hart.utils.files import check_target, write_whole
from hart.utils.journal import append_line, whole_lines
from hart.utils.records import first_problem

Step = TypeVar("Step", bound=BaseModel)


class PlanJournal:
    """What was painted for a plan: a line of JSON per step, below one that says which plan it is.

    Args:
        path: the file; None keeps nothing.
        identity: plain values that must be equal for a plan to go on.

    Raises:
        ValueError: the file belongs to another plan, or a line of it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str] | None, identity: Mapping[str, Any]):
        self.path = None if path is None else Path(path)
        self.steps: dict[str, str] = {}
        if self.path is None:
            return
        self.path = check_target(self.path, "journal")
        head = json.dumps(dict(identity), sort_keys=True)
        lines = whole_lines(self.path)
        if lines and lines[0] != head + "\n":
            raise ValueError(
                f"{str(self.path)!r} holds the steps of another plan; choose another folder, or remove it."
            )
        for line in lines[1:]:
            self._read(line)
        kept = [json.dumps({"key": key, "step": step}) for key, step in self.steps.items()]
        write_whole(self.path, "\n".join([head, *kept]) + "\n")

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self.steps[entry["key"]] = entry["step"]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{str(self.path)!r} has a line that is no step of a plan ({line.strip()[:60]!r})."
            ) from error

    def once(self, part: str, config: HARTCacheConfig, kind: type[Step], paint: Callable[[], Step]) -> Step:
        """The step of these settings in this part of the plan, from the file or painted now and kept."""
        key = json.dumps([part, config.to_dict()], sort_keys=True)
        if key in self.steps:
            try:
                return kind.model_validate_json(self.steps[key])
            except ValidationError as error:
                raise ValueError(f"a step in {str(self.path)!r} cannot be read ({first_problem(error)}).") from error
        step = paint()
        self.steps[key] = step.model_dump_json()
        if self.path is not None:
            append_line(self.path, json.dumps({"key": key, "step": self.steps[key]}))
        return step


def has_steps(path: Path) -> bool:
    """Whether a file holds steps of a plan, below the line that says which plan it is."""
    return path.is_file() and len(path.read_text(encoding="utf-8").splitlines()) > 1


__all__ = ["PlanJournal", "has_steps"]
