"""Where something was measured: what its figures depend on beside the settings."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hart.utils.records import Part
from hart.version import __version__

if TYPE_CHECKING:
    import torch

PACKAGE = Path(__file__).parents[1]


class Machine(Part):
    """Where it ran; results of different machines are never compared silently."""

    processor: str
    cores: int
    memory_gib: float
    accelerator: str | None
    platform: str
    python: str
    torch: str
    transformers: str
    hart: str
    git_revision: str | None


def this_machine(device: "torch.device") -> Machine:
    """This machine, with the accelerator that `device` names."""
    import torch
    import transformers

    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return Machine(
        processor=_processor(),
        cores=_cores(),
        memory_gib=round(_memory_bytes() / 2**30, 1),
        accelerator="Apple GPU" if device.type == "mps" else accelerator,
        platform=platform.platform(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        transformers=transformers.__version__,
        hart=__version__,
        git_revision=_git_revision(PACKAGE),
    )


def conditions(device: "torch.device", dtype: "torch.dtype") -> dict[str, Any]:
    """What times on this machine depend on, in five words: device, dtype, threads, machine, torch."""
    import torch

    return {
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.platform(),
        "torch": str(torch.__version__),
    }


def differences(one: Machine, other: Machine) -> list[str]:
    """What keeps the figures of two machines from being compared, in words; empty where nothing does."""
    mine, theirs = one.model_dump(), other.model_dump()
    ignored = {"git_revision", "memory_gib", "hart"}
    return [
        f"{name}: {mine[name]} and {theirs[name]}"
        for name in mine
        if name not in ignored and mine[name] != theirs[name]
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 0


@cache
def _git_revision(folder: Path) -> str | None:
    """The last commit that changed the package, with a digest of what its files differ by; None outside a checkout.

    Asked once: what a process runs is what it loaded, whatever is committed meanwhile.
    """
    try:
        revision = _git(folder, "log", "-1", "--format=%H", "--", ".").decode().strip()
        changes = _git(folder, "diff", "HEAD", "--", ".")
        added = _git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", ".").split(b"\0")[:-1]
        changes += b"".join(name + (folder / os.fsdecode(name)).read_bytes() for name in added)
        return revision + (f"+changes-{hashlib.sha256(changes).hexdigest()[:8]}" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True, timeout=10)
    return done.stdout
