"""What a run has finished, kept on disk batch by batch, so that a killed run goes on where it stopped.

The folder holds `run.json` (what the run is), `batches.jsonl` (a line per finished batch of a setting) and the
pictures. A batch counts once its line is whole; its pictures are written before.
"""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from hart.benchmark.pictures import save_picture
from hart.benchmark.run.batches import BatchRecord
from hart.benchmark.settings.choose import NamedSetting
from hart.utils.files import write_whole
from hart.utils.journal import OtherRunError, append_line, same_run, whole_lines
from hart.utils.records import first_problem

RUN, BATCHES, PICTURES = "run.json", "batches.jsonl", "pictures"


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
        append_line(self.folder / BATCHES, record.model_dump_json())
        self.batches[record.setting, record.index] = record

    def _read(self) -> dict[tuple[str, int], BatchRecord]:
        """Whole lines whose pictures are there; others, and a torn last line, are taken out of the file."""
        path = self.folder / BATCHES
        if not path.is_file():
            return {}
        records, whole = {}, []
        for number, line in enumerate(whole_lines(path), start=1):
            record = _parsed(line, number, path)
            if all(_is_there(self.folder / file) for file in record.files):
                records[record.setting, record.index] = record
                whole.append(line)
        if "".join(whole) != path.read_text(encoding="utf-8", errors="replace"):
            write_whole(path, "".join(whole))
        return records


def _is_there(picture: Path) -> bool:
    """Whether a picture outlived a power cut."""
    return picture.is_file() and picture.stat().st_size > 0


def has_begun(folder: Path) -> bool:
    """Whether a run in a folder has kept a batch."""
    batches = folder / BATCHES
    return (folder / RUN).is_file() and batches.is_file() and batches.stat().st_size > 0


def _parsed(line: str, number: int, path: Path) -> BatchRecord:
    try:
        return BatchRecord.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(
            f"line {number} of {str(path)!r} is no finished batch ({first_problem(error)}); take the line out, and its "
            "batch is painted again."
        ) from error
