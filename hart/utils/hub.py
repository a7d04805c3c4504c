"""Checkpoints by name: which files of a hub repository are needed, and where they lie on this machine.

Downloading, its cache, its progress bars and resuming are huggingface_hub's.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from hart.utils.checkpoint import weight_names

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# What a language model and its tokenizer are read from.
TEXT_MODEL_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".safetensors")
# Beside the parts of a checkpoint: what a pipeline reads there.
ROOT_FILES = ("system_prompt.txt", "generation_config.json", "cache_config.json", "similarity_table.json")
# How long the hub may take to say what a repository holds.
ANSWER_SECONDS = 10.0

Choice = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class HubOptions:
    """How a repository is read, in the words of huggingface_hub.

    Args:
        revision: branch, tag or commit; None is the main branch.
        cache_dir: folder of the download cache; None is huggingface_hub's.
        token: of the user; True takes the stored one, False none.
        local_files_only: never ask the hub.
        subfolder: folder of the checkpoint inside the repository.
    """

    revision: str | None = None
    cache_dir: str | Path | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    subfolder: str = ""

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> "HubOptions":
        """Remove the fields of this class from keyword arguments; what is None takes its default."""
        given = {entry.name: options.pop(entry.name, None) for entry in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value is not None})


def is_hub_id(path: Any) -> bool:
    """Whether a text names a repository of the hub and no folder that is here."""
    return isinstance(path, str) and HUB_ID.fullmatch(path) is not None and not Path(path).exists()


def checkpoint_files(names: list[str], subfolder: str, ema: bool, with_text: bool) -> list[str]:
    """The files of a repository that a checkpoint is read from: averaged or raw weights, not both.

    Args:
        names: all files of the repository.
        subfolder: the checkpoint's root or its `llm` folder.
        ema: prefer averaged weights of the transformer.
        with_text: also the text model and what else a pipeline reads.

    Raises:
        FileNotFoundError: there is no `config.json` of a transformer.
    """
    start = PurePosixPath(subfolder)
    llm = next((folder for folder in (start / "llm", start) if str(folder / "config.json") in names), None)
    if llm is None:
        raise FileNotFoundError(f"{str(start / 'llm' / 'config.json')!r} is not in the repository")
    root = llm.parent
    wanted = [llm / "config.json", llm / "generation_config.json", root / "tokenizer" / "config.json"]
    if with_text:
        wanted += [root / name for name in ROOT_FILES]
    chosen = [str(path) for path in wanted if str(path) in names]
    chosen += _weights(names, llm, ema) + _weights(names, root / "tokenizer", ema=False)
    return chosen + (text_model_files(names, str(root / "text_encoder")) if with_text else [])


def text_model_files(names: list[str], subfolder: str = "") -> list[str]:
    """The files of one folder that a language model and its tokenizer are read from."""
    folder = PurePosixPath(subfolder)
    return [name for name in names if PurePosixPath(name).parent == folder and name.endswith(TEXT_MODEL_SUFFIXES)]


def _weights(names: list[str], folder: PurePosixPath, ema: bool) -> list[str]:
    """The weights that `find_weights` would take, with all shards of an index."""
    first = next((name for name in weight_names(ema) if str(folder / name) in names), None)
    if first is None:
        return []
    shards = first.removesuffix(".index.json")
    stem, suffix = f"{folder / PurePosixPath(shards).stem}-", PurePosixPath(shards).suffix
    parts = [name for name in names if name.startswith(stem) and name.endswith(suffix)] if shards != first else []
    return [str(folder / first), *parts]


def fetched(repo_id: str, choose: Choice, markers: Sequence[str], options: HubOptions, progress: bool = True) -> Path:
    """Folder of a repository on this machine, with the chosen files in it.

    Args:
        repo_id: such as "mit-han-lab/hart-0.7b-1024px".
        choose: gives the files that are needed, of all that there are.
        markers: files, one of which shows that an earlier download is here; asked where the hub cannot be.
        options: see `HubOptions`.
        progress: show huggingface_hub's bars.

    Raises:
        FileNotFoundError: no such repository, revision or file, or neither the hub nor a copy can be reached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled

    failures = (HFValidationError, HTTPError, OfflineModeIsEnabled, OSError)
    if options.local_files_only:
        return _from_cache(repo_id, markers, options, "local_files_only is True")
    try:
        # Not list_repo_files: it asks for half a minute before it says that there is no connection.
        info = HfApi(token=options.token).model_info(repo_id, revision=options.revision, timeout=ANSWER_SECONDS)
    except failures as error:
        return _from_cache(repo_id, markers, options, _why(error, options))
    try:
        chosen = choose([entry.rfilename for entry in info.siblings or []])
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{repo_id!r} holds no HART checkpoint: {error}.") from error
    try:
        with _bars(progress):
            folder = snapshot_download(
                repo_id,
                revision=options.revision,
                cache_dir=options.cache_dir,
                token=options.token,
                allow_patterns=chosen,
            )
    except failures as error:
        reason = _why(error, options)
        raise FileNotFoundError(
            f"{repo_id!r} was not downloaded: {reason}; the same call goes on from there."
        ) from error
    return Path(folder)


def _from_cache(repo_id: str, markers: Sequence[str], options: HubOptions, reason: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    for marker in markers:
        found = try_to_load_from_cache(repo_id, marker, cache_dir=options.cache_dir, revision=options.revision)
        if isinstance(found, str):
            return Path(found).parents[len(PurePosixPath(marker).parts) - 1]
    raise FileNotFoundError(
        f"{repo_id!r} is neither a folder here nor in the hub's download cache, and was not downloaded: {reason}."
    )


def _why(error: Exception, options: HubOptions) -> str:
    """What kept the hub from answering, in a few words."""
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, GatedRepoError):
        return "the hub asks for its terms to be accepted first, and for a token"
    if isinstance(error, RevisionNotFoundError):
        return f"the hub knows no revision {options.revision!r} of it"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub knows no such repository, or the token may not read it"
    return f"the hub cannot be reached ({_first_line(error) or type(error).__name__})"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def checkpoint_folder(
    path: Any, options: HubOptions, ema: bool = True, with_text: bool = False, progress: bool = True
) -> Path:
    """Folder of a checkpoint that is named by a folder or by a hub id.

    Args:
        path: folder or hub id.
        options: for a hub id; its subfolder also for a folder.
        ema, with_text: see `checkpoint_files`.
        progress: show a bar while downloading.

    Raises:
        FileNotFoundError, ValueError: one sentence on what is missing or does not fit.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"model path must be a folder or a hub id, got {path!r}.")
    if not is_hub_id(path):
        return Path(path) / options.subfolder
    start = PurePosixPath(options.subfolder)
    markers = [str(folder / "config.json") for folder in (start / "llm", start)]
    folder = fetched(
        str(path),
        lambda names: checkpoint_files(names, options.subfolder, ema, with_text),
        markers,
        options,
        progress,
    )
    return folder / options.subfolder


def text_model_folder(path: Any, options: HubOptions, progress: bool = True) -> Path:
    """Folder of a language model that is named by a folder or by a hub id; see `checkpoint_folder`."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"text_model must be a folder, a hub id or a loaded TextModel, got {path!r}.")
    if not is_hub_id(path):
        return Path(path)
    return fetched(str(path), text_model_files, ["config.json"], options, progress)
