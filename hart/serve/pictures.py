"""Pictures that clients fetch by url: files with names that cannot be guessed, the oldest deleted first."""

import re
import secrets
from pathlib import Path

from hart.utils.files import written_beside

NAME = re.compile(r"[0-9a-f]{32}\.png")


class PictureFolder:
    """A folder of PNGs; several services may share one.

    Args:
        folder: made if it is missing.
        keep: pictures that stay.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder.resolve(), keep
        self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, png: bytes) -> str:
        """Write a picture, whole or not at all, and return its name.

        Raises:
            OSError: it cannot be written, as on a full disk.
        """
        name = f"{secrets.token_hex(16)}.png"
        with written_beside(self.folder / name) as unfinished:
            unfinished.write_bytes(png)
        self._prune()
        return name

    def find(self, name: str) -> Path | None:
        """Return a picture's file; None if there is none of this name."""
        path = self.folder / name
        return path if NAME.fullmatch(name) and path.is_file() else None

    def _prune(self) -> None:
        found = []
        for path in self.folder.glob("*.png"):
            try:
                found.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:  # another service that shares the folder was faster
                continue
        found.sort()
        for _, path in found[: max(0, len(found) - self.keep)]:
            path.unlink(missing_ok=True)
