"""Where to run and in which precision: sensible defaults, and names from a command line."""

import difflib
from collections.abc import Iterable

import torch

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
DEVICE_TYPES = ("cpu", "cuda", "mps")


def default_device() -> torch.device:
    """Return the first of CUDA, MPS and CPU that this machine has."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def default_dtype(device: torch.device | str) -> torch.dtype:
    """Return the dtype in which a device is fast.

    CUDA: bfloat16 where the card computes in it, else float16. CPU: bfloat16 where the processor has instructions
    for products in it (AVX-512 BF16, AMX, Arm BF16), about twice as fast as float32; elsewhere it would be emulated
    and slower. MPS and everything else: float32.
    """
    device = torch.device(device)
    if device.type == "cuda":
        # Not torch.cuda.is_bf16_supported(): it also counts cards that emulate bfloat16.
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 or torch.version.hip else torch.float16
    if device.type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    # Newer versions of torch know all processors; older ones could only be asked about AVX-512, which all x86
    # processors with AMX have as well.
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def parse_dtype(name: str | torch.dtype) -> torch.dtype:
    """Return the dtype of a name such as `"float16"`, `"fp16"` or `"torch.float16"`; a dtype stays itself.

    Raises:
        ValueError: the name is unknown.
    """
    if isinstance(name, torch.dtype):
        return name
    key = name.strip().lower().removeprefix("torch.")
    if key not in DTYPES:
        raise ValueError(f"dtype is {name!r}; allowed are {', '.join(DTYPES)}{_hint(key, DTYPES)}")
    return DTYPES[key]


def parse_device(name: str | torch.device) -> torch.device:
    """Return the device of a name such as `"cpu"`, `"cuda"` or `"cuda:1"`, if this machine has it.

    Raises:
        ValueError: the name is unknown, or the machine has no such device.
    """
    kind, _, index = str(name).strip().lower().partition(":")
    if kind not in DEVICE_TYPES or (index and not index.isdecimal()):
        allowed = ", ".join(DEVICE_TYPES)
        raise ValueError(f"device is {str(name)!r}; allowed are {allowed}, or cuda:N{_hint(kind, DEVICE_TYPES)}")
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(index or 0) >= available:
        raise ValueError(f"device is {str(name)!r}; this machine has {available} of kind {kind!r}")
    return torch.device(f"{kind}:{int(index)}" if index else kind)


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close and close[0] != name else ""
