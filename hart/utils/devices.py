"""Where to run and in which precision: sensible defaults, and names from a command line."""

import difflib
from collections.abc import Iterable
from typing import Any

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
    key = str(name).strip().lower().removeprefix("torch.")
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


def either_dtype(dtype: torch.dtype | str | None, torch_dtype: torch.dtype | str | None) -> torch.dtype | str | None:
    """The dtype under its name or the older one.

    Raises:
        ValueError: both are given.
    """
    if dtype is not None and torch_dtype is not None:
        raise ValueError(f"torch_dtype must be left out where dtype is given, got {torch_dtype!r} beside {dtype!r}.")
    return torch_dtype if dtype is None else dtype


def single_device(device_map: Any) -> torch.device | None:
    """The one device that a device map names; None where nothing is asked for.

    Args:
        device_map: a device, its name, "auto" for the fastest there is, or {"": device}.

    Raises:
        ValueError: a map over several devices, or no device of this machine.
    """
    if isinstance(device_map, dict) and list(device_map) == [""]:
        device_map = device_map[""]
    if device_map is None:
        return None
    if device_map == "auto":
        return default_device()
    if isinstance(device_map, int) and not isinstance(device_map, bool):
        device_map = f"cuda:{device_map}"
    if not isinstance(device_map, str | torch.device) or str(device_map).partition(":")[0] not in DEVICE_TYPES:
        raise ValueError(
            f"device_map must be one device such as 'cuda:0', or 'auto', got {device_map!r}: the whole model fits one "
            "device and is not split over several."
        )
    return parse_device(device_map)


def check_attention(attn_implementation: Any) -> None:
    """Raise a ValueError unless attention is what is built in: torch's scaled dot product."""
    if attn_implementation not in (None, "sdpa"):
        raise ValueError(f"attn_implementation must be 'sdpa' or None, got {attn_implementation!r}.")


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close and close[0] != name else ""
