"""Files that are whole or not there; standard library only."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Give a path beside the target to write to; that file then takes the target's place.

    An interrupted write leaves the old file and nothing else; the disk has the new one before it takes its place.
    """
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a text; an interrupted save leaves the old file."""
    with written_beside(Path(path).resolve()) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
