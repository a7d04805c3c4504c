"""Peak memory and operations of one batch under one setting: `python -m hart.benchmark.run.peak REQUEST.json`.

A process's peak holds whatever was painted before, so every setting gets a fresh process.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hart.benchmark.settings.choose import NamedSetting


def measure_peak(request: dict[str, Any], setting: NamedSetting) -> dict[str, Any]:
    """Load the model in a fresh process, paint one batch, and report.

    Args:
        request: `checkpoint`, `text_model_path`, `device`, `dtype`, `prompts`, `seed`, `guidance_scale`, `threads`,
            `compiled`.
        setting: under which.

    Returns:
        `method` (see `PeakMemory`), `peak_bytes` while painting, the loaded model included, `cache_peak_bytes`, and
        `operations` by operator (see `counted_operations`).

    Raises:
        RuntimeError: the process failed; the message holds its last line.
    """
    with tempfile.TemporaryDirectory(prefix="hart-benchmark-") as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request | {"config": setting.config.to_dict()}), encoding="utf-8")
        command = [sys.executable, "-m", "hart.benchmark.run.peak", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RuntimeError(f"memory of setting {setting.name!r} was not measured: {lines[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _paint(request: dict[str, Any]) -> dict[str, Any]:
    import torch

    from hart.benchmark.run.batches import compile_branches
    from hart.benchmark.run.operations import counted_operations
    from hart.modules.cache.config import HARTCacheConfig
    from hart.pipeline import HARTPipeline
    from hart.utils.memory import PeakMemory

    torch.set_num_threads(request["threads"])
    pipeline = HARTPipeline.from_pretrained(
        request["checkpoint"],
        request["text_model_path"],
        device=request["device"],
        dtype=request["dtype"],
        progress=False,
        cache=HARTCacheConfig.from_dict(request["config"]),
    )

    def paint() -> None:
        pipeline(
            request["prompts"],
            guidance_scale=request["guidance_scale"],
            seed=request["seed"],
            output_type="pt",
            batch_size=len(request["prompts"]),
            on_long="truncate",
        )

    def count() -> dict[str, int]:
        with counted_operations() as operations:
            paint()
        return operations

    operations = {}
    if request["compiled"]:  # counted before: nobody sees into a compiled graph
        operations = count()
        compile_branches(pipeline.model)
        paint()  # what compiling takes is no part of painting
    memory = PeakMemory(pipeline.device)
    memory.restart()
    paint()
    peak_bytes = memory.peak_bytes()
    return {
        "operations": operations or count(),  # apart from the peak, to which the counter adds
        "method": memory.method,
        "peak_bytes": peak_bytes,
        "cache_peak_bytes": pipeline.model.get_cache_statistics()["cache_peak_bytes"],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_paint(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))) + "\n")
