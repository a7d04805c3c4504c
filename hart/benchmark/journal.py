"""What a run has finished, kept on disk batch by batch, so that a killed run goes on where it stopped.

The folder holds `run.json` (what the run is), `batches.jsonl` (a line per finished batch of a setting) and the
pictures. A batch counts once its line is whole; its pictures are written before.
"""

import io
import json
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from hart.benchmark.painter import BatchRecord
from hart.benchmark.pictures import save_picture
from hart.benchmark.settings import NamedSetting
from hart.utils.files import write_whole
from hart.utils.records import first_problem

logger = logging.getLogger(__name__)

RUN, BATCHES, PICTURES = "run.json", "batches.jsonl", "pictures"

FORMAT = 3
"""Version of `run.json` and `batches.jsonl`; a run of another one is refused and says so."""


class Journal:
    """The finished batches of a run in a folder, and when it was `begun`.

    A run that was refused before its first batch is `replaced` by another one.

    Args:
        folder: the output folder; made where it is missing.
        identity: what must be equal for a run to go on: settings, work and machine as plain values.
        ignored: names in it that may differ; a warning says so.

    Raises:
        ValueError: the folder holds another run; the message names the first difference.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], ignored: Sequence[str] = ()):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.replaced = False
        try:
            self.begun = same_run(folder / RUN, identity, ignored)
        except OtherRunError:
            if has_begun(folder):
                raise
            self.replaced = True
            (folder / RUN).unlink()
            self.begun = same_run(folder / RUN, identity, ignored)
        self.session = uuid.uuid4().hex[:8]
        self.batches = self._read()

    def record(self, setting: str, index: int) -> BatchRecord | None:
        """A finished batch; None where it is still to be painted."""
        return self.batches.get((setting, index))

    def of(self, setting: str) -> list[BatchRecord]:
        """Finished batches of a setting in order."""
        return [record for key, record in sorted(self.batches.items()) if key[0] == setting]

    def add(self, setting: NamedSetting, record: BatchRecord, images: Tensor, first: int) -> None:
        """Keep a batch: its pictures, then its line.

        Args:
            setting: which painted it.
            record: what it took; its `files` and `session` are set here.
            images: pictures [B, 3, H, W] in 0 to 1.
            first: number of the batch's first picture in the run.
        """
        record.session = self.session
        for row, image in enumerate(images):
            path = self.folder / PICTURES / setting.slug / f"{first + row:05d}"
            record.files.append(save_picture(image, path).relative_to(self.folder).as_posix())
        with (self.folder / BATCHES).open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.batches[record.setting, record.index] = record

    def _read(self) -> dict[tuple[str, int], BatchRecord]:
        """Whole lines whose pictures are there; others, and a torn last line, are taken out of the file."""
        path = self.folder / BATCHES
        if not path.is_file():
            return {}
        text = path.read_text(encoding="utf-8", errors="replace")
        records, whole = {}, []
        for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
            if not line.endswith("\n"):  # torn: lines are written with their end
                break
            record = _parsed(line, number, path)
            if all(_is_there(self.folder / file) for file in record.files):
                records[record.setting, record.index] = record
                whole.append(line)
        if "".join(whole) != text:
            write_whole(path, "".join(whole))
        return records


def _is_there(picture: Path) -> bool:
    """Whether a picture outlived a power cut."""
    return picture.is_file() and picture.stat().st_size > 0


def has_begun(folder: Path) -> bool:
    """Whether a run in a folder has kept a batch."""
    batches = folder / BATCHES
    return (folder / RUN).is_file() and batches.is_file() and batches.stat().st_size > 0


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


def _parsed(line: str, number: int, path: Path) -> BatchRecord:
    try:
        return BatchRecord.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(
            f"line {number} of {str(path)!r} is no finished batch ({first_problem(error)}); take the line out, and its "
            "batch is painted again."
        ) from error


def first_difference(there: Any, here: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """Where two plain values first differ, and what stands there in each; None where they are equal."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys([*there, *here]):
            found = first_difference(there.get(key), here.get(key), f"{where}.{key}" if where else key)
            if found is not None:
                return found
        return None
    return None if there == here else (where, there, here)
