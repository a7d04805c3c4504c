"""Latency, throughput, memory and use of the device: `python benchmarks/gpu_table.py --output table.json`.

Eager, compiled, and compiled with CUDA graphs, at several batch sizes without cache; the same command anywhere. Where
there is no CUDA device it says so and measures eager on the CPU. Operations are those of the transformer's blocks,
attention included; the matrix-product peak is measured in the same run. A mode or batch that fails stands there with
its reason, and `branches_without_graph` says how often torch found that a branch does not fit a CUDA graph.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from matrix_peak import matrix_product_peak
from tqdm import tqdm

from hart.benchmark.run.batches import compile_branches, full_flops
from hart.pipeline import HARTPipeline
from hart.utils.files import write_whole
from hart.utils.machine import this_machine
from hart.utils.memory import PeakMemory
from hart.utils.timing import timed

PROMPT = "a 3d fox on a yellow background"
MODES: dict[str, dict[str, Any] | None] = {
    "eager": None,
    "compile": {},
    "cuda_graphs": {"mode": "reduce-overhead"},
}
"""Further arguments of `torch.compile` by mode; None: not compiled."""

NO_CUDA = "There is no CUDA device here, so only eager on the CPU was measured."
WARM_UP = 2

Row = dict[str, Any]


def measure(pipe: HARTPipeline, batch: int, repeats: int, peak_gflops: float) -> Row:
    """Figures of one batch size: medians over repeats after a warm-up."""
    for _ in range(WARM_UP):
        _paint(pipe, batch)
    memory = PeakMemory(pipe.device)
    memory.restart()
    runs = [_paint(pipe, batch) for _ in range(repeats)]
    seconds, blocks = (statistics.median(run[part] for run in runs) for part in ("seconds", "blocks"))
    gflop = sum(full_flops(pipe.model, batch)) / 1e9
    return {
        "batch": batch,
        "seconds": round(seconds, 4),
        "pictures_per_second": round(batch / seconds, 3),
        "blocks_seconds": round(blocks, 4),
        "blocks_gflop": round(gflop, 1),
        "share_of_peak": round(gflop / blocks / peak_gflops, 4),
        "share_of_peak_all_in": round(gflop / seconds / peak_gflops, 4),
        "peak_bytes": memory.peak_bytes(),
        "memory_by": memory.method,
    }


def _paint(pipe: HARTPipeline, batch: int) -> dict[str, float]:
    """Seconds of a call: text, stages and decoder together, and those of the blocks."""
    torch.compiler.cudagraph_mark_step_begin()  # what graphs gave to the picture before may be overwritten
    with timed(pipe.model, "run_blocks", pipe.device) as blocks:
        timings = pipe([PROMPT] * batch, seed=0, batch_size=batch, output_type="pt").timings
    return {"seconds": timings["text"] + sum(timings["stages"]) + timings["decoder"], "blocks": sum(blocks)}


def measure_mode(pipe: HARTPipeline, mode: str, batches: list[int], repeats: int, peak_gflops: float) -> Row:
    """All batch sizes of a mode, up to the first that fails; the blocks are as before afterwards."""
    rows, options, reason = [], MODES[mode], None
    torch._dynamo.reset()
    skipped = _graphs_skipped()
    if options is not None:
        compile_branches(pipe.model, **options)
    try:
        for batch in tqdm(batches, desc=mode, unit="batch"):
            rows.append(measure(pipe, batch, repeats, peak_gflops))
    except Exception as error:  # whatever a backend raises: the reason is the result
        reason = f"batch {batch}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    finally:
        if options is not None:
            _uncompile(pipe)
    report = {"mode": mode, "rows": rows, "failed": reason, **_best(rows)}
    if mode == "cuda_graphs":  # torch takes no graph of a branch that writes into the KV cache, and goes on without
        report["branches_without_graph"] = _graphs_skipped() - skipped
    return report


def _graphs_skipped() -> int:
    return int(torch._dynamo.utils.counters["inductor"]["cudagraph_skips"])


def _uncompile(pipe: HARTPipeline) -> None:
    for block in pipe.model.blocks:
        for name in ("attention_branch", "mlp_branch"):
            delattr(block, name)  # the class's own method is there again


def _best(rows: list[Row]) -> Row:
    if not rows:
        return {}
    best = max(rows, key=lambda row: row["pictures_per_second"])
    alone = next((row["seconds"] for row in rows if row["batch"] == 1), None)
    return {
        "latency_seconds": alone,
        "best_batch": best["batch"],
        "pictures_per_second": best["pictures_per_second"],
    }


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", help="checkpoint (default: the embedded model)")
    parser.add_argument("--text_model_path")
    parser.add_argument("--dtype")
    parser.add_argument("--device", help="default: cuda, else cpu")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="JSON file (default: print only)")
    return parser


def main(given: list[str] | None = None) -> int:
    """Measure, print and write."""
    arguments = build_parser().parse_args(given)
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    modes, note = arguments.modes, None
    if device.type != "cuda":
        modes, note = ["eager"], NO_CUDA
        print(NO_CUDA, file=sys.stderr)
    pipe = HARTPipeline.from_pretrained(
        arguments.model_path, arguments.text_model_path, dtype=arguments.dtype, device=device, progress=False
    )
    peak = matrix_product_peak(pipe.device, pipe.dtype)
    config = pipe.model.config
    report = {
        "machine": this_machine(pipe.device).model_dump(),
        "note": note,
        "device": str(pipe.device),
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "model": {"depth": config.depth, "embed_dim": config.embed_dim, "patch_nums": list(config.patch_nums)},
        "matrix_product_peak_gflop_per_second": round(peak, 1),
        "modes": [measure_mode(pipe, mode, arguments.batches, arguments.repeats, peak) for mode in modes],
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.output is not None:
        write_whole(arguments.output, text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
