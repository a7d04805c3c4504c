"""JSON whose shape is checked when it is read."""

import os
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hart.utils.files import read_text

Record = TypeVar("Record", bound=BaseModel)


class Part(BaseModel):
    """A JSON object, or a part of one, that has no unknown fields."""

    model_config = ConfigDict(extra="forbid")


def read_record(kind: type[Record], path: str | os.PathLike[str], what: str, made_by: str) -> Record:
    """Load JSON of a known shape.

    Args:
        kind: the shape.
        path: file.
        what: its name for people, such as "a similarity table".
        made_by: the call that writes such a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another shape; the message names the file and the first thing that is wrong.
    """
    try:
        return kind.model_validate_json(read_text(path))
    except ValidationError as error:
        raise ValueError(
            f"{os.fspath(path)!r} is not {what} ({first_problem(error)}); write one with {made_by}."
        ) from error


def first_problem(error: ValidationError) -> str:
    """What is wrong with a file, and where in it, in a few words."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]
