"""Reading weights: which file of a folder, nothing unpickled but tensors, and one sentence per error."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.utils import logging as transformers_logging

from hart.utils.files import read_json

EMA_FILES = ("ema_model.safetensors", "ema_model.bin")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
LFS_POINTER = b"version https://git-lfs"


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar for weights that are in memory already."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()


def weight_names(ema: bool) -> list[str]:
    """Names under which weights may lie in a folder; the first that is there is read."""
    names = [*(EMA_FILES if ema else ())]
    for name in WEIGHT_FILES:
        names += [name, f"{name}.index.json"]
    return names


def find_weights(folder: Path, ema: bool) -> Path:
    """The file to read: EMA weights if wanted and there, else raw weights, whole or sharded.

    Raises:
        FileNotFoundError: the folder has none of them.
    """
    names = weight_names(ema)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{str(folder)!r} has no weights; one of {', '.join(names)} is needed.")


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict without unpickling anything but tensors; memory-mapped, so that there is no second copy.

    Raises:
        ValueError: the file is truncated, is not a plain state dict, is a pointer of Git LFS, or an index names a
            missing shard.
    """
    refuse_pointer(file)
    if file.name.endswith(".index.json"):
        return _read_shards(file)
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as opened:
                return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{str(file)!r} is truncated or is no safetensors file ({error}).") from error
    try:  # files of torch before 1.6 are no zip archives and cannot be memory-mapped
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # broken bytes make an unpickler raise almost anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ValueError(
            f"{str(file)!r} is truncated or holds more than tensors, and was not executed; "
            f"a plain state dict is allowed ({reason})."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{str(file)!r} holds a {type(state).__name__}; allowed is a plain dict of tensors.")
    return state


def refuse_pointer(file: Path) -> None:
    """Raise a ValueError for what Git LFS leaves in a clone instead of the weights."""
    with file.open("rb") as opened:
        if opened.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(
                f"{str(file)!r} is a pointer of Git LFS and holds no weights; run `git lfs pull` in the folder that "
                "was cloned."
            )


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(index)!r} is no index of shards: it needs a JSON object with `weight_map`.") from error
    state: dict[str, Tensor] = {}
    for name in names:
        shard = index.parent / Path(name).name
        if not shard.is_file():
            raise ValueError(f"{str(index)!r} names the shard {name!r}, which does not exist.")
        state |= read_state(shard)
    return state


def check_state(
    cls: type,
    config: Any,
    state: dict[str, Tensor],
    file: Path,
    ignored: tuple[str, ...] = (),
) -> None:
    """Compare names and shapes with the model's own, built on the meta device.

    Raises:
        ValueError: the first key that is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        expected = cls(config).state_dict()
    for key, tensor in expected.items():
        if key not in state:
            if not key.endswith("zero_k_bias"):
                raise ValueError(f"{str(file)!r} lacks the key {key!r} {list(tensor.shape)} that its config asks for.")
        elif state[key].shape != tensor.shape:
            raise ValueError(
                f"{str(file)!r} has {key!r} of shape {list(state[key].shape)}; "
                f"its config asks for {list(tensor.shape)}."
            )
    unknown = [key for key in state if key not in expected and key not in ignored]
    if unknown:
        raise ValueError(f"{str(file)!r} has the key {unknown[0]!r} that its config has no place for.")
