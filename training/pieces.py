"""What a run writes: float16 weights in a few files below 16 MiB and one that names them, whole at any time.

`export.json` is written last and names the files that belong together. Whoever is killed before that leaves the older
export in force; what belongs to none is removed by the next save.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hart.utils.files import write_whole, written_beside

MANIFEST = "export.json"
PIECE_BYTES = 15 * 2**20
MOST_PIECES = 5
"""With the manifest, the log and a sheet of pictures, a folder then holds at most eight files."""


def split(tensors: dict[str, Tensor], limit: int = PIECE_BYTES) -> list[dict[str, Tensor]]:
    """Cut tensors into pieces of at most `limit` bytes, in order.

    Raises:
        ValueError: one tensor is larger than a piece, or there are more than `MOST_PIECES`.
    """
    pieces: list[dict[str, Tensor]] = [{}]
    room = limit
    for name, tensor in tensors.items():
        if tensor.nbytes > limit:
            raise ValueError(f"every tensor must be at most {limit} bytes, got {tensor.nbytes} of {name}.")
        if tensor.nbytes > room:
            pieces.append({})
            room = limit
        pieces[-1][name] = tensor
        room -= tensor.nbytes
    if len(pieces) > MOST_PIECES:
        raise ValueError(f"weights must fit in {MOST_PIECES} files of {limit} bytes, got {len(pieces)} files.")
    return pieces


def check_size(tensors: dict[str, Tensor]) -> None:
    """Raise the ValueError of `split` before anything is trained."""
    split({name: compact(tensor) for name, tensor in tensors.items()})


def compact(tensor: Tensor) -> Tensor:
    """float16 on the CPU; whole numbers stay what they are."""
    tensor = tensor.detach()
    return (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()


def save_export(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any], limit: int = PIECE_BYTES) -> None:
    """Write weights, then the manifest with the facts, then remove what the manifest does not name.

    Args:
        folder: of the run.
        tensors: by name; stored as float16.
        facts: anything JSON holds; `facts["step"]` is the step that the files are named after.
        limit: most bytes of weights in a file.

    Raises:
        OSError: the disk is full, say; the older export is untouched.
        ValueError: see `split`, or a weight is not finite.
    """
    stored = {name: compact(tensor) for name, tensor in tensors.items()}
    broken = [name for name, tensor in stored.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ValueError(f"weights must be finite, got others in {broken[0]}.")
    folder.mkdir(parents=True, exist_ok=True)
    _remove_strays(folder)
    names = []
    for index, piece in enumerate(split(stored, limit)):
        names.append(f"weights-{facts['step']:07d}-{index}.safetensors")
        with written_beside(folder / names[-1]) as unfinished:
            save_file(piece, unfinished)
    write_whole(folder / MANIFEST, json.dumps({"pieces": names, **facts}, indent=1) + "\n")
    _remove_strays(folder)


def read_facts(folder: Path) -> dict[str, Any] | None:
    """What the manifest says; None where there is no export.

    Raises:
        ValueError: the manifest is no JSON object.
    """
    file = folder / MANIFEST
    if not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_text()))
    except ValueError as error:
        raise ValueError(f"{str(file)!r} must be a JSON object, got something else ({error}).") from error


def load_export(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Weights in float32 and facts of the last whole export; None where there is none.

    Raises:
        ValueError: a file that the manifest names is missing or broken.
    """
    facts = read_facts(folder)
    if facts is None:
        return None
    tensors = {}
    for name in facts["pieces"]:
        try:
            with safe_open(folder / name, framework="pt") as file:
                tensors.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118  (no mapping)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{str(folder / name)!r} must be a file of weights, got {error}.") from error
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}, facts


def add_facts(folder: Path, **more: Any) -> None:
    """Add to the manifest of an export."""
    write_whole(folder / MANIFEST, json.dumps({**(read_facts(folder) or {}), **more}, indent=1) + "\n")


def _remove_strays(folder: Path) -> None:
    named = set((read_facts(folder) or {"pieces": []})["pieces"])
    for file in [*folder.glob("weights-*.safetensors"), *folder.glob(".*.tmp")]:
        if file.name not in named:
            file.unlink(missing_ok=True)
