"""Files that keep finished work line by line, and say which work they are of, so that a killed run goes on."""

import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hart.utils.files import write_whole

logger = logging.getLogger(__name__)

FORMAT = 3
"""Version of `run.json` and of the batches beside it; a run of another one is refused and says so."""


def whole_lines(path: Path) -> list[str]:
    """Lines of a file with their ends; none where it is missing. A last line that was torn by a kill is left out."""
    if not path.is_file():
        return []
    lines = io.StringIO(path.read_text(encoding="utf-8", errors="replace"), newline="\n")
    return [line for line in lines if line.endswith("\n")]


def append_line(path: Path, line: str) -> None:
    """Add a line; it is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


class OtherRunError(ValueError):
    """A folder holds other work than what is to go on in it."""


def same_run(path: Path, identity: Mapping[str, Any], ignored: Sequence[str] = ()) -> str:
    """When the work that a file identifies was begun; the file is written where it is missing.

    Args:
        path: `run.json`, or another of its kind.
        identity: what must be equal for the work to go on, as plain values.
        ignored: names in it that may differ; a warning says so.

    Raises:
        OtherRunError: the file is of other work; the message names the first difference.
        ValueError: it cannot be read.
    """
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    plain = json.loads(json.dumps(dict(identity) | {"format": FORMAT}))
    plain.pop("begun", None)  # of an identity read back from the file
    if not path.is_file():
        write_whole(path, json.dumps(plain | {"begun": begun}, indent=1) + "\n")
        return begun
    found = read_identity(path)
    begun = found.pop("begun", begun)
    for name in ignored:
        if found.get(name) != plain.get(name):
            logger.warning("the run was begun with %s %s; it goes on with %s", name, found.get(name), plain.get(name))
        found[name] = plain.get(name)
    difference = first_difference(found, plain)
    if difference is not None:
        where, there, here = difference
        raise OtherRunError(
            f"output_dir {str(path.parent)!r} holds another run: {where} is {there!r} there and {here!r} here; choose "
            "another folder, or go on with the same settings, code and machine."
        )
    return str(begun)


def read_identity(path: Path) -> dict[str, Any]:
    """What a file identifies.

    Raises:
        ValueError: it is no JSON, or of another version.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is no JSON ({error}); choose another output_dir.") from error
    version = found.get("format")
    if version != FORMAT:
        raise ValueError(
            f"output_dir {str(path.parent)!r} holds a run of format {version!r}; this version of hart goes on with "
            f"format {FORMAT}: choose another folder."
        )
    return found


def first_difference(there: Any, here: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """Where two plain values first differ, and what stands there in each; None where they are equal."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys([*there, *here]):
            found = first_difference(there.get(key), here.get(key), f"{where}.{key}" if where else key)
            if found is not None:
                return found
        return None
    return None if there == here else (where, there, here)
