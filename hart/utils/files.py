"""Files that are whole or not there, and text as an editor shows it; standard library only."""

import codecs
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

StrPath = str | os.PathLike[str]

# The longer mark first: UTF-32's begins with UTF-16's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: StrPath) -> str:
    """Read a text that a person may have edited, in any locale.

    The text is UTF-8, or what its byte order mark says (UTF-16 or UTF-32, as Windows editors write them). The mark is
    left out, and lines end with a line feed, whatever the file has.

    Raises:
        ValueError: the bytes are no text; the message names the file.
        OSError: it cannot be read.
    """
    return text_of(Path(path).read_bytes(), os.fspath(path))


def text_of(content: bytes, name: str) -> str:
    """The same for bytes; messages call them by `name`.

    Raises:
        ValueError: the bytes are no text.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is not UTF-8 text ({error}).") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: StrPath) -> list[str]:
    """Lines of a text file without their ends; other separators that Unicode knows (U+2028, U+0085) are letters."""
    return read_text(path).split("\n")


def read_json(path: StrPath) -> Any:
    """Parse a JSON file that a person may have edited.

    Raises:
        ValueError: it is no text or no JSON; the message names the file.
        OSError: it cannot be read.
    """
    return json_of(Path(path).read_bytes(), os.fspath(path))


def json_of(content: bytes, name: str) -> Any:
    """The same for bytes; messages call them by `name`.

    Raises:
        ValueError: they are no text or no JSON.
    """
    try:
        return json.loads(text_of(content, name))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name!r} is not JSON ({error}).") from error


def check_target(path: StrPath, name: str) -> Path:
    """Return the absolute path of a file to be written later, if it can be written now.

    Called before long work whose result goes there; it leaves nothing behind.

    Args:
        path: of the file.
        name: what messages call it.

    Raises:
        OSError: a folder is in the place, the folder around it is missing or cannot be written to, or the name is too
            long.
    """
    target, given = Path(path).absolute(), os.fspath(path)
    with _named(name, path):
        if target.is_dir():
            raise IsADirectoryError(f"{name} must be a file, got the folder {given!r}.")
        if not target.parent.is_dir():
            raise FileNotFoundError(
                f"{name} must be a file in a folder that exists, got {given!r}; make {str(target.parent)!r} first."
            )
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(f"{name} must be a file that can be written, got {given!r}.")
        with _beside(target) as unfinished:
            unfinished.touch()
    return target


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Give a path beside the target to write to; that file then takes the target's place and its permissions.

    An interrupted write leaves the old file and nothing else; the disk has the new one before it takes its place.

    Raises:
        OSError: the place cannot be written to; the message names the target.
    """
    with _beside(target) as unfinished:
        try:
            yield unfinished
            with unfinished.open("r+b") as file:
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, unfinished)
            os.replace(unfinished, target)
        except OSError as error:
            if error.strerror is None or error.filename not in (None, str(unfinished)):
                raise  # of something else that was done meanwhile
            raise type(error)(f"{str(target)!r} cannot be written: {error.strerror}.") from error


def write_whole(path: StrPath, text: str) -> None:
    """Write a text; an interrupted save leaves the old file."""
    with written_beside(Path(path).resolve()) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A hidden path in the target's folder, whose length does not depend on the target's; the file goes again."""
    unfinished = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _named(name: str, path: StrPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise type(error)(f"{name} {os.fspath(path)!r} cannot be written: {error.strerror}.") from error
