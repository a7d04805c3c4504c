"""Files of one run that appear together or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hart.utils.files import write_whole


@contextmanager
def finished_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder whose files move into `path` at the end; after an exception nothing is left.

    Files of the same name in `path` are replaced, others stay; folders are merged. The temporary folder lies
    inside `path`, which may be a mount point, or beside it where `path` is still to be made; so files move within one
    file system, and a place that cannot be written to is found before the work is done.

    Raises:
        NotADirectoryError: `path` or a parent of it is a file.
        OSError: the place cannot be written to.
    """
    target = Path(path).resolve()
    missing = [folder for folder in (target, *target.parents) if not folder.exists()]
    for folder in (target, *target.parents):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"output folder {str(path)!r} cannot be made: {str(folder)!r} is a file.")
    try:
        with _temporary_folder(target) as unfinished:
            yield Path(unfinished)
            target.mkdir(exist_ok=True)
            for file in sorted(Path(unfinished).rglob("*")):
                place = target / file.relative_to(unfinished)
                if file.is_dir():
                    place.mkdir(exist_ok=True)
                else:
                    os.replace(file, place)
    except BaseException:
        _remove_empty(missing)
        raise


def save_json(data: Any, path: str | os.PathLike[str]) -> Path:
    """Write data as indented JSON."""
    write_whole(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    return Path(path)


def _temporary_folder(target: Path) -> "tempfile.TemporaryDirectory[str]":
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        home = target if target.is_dir() else target.parent
        return tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=home)
    except OSError as error:
        raise OSError(f"output folder {str(target)!r} cannot be written to: {error.strerror}.") from error


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, innermost first, that were made for nothing."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            shutil.rmtree(folder)
