"""One process at a time in a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"


@contextmanager
def only_user(folder: str | os.PathLike[str], name: str) -> Iterator[None]:
    """Keep other processes out of a folder; the system lets them in again when this one ends, however it does.

    It may be entered again by the process that is inside. A missing folder is made, and goes
    again if nothing was put there.

    Args:
        folder: the folder.
        name: what messages call it.

    Raises:
        ValueError: another process is in there.
        OSError: the folder cannot be made or written to.
    """
    path = Path(folder).absolute()
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"{name} must be a folder that no other process writes to, got {os.fspath(folder)!r}; wait until that one "
            "has ended, or choose another folder."
        ) from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            (path / LOCK).unlink(missing_ok=True)
            if made and not any(path.iterdir()):
                path.rmdir()
        lock.release()
